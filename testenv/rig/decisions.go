package rig

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"todoke/ledger"
	"todoke/ledger/rule"
	"todoke/ledger/stream"
	"todoke/testenv"
	"todoke/testenv/fault"
)

// A fate is what became of a decision.
type fate int

const (
	inDoubt fate = iota
	stored
	notStored
)

// A decided is a decision that somebody tried to make.
type decided struct {
	ids  []ledger.ID
	fate fate
	last ledger.Seq // when it is stored
	why  error      // when it is not
}

// A council is deciders on a disk that somebody fills up.
type council struct {
	*crammed
	log *stream.Ledger

	made []*decided // guarded by the house's mu
}

// fullDiskDecisions lets several make decisions of many events while the disk is
// filled and freed, and starts the ledger again while there is no room. A
// decision is there whole or not at all, and not at all when its author was told
// so.
func fullDiskDecisions(tb testing.TB, seed uint64) {
	disk := fault.NewDisk(tb, 32<<20) // opening may want 9 MiB
	c := &council{crammed: &crammed{disk: disk, random: mathrand.New(mathrand.NewPCG(seed, 77)), ballast: filepath.Join(disk.Dir(), "ballast"),
		house: newHouse(tb, nil, filepath.Join(disk.Dir(), "ledger"))}}
	c.reopen()
	for n := range 4 {
		c.session(n)
	}
	defer c.log.Close()
	testenv.CheckLedger(c, c.log)
	c.compare(c.read(c.log))
}

func (c *council) openToDecide() (*stream.Ledger, error) {
	c.Helper()
	return stream.Open(c.Context(), stream.Config{Dir: c.data, Now: time.Now, Rand: rand.Reader, Party: "operator:local",
		Key: testenv.Key(c, "operator:local"), Opening: stream.Opening{Pack: rule.Default().Text()}})
}

// session lets everybody decide while the disk fills up, and then starts the
// ledger again, with or without room.
func (c *council) session(session int) {
	c.Helper()
	ctx, end := context.WithCancel(c.Context())
	defer end()
	var all sync.WaitGroup
	for n := range 6 {
		random := mathrand.New(mathrand.NewPCG(c.random.Uint64(), uint64(n)))
		// Each has a batch of its own: the same slip again would be the same event.
		all.Go(func() { c.decide(ctx, batchOf(session*10+n), random) })
	}
	for range 6 {
		time.Sleep(time.Duration(c.random.IntN(60)) * time.Millisecond)
		c.cram()
		time.Sleep(time.Duration(c.random.IntN(60)) * time.Millisecond)
		c.free()
	}
	time.Sleep(time.Duration(c.random.IntN(60)) * time.Millisecond)
	c.cram()
	if c.random.IntN(2) == 0 {
		time.Sleep(100 * time.Millisecond)
	}
	end()
	c.log.Close()
	all.Wait()
	if c.random.IntN(2) == 0 {
		l, err := c.openToDecide()
		if err == nil {
			l.Close()
		} else if !errors.Is(err, ledger.ErrStorageFull) {
			c.Fatalf("open on a full disk: %v", err)
		}
	}
	c.free()
	c.reopen()
}

// reopen opens the ledger, for which there is room.
func (c *council) reopen() {
	c.Helper()
	l, err := c.openToDecide()
	if err != nil {
		c.Fatalf("open: %v", err)
	}
	c.log = l
}

// decide makes one decision after the other about a batch.
func (c *council) decide(ctx context.Context, batch string, random *mathrand.Rand) {
	var head ledger.Seq
	for i := 0; ctx.Err() == nil; i++ {
		d := new(decided)
		var records []ledger.Record
		for k := range 2 + random.IntN(ledger.MaxDecision-2) {
			r := testenv.Alert(c, c.log.ID(), batch, fmt.Sprintf("%d %d", i, k), ledger.Items{{First: 1, Last: 3}})
			id, err := ledger.ParseID(r.Header.Get(ledger.HeaderID))
			if err != nil {
				c.Error(err)
				return
			}
			records, d.ids = append(records, r), append(d.ids, id)
		}
		c.mu.Lock()
		c.made = append(c.made, d)
		c.mu.Unlock()
		for again, doubt := true, false; again && ctx.Err() == nil; {
			receipt, err := c.log.Decide(ctx, head, records...)
			switch {
			case err == nil:
				d.fate, d.last, head, again = stored, receipt.Seq, receipt.Seq, false
			case errors.Is(err, ledger.ErrUnknown), ctx.Err() != nil:
				d.fate, doubt = inDoubt, true
				wait(ctx, 5*time.Millisecond)
			case errors.Is(err, ledger.ErrUnavailable):
				if !doubt {
					d.fate, d.why = notStored, err
				}
				again = doubt || random.IntN(2) == 0
				wait(ctx, 5*time.Millisecond)
			case errors.Is(err, ledger.ErrClosed):
				return
			default:
				c.Errorf("decide on %d about %s: %v", head, batch, err)
				return
			}
		}
	}
}

// compare holds what is there against what was said.
func (c *council) compare(found history) {
	c.Helper()
	counts := make(map[fate]int)
	for _, d := range c.made {
		counts[d.fate]++
		there := 0
		for i, id := range d.ids {
			at, is := found.at[id]
			if !is {
				continue
			}
			there++
			if first := found.at[d.ids[0]]; at != first+ledger.Seq(i) {
				c.Errorf("event %d of a decision that begins at %d is at %d", i, first, at)
			}
		}
		switch {
		case there != 0 && there != len(d.ids):
			c.Errorf("of a decision of %d events %d are there, the first at %d", len(d.ids), there, found.at[d.ids[0]])
		case d.fate == stored && (there == 0 || found.at[d.ids[there-1]] != d.last):
			c.Errorf("a decision has a receipt for %d and is not there", d.last)
		case d.fate == notStored && there > 0:
			c.Errorf("a decision of %d events that was not written, since %v, is at %d", len(d.ids), d.why, found.at[d.ids[0]])
		}
	}
	c.Logf("%d decisions in doubt, %d stored, %d not", counts[inDoubt], counts[stored], counts[notStored])
}
