package rig

import (
	"context"
	"fmt"
	mathrand "math/rand/v2"
	"path"
	"strings"
	"syscall"
	"testing"
	"time"

	"todoke/testenv/fault"
)

// failing are the calls that a disk refuses, and how many of each a server under
// load makes at least.
var failing = [...]struct {
	call string
	most int
}{{"sync", 40}, {"write", 120}, {"open", 25}, {"rename", 12}}

func failingDiskRows(p *program) []Row {
	const together = 2 * len(failing)
	return []Row{{
		Number: 6, Name: "EIO on the nth sync, write, open or rename of a server under load",
		Oracle: "a server whose events fail to reach the disk acknowledges nothing more; every receipt before is true after a restart",
		Unit:   "errors", Commit: 10 * len(failing), Full: 100 * len(failing), PerTrial: together,
		Run: beside(together, func(tb testing.TB, seed uint64) { failingDisk(tb, p, seed) }),
	}}
}

// A failure is the trial in which a disk fails.
type failure struct {
	*house
	server *fault.Traced
	plan   fault.Tampering
}

// failingDisk lets one call of a server fail, or all from it on, and then gives
// it a disk that is well.
func failingDisk(tb testing.TB, p *program, seed uint64) {
	random := mathrand.New(mathrand.NewPCG(seed, 6))
	kind := failing[seed%uint64(len(failing))]
	f := &failure{house: newHouse(tb, p, tb.TempDir())}
	f.plan = fault.Tampering{Under: f.data, Calls: []string{kind.call}, Nth: 1 + random.IntN(kind.most),
		Error: syscall.EIO, Onwards: random.IntN(2) == 0}
	f.server = fault.StartTraced(f, f.serveCommand(), f.plan)
	if _, up := f.reach(f.server.Process); up {
		f.load()
	}
	f.server.Terminate()
	f.endedWell()
	if f.Failed() {
		f.Logf("seed %d, %+v: %v", seed, f.plan, f.broken())
	}
	again := f.serve()
	c := f.talk("crowd", 24)
	more := f.count() + 24
	f.until("the disk that is well takes events", func() bool { return f.count() >= more })
	c.hush()
	f.stop(again)
	f.check()
}

// broken returns the call that failed, if it has come to that.
func (f *failure) broken() fault.Call {
	if calls := f.server.Calls(); len(calls) >= f.plan.Nth {
		return calls[f.plan.Nth-1]
	}
	return fault.Call{}
}

// load lets a crowd report until the disk fails, and looks what the server does
// then.
func (f *failure) load() {
	f.Helper()
	c := f.talk("crowd", 24)
	f.until("the disk fails", func() bool { return f.broken().Name != "" || !running(f.server.Process) })
	events := strings.HasSuffix(f.broken().Path, ".blk") && path.Base(path.Dir(path.Dir(f.broken().Path))) == "LEDGER"
	if !events || f.broken().Name == "open" {
		wait(f.Context(), 50*time.Millisecond)
		c.hush()
		return
	}
	f.until("the server has noticed", func() bool { return c.troubled() || !running(f.server.Process) })
	c.hush()
	before := f.count()
	ctx, cancel := context.WithTimeout(f.Context(), patience/2)
	defer cancel()
	for i := range 3 {
		if r, err := f.report(ctx, "relay:99", claim(600, fmt.Sprint("probe ", i))); err == nil {
			f.Errorf("after %s has failed, event %s got a receipt for %d", f.broken(), r.ID, r.Seq)
		}
	}
	if f.count() != before {
		f.Errorf("%d receipts were given after %s has failed", f.count()-before, f.broken())
	}
}

// endedWell checks that the server ended well, or with status 3 and a sentence.
func (f *failure) endedWell() {
	f.Helper()
	err := f.server.Wait()
	if said := f.server.Said(); err != nil && (err.Error() != "exit status 3" || !strings.Contains(said, "todoke: ")) {
		f.Errorf("the server ended with %v: %s", err, said)
	}
}
