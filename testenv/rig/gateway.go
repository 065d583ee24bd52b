package rig

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"todoke/ledger"
	"todoke/ledger/stream"
	"todoke/producers"
	"todoke/testenv/fault"
)

// gatewayVariable makes the test binary a gateway.
const gatewayVariable = "TODOKE_RIG_GATEWAY"

// A gateway is a process that embeds package producers as a party's own system
// does: it keeps what it says in an outbox, and the outbox brings it to whoever
// serves. It prints
//
//	kept ID                        when an event is kept
//	receipt ID INCARNATION SEQ     when the ledger has answered
type gateway struct {
	Data   string       // the ledger's folder
	Dir    string       // its own
	Party  ledger.Party // whom it speaks for
	Prefix string       // what the slips of this run begin with
	Seed   uint64
	Lanes  int // batches in which it speaks at once
	Events int // in each lane, and then it ends; 0: until it is killed
}

// Child does what the environment asks this process to be, if it is anything but
// a test, and says to w what that has to say. TestMain calls it first, and exits
// with the status when it was something.
func Child(w io.Writer) (something bool, status int) {
	text := os.Getenv(gatewayVariable)
	if text == "" {
		return false, 0
	}
	var g gateway
	err := json.Unmarshal([]byte(text), &g)
	if err == nil {
		err = g.run(context.Background(), w)
	}
	if err != nil {
		fmt.Fprintln(w, "error:", err)
		return true, 1
	}
	return true, 0
}

// command returns the call that runs the gateway.
func (g gateway) command(tb testing.TB) *exec.Cmd {
	tb.Helper()
	text, err := json.Marshal(g)
	if err != nil {
		tb.Fatal(err)
	}
	return fault.Self(tb, gatewayVariable+"="+string(text))
}

// open opens the outbox, and makes it as soon as there is a server that says for
// which ledger.
func (g gateway) open(ctx context.Context) (*producers.Outbox, error) {
	c := producers.OutboxConfig{File: filepath.Join(g.Dir, "outbox"), Party: g.Party, Now: time.Now, Rand: rand.Reader}
	if _, err := os.Stat(c.File); err != nil {
		e, err := stream.ReadEndpoint(g.Data)
		for ; err != nil && ctx.Err() == nil; e, err = stream.ReadEndpoint(g.Data) {
			wait(ctx, 10*time.Millisecond)
		}
		if c.Ledger, err = ledger.ParseLedgerID(e.Ledger); err != nil {
			return nil, err
		}
	}
	return producers.OpenOutbox(c)
}

// run keeps and delivers until everything is said, and answered.
func (g gateway) run(ctx context.Context, w io.Writer) error {
	key, err := producers.LocalKey(g.Dir, g.Party, rand.Reader)
	if err != nil {
		return err
	}
	o, err := g.open(ctx)
	if err != nil {
		return err
	}
	reporter, err := producers.New(producers.Config{Log: o, Party: g.Party, Key: key, Now: time.Now, Rand: rand.Reader})
	if err != nil {
		return err
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	var delivering, speaking sync.WaitGroup
	failed := make(chan error, g.Lanes+1)
	delivering.Go(func() {
		attend(ctx, g.Data, func(serving context.Context, c *producers.Client) {
			if err := o.Run(serving, c); err != nil {
				failed <- err
				end()
			}
		})
	})
	for lane := range g.Lanes {
		speaking.Go(func() { failed <- g.speak(ctx, w, o, reporter, lane) })
	}
	speaking.Wait()
	_, err = o.Flush(ctx)
	end()
	delivering.Wait()
	_, closed := o.Close(ctx)
	close(failed)
	for e := range failed {
		err = errors.Join(err, e)
	}
	return errors.Join(err, closed)
}

// most is how many entries a gateway keeps while nobody answers.
const most = 400

// speak says one thing after the other in one lane. Half of them it does not
// wait for.
func (g gateway) speak(ctx context.Context, w io.Writer, o *producers.Outbox, reporter *producers.Reporter, lane int) error {
	random := mathrand.New(mathrand.NewPCG(g.Seed, uint64(lane)))
	for i := 0; i < g.Events || g.Events == 0; i++ {
		for g.Events == 0 && o.Counts().KeptHere > most {
			wait(ctx, 10*time.Millisecond)
		}
		record, err := reporter.Record(claim(500+lane*20+i%20, fmt.Sprintf("%s-%d", g.Prefix, i)))
		if err != nil {
			return err
		}
		e, err := o.Keep(record)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "kept %s\n", e.ID)
		if g.Events == 0 && random.IntN(2) == 0 {
			continue
		}
		r, err := o.Append(ctx, record)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "receipt %s %d %d\n", r.ID, r.Incarnation, r.Seq)
	}
	return nil
}

// A desk is a gateway over its restarts: where it is, and what it has printed.
type desk struct {
	*house
	gateway gateway
	process *fault.Process
	runs    int
	kept    map[ledger.ID]bool
}

// newDesk returns a desk that is not open yet.
func (h *house) newDesk(seed uint64, party string) *desk {
	return &desk{house: h, kept: make(map[ledger.ID]bool), gateway: gateway{
		Data: h.data, Dir: h.TempDir(), Party: ledger.Party(party), Seed: seed, Lanes: 12}}
}

// open starts the process anew, with other slips.
func (d *desk) open() {
	d.Helper()
	d.gateway.Seed, d.gateway.Prefix = d.gateway.Seed+1, fmt.Sprint("run ", d.runs)
	d.runs++
	d.process = fault.Start(d, d.gateway.command(d))
}

// kill kills the process and reads what it has printed.
func (d *desk) kill() {
	d.Helper()
	d.process.Kill9()
	d.hear(d.process.Rest())
}

// hear notes what a gateway has printed.
func (d *desk) hear(lines []string) {
	d.Helper()
	for _, line := range lines {
		var word, id string
		var r ledger.Receipt
		n, _ := fmt.Sscan(line, &word, &id, &r.Incarnation, &r.Seq)
		var err error
		r.ID, err = ledger.ParseID(id)
		switch {
		case word == "kept" && n == 2 && err == nil:
			d.kept[r.ID] = true
		case word == "receipt" && n == 4 && err == nil:
			d.given(r)
		default:
			d.Errorf("the gateway of %s says: %s", d.gateway.Party, strings.TrimSpace(line))
		}
	}
}

// deliver opens the outbox in this process, brings everything to whoever serves,
// and checks that everything that was kept is there and has a receipt, in the
// order of keeping in each batch.
func (d *desk) deliver() {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), patience)
	defer cancel()
	o, err := d.gateway.open(ctx)
	if err != nil {
		d.Errorf("open the outbox of %s: %v", d.gateway.Party, err)
		return
	}
	defer o.Close(ctx)
	var delivering sync.WaitGroup
	defer delivering.Wait()
	delivering.Go(func() {
		attend(ctx, d.gateway.Data, func(ctx context.Context, c *producers.Client) { _ = o.Run(ctx, c) })
	})
	if remaining, err := o.Flush(ctx); err != nil {
		d.Errorf("%d entries of %s stay: %v", remaining, d.gateway.Party, err)
	}
	cancel()
	d.compare(o)
}

// compare holds the entries against what was printed.
func (d *desk) compare(o *producers.Outbox) {
	d.Helper()
	last := make(map[string]ledger.Seq)
	there := make(map[ledger.ID]bool)
	for e, err := range o.Entries() {
		if err != nil {
			d.Errorf("read the outbox of %s: %v", d.gateway.Party, err)
			return
		}
		there[e.ID] = true
		if e.State != producers.InLedger {
			d.Errorf("entry %s of %s is %s: %v", e.ID, d.gateway.Party, e.State, e.Refusal)
			continue
		}
		d.given(e.Receipt)
		subject, _ := ledger.ParseSubject(e.Record.Subject)
		if key := subject.AggregateKey(); e.Receipt.Seq < last[key] {
			d.Errorf("entry %s of %s is at %d, the one before it in %s at %d", e.ID, d.gateway.Party, e.Receipt.Seq, key, last[key])
		} else {
			last[key] = e.Receipt.Seq
		}
	}
	for id := range d.kept {
		if !there[id] {
			d.Errorf("%s was told that %s is kept, and it is not in the outbox", d.gateway.Party, id)
		}
	}
}
