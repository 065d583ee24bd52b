package producers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"todoke/ledger"
	"todoke/testenv"
)

// A gateway is an outbox in a life of faults and crashes, and what is known of
// it: what was kept, in which order.
type gateway struct {
	t      *testing.T
	dir    string
	lives  int
	outbox *Outbox
	log    *hostile
	kept   []Entry
}

// TestOutboxLivesThroughAnything lets events be kept, passes meet every fault,
// and the program crash at any moment between two writes. In the end every entry
// is in the ledger once or refused, in the order of its batch, and its receipt is
// the ledger's.
func TestOutboxLivesThroughAnything(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		g := &gateway{t: t, dir: t.TempDir(), log: &hostile{Log: newLog(t), refuse: make(map[string]error)}}
		g.open()
		rt.Repeat(map[string]func(*rapid.T){
			"keep":  g.keep,
			"again": g.again,
			"arm":   g.arm,
			"pass":  func(rt *rapid.T) { g.pass(rt) },
			"cut":   g.cut,
			"crash": func(*rapid.T) { g.crash() },
			"":      g.check,
		})
		g.log.script = nil
		for remaining, rounds := 1, 0; remaining > 0; rounds++ {
			if remaining = g.pass(rt); rounds > 500 {
				rt.Fatalf("after %d passes %d remain", rounds, remaining)
			}
		}
		g.check(rt)
		checkDelivered(t, g.outbox, g.log.Log)
		closeOutbox(t, g.outbox)
		if t.Failed() {
			rt.FailNow()
		}
	})
}

func (g *gateway) open() {
	c := outboxConfig(filepath.Join(g.dir, fmt.Sprint(g.lives)))
	o, err := OpenOutbox(c)
	if err != nil {
		g.t.Fatal(err)
	}
	g.outbox = o
}

func (g *gateway) keep(rt *rapid.T) {
	r := claimOf(g.t, rapid.IntRange(1, 4).Draw(rt, "batch"), fmt.Sprint("slip-", len(g.kept)))
	e, err := g.outbox.Keep(r)
	if err != nil {
		rt.Fatal(err)
	}
	g.kept = append(g.kept, e)
	if rapid.IntRange(0, 9).Draw(rt, "refused when 0") == 0 {
		g.log.refuse[e.ID.String()] = ledger.ErrScope
	}
}

// again says something that was kept before, in other bytes.
func (g *gateway) again(rt *rapid.T) {
	if len(g.kept) == 0 {
		rt.Skip("nothing is kept")
	}
	i := rapid.IntRange(0, len(g.kept)-1).Draw(rt, "entry")
	s, _ := ledger.ParseSubject(g.kept[i].Record.Subject)
	b, _ := ParseBatch(s.Aggregate)
	e, err := g.outbox.Keep(again(g.t, b.Number, fmt.Sprint("slip-", i)))
	if err != nil || !reflect.DeepEqual(e.Record, g.kept[i].Record) {
		rt.Errorf("said again it is %+v, %v, and was %+v", e, err, g.kept[i])
	}
}

func (g *gateway) arm(rt *rapid.T) {
	faults := []testenv.Fault{testenv.None, testenv.NotWritten, testenv.Written, testenv.Late, testenv.Unavailable}
	g.log.Arm(rapid.SliceOfN(rapid.SampledFrom(faults), 1, 5).Draw(rt, "faults")...)
	errs := []error{nil, ledger.ErrFenced, ledger.ErrStorageFull, ledger.ErrClock, ledger.ErrClosed, context.DeadlineExceeded}
	g.log.script = append(g.log.script, rapid.SliceOfN(rapid.SampledFrom(errs), 0, 3).Draw(rt, "errors")...)
}

func (g *gateway) pass(rt *rapid.T) int {
	remaining, _, err := g.outbox.Pass(context.Background(), g.log)
	if err != nil {
		rt.Fatal(err)
	}
	return remaining
}

// cut ends the program in a pass: the events are sent, the answers are lost.
func (g *gateway) cut(rt *rapid.T) {
	for _, p := range g.outbox.takeAll() {
		g.outbox.attempt(context.Background(), g.log, p)
	}
	g.crash()
}

// crash goes on with the file as it is now: what was not written is lost.
func (g *gateway) crash() {
	before := g.outbox
	file, err := os.ReadFile(before.config.File)
	g.lives++
	path := filepath.Join(g.dir, fmt.Sprint(g.lives), "outbox")
	if err := errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, file, 0o600)); err != nil {
		g.t.Fatal(err)
	}
	closeOutbox(g.t, before)
	g.open()
}

// check holds the outbox against what was kept.
func (g *gateway) check(rt *rapid.T) {
	entries := entriesOf(g.t, g.outbox)
	if len(entries) != len(g.kept) {
		rt.Fatalf("%d entries, %d were kept", len(entries), len(g.kept))
	}
	var counts Counts
	for i, e := range entries {
		if e.ID != g.kept[i].ID || !e.Kept.Equal(g.kept[i].Kept) || !reflect.DeepEqual(e.Record, g.kept[i].Record) {
			rt.Fatalf("entry %d is %+v, kept was %+v", i, e, g.kept[i])
		}
		*map[State]*int{KeptHere: &counts.KeptHere, InLedger: &counts.InLedger, Refused: &counts.Refused}[e.State]++
		counts.Bytes += int64(sizeOf(e.Record))
	}
	if got := g.outbox.Counts(); got != counts {
		rt.Fatalf("counts %+v, want %+v", got, counts)
	}
}
