package rig

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"todoke/ledger"
	"todoke/ledger/stream"
	"todoke/producers"
	"todoke/testenv"
	"todoke/testenv/fault"
)

// diskSizes are the disks that are filled, in bytes.
var diskSizes = [...]int64{3 << 20, 4 << 20, 6 << 20, 12 << 20, 24 << 20}

// diskPhases are the moments at which they are.
var diskPhases = [...]func(*crammed){
	func(f *crammed) { f.whileServing(4) },  // single events
	func(f *crammed) { f.whileServing(40) }, // several in one atomic batch
	(*crammed).whileStarting,
}

func fullDiskRows(p *program) []Row {
	return []Row{{
		Number: 7, Name: "a disk that somebody else fills up, and frees again",
		Oracle: "storage-full and status 3; reads go on; events, alerts and outboxes resume by themselves; nothing lost, doubled or half",
		Unit:   "disks", Commit: len(diskPhases), Full: len(diskPhases) * len(diskSizes),
		Run: scoped(func(tb testing.TB, seed uint64) { fullDisk(tb, p, seed); fullDiskDecisions(tb, seed) }),
	}}
}

// A crammed ledger is one on a small disk.
type crammed struct {
	*house
	disk    *fault.Disk
	random  *mathrand.Rand
	ballast string
	outbox  *keeper
}

// fullDisk fills a disk, looks what still goes on, and makes room again.
func fullDisk(tb testing.TB, p *program, seed uint64) {
	disk := fault.NewDisk(tb, diskSizes[seed/uint64(len(diskPhases))%uint64(len(diskSizes))])
	f := &crammed{disk: disk, random: mathrand.New(mathrand.NewPCG(seed, 7)), ballast: filepath.Join(disk.Dir(), "ballast"),
		house: newHouse(tb, p, filepath.Join(disk.Dir(), "ledger"), hastyRules(tb)...)}
	diskPhases[seed%uint64(len(diskPhases))](f)
	f.checkAlerts(f.check())
}

// fill takes room in one go, until about so many bytes are left.
func (f *crammed) fill(left int64) {
	f.Helper()
	file, err := os.OpenFile(f.ballast, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	for take := f.disk.Room() - left; take > 0; take /= 2 { // others may be faster
		if info, err := file.Stat(); err != nil || syscall.Fallocate(int(file.Fd()), 0, info.Size(), take) == nil {
			return
		}
	}
}

// brink is the room that is left when a broker may still be given something to
// write, but not for much longer.
const brink = 5 << 18

// cram takes what room is left in the middle of a write, as well as it can: first
// almost all, then, while the broker is at work, the rest.
func (f *crammed) cram() {
	f.Helper()
	f.fill(brink)
	time.Sleep(time.Duration(f.random.IntN(3000)) * time.Microsecond)
	f.fill(f.random.Int64N(8 << 10))
}

// free gives the room back.
func (f *crammed) free() {
	f.Helper()
	if err := os.Remove(f.ballast); err != nil {
		f.Fatal(err)
	}
}

// whileServing fills the disk while so many parties report.
func (f *crammed) whileServing(parties int) {
	server := f.serve()
	f.keep()
	f.mustReport("relay:99", claim(700, "before"))
	c := f.talk("crowd", parties)
	defer c.hush()
	f.until("the crowd gets receipts", func() bool { return f.count() > 50 })
	for range 5 + f.random.IntN(10) { // so that one write or the other meets it
		f.cram()
		time.Sleep(time.Duration(f.random.IntN(5000)) * time.Microsecond)
		f.free()
		time.Sleep(time.Duration(f.random.IntN(20000)) * time.Microsecond)
	}
	more := f.count() + 20
	f.until("it resumes every time", func() bool { return f.count() > more })
	f.mustReport("municipality:131229", uploadOf(2000))
	f.cram()
	f.until("the crowd hears that there is no room", func() bool { return c.failures("storage-full") > 0 })
	f.goesOn()
	f.free()
	f.resumes(server, c)
	f.tellsOnly(c)
}

// whileStarting fills the disk before a server starts, on a ledger that is not
// made yet and on one that is.
func (f *crammed) whileStarting() {
	f.fill(f.random.Int64N(128 << 10))
	first := f.start()
	if _, up := f.reach(first); up {
		first.Terminate()
		f.Errorf("a server has made a ledger on a full disk")
	}
	if err := first.Wait(); err == nil || err.Error() != "exit status 3" || !strings.Contains(first.Said(), "todoke: ") {
		f.Errorf("on a full disk it ended with %v: %s", err, first.Said())
	}
	f.free()
	server := f.serve()
	f.keep()
	f.mustReport("relay:99", claim(700, "before"))
	f.mustReport("municipality:131229", uploadOf(2000))
	server.Kill9()
	f.fill(32<<10 + f.random.Int64N(128<<10)) // its endpoint needs a page
	server = f.serve()
	c := f.talk("crowd", 24)
	defer c.hush()
	f.until("the crowd hears that there is no room", func() bool { return c.failures("storage-full") > 0 })
	f.goesOn()
	f.free()
	f.resumes(server, c)
	f.tellsOnly(c)
}

// goesOn looks at what must go on without room: everything that reads, and those
// who are told why they cannot write.
func (f *crammed) goesOn() {
	f.Helper()
	before := f.count()
	if lines := f.ask("--json", "replay"); len(lines) < before {
		f.Errorf("replay shows %d events, %d have receipts", len(lines), before)
	}
	wait(f.Context(), 1500*time.Millisecond) // an alert is due by now
	f.ask("--json", "batches")
	// A report is tried again until its author has enough of it.
	report := fault.Start(f, f.command("--party", "relay:99", "report", "import.completed", "--batch", batchOf(700), "--count", "3", "--slip", "full"))
	time.Sleep(500 * time.Millisecond)
	report.Terminate()
	if err := report.Wait(); err == nil || err.Error() != "exit status 3" || !strings.Contains(report.Said(), "todoke: ") {
		f.Errorf("report on a full disk ended with %v: %s", err, report.Said())
	}
	f.outbox.fill(f)
}

// resumes looks that everything goes on with room, in the same process.
func (f *crammed) resumes(server *fault.Process, c *crowd) {
	f.Helper()
	more := f.count() + 50
	f.until("the crowd gets receipts again", func() bool { return f.count() > more })
	f.until("the alert is raised", func() bool { return f.raised() > 0 })
	c.hush()
	f.outbox.deliver(f)
	f.stop(server)
}

// tellsOnly checks what the crowd was told.
func (f *crammed) tellsOnly(c *crowd) {
	f.Helper()
	for code, n := range c.failed {
		if code != "storage-full" && code != "unknown" && code != "unavailable" {
			f.Errorf("%d answers were %s", n, code)
		}
	}
}

// A keeper is an outbox on the same disk.
type keeper struct {
	*producers.Outbox
	reporter *producers.Reporter
	kept     int
}

// keep makes an outbox, and keeps something in it.
func (f *crammed) keep() {
	f.Helper()
	const party = "relay:100"
	e, err := stream.ReadEndpoint(f.data)
	if err != nil {
		f.Fatal(err)
	}
	id, err := ledger.ParseLedgerID(e.Ledger)
	if err != nil {
		f.Fatal(err)
	}
	o, err := producers.OpenOutbox(producers.OutboxConfig{File: filepath.Join(f.disk.Dir(), "outbox"), Party: party,
		Ledger: id, Now: time.Now, Rand: rand.Reader})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // what is not delivered by now stays
		_, _ = o.Close(ctx)
	})
	r, err := producers.New(producers.Config{Log: o, Party: party, Key: testenv.Key(f, party), Now: time.Now, Rand: rand.Reader})
	if err != nil {
		f.Fatal(err)
	}
	f.outbox = &keeper{Outbox: o, reporter: r}
	if err := f.outbox.one(); err != nil {
		f.Fatal(err)
	}
}

// one keeps one event more.
func (k *keeper) one() error {
	r, err := k.reporter.Record(claim(800+k.kept%20, fmt.Sprint("kept ", k.kept)))
	if err != nil {
		return err
	}
	if _, err := k.Keep(r); err != nil {
		return err
	}
	k.kept++
	return nil
}

// fill keeps until there is no room.
func (k *keeper) fill(f *crammed) {
	f.Helper()
	f.fill(0)
	var err error
	for range 1000 {
		if err = k.one(); err != nil {
			break
		}
	}
	if !errors.Is(err, ledger.ErrStorageFull) {
		f.Errorf("an outbox on a full disk says %v", err)
	}
	if c := k.Counts(); c.KeptHere != k.kept {
		f.Errorf("the outbox keeps %+v, and took %d", c, k.kept)
	}
}

// deliver keeps one more, and brings everything to whoever serves.
func (k *keeper) deliver(f *crammed) {
	f.Helper()
	if err := k.one(); err != nil {
		f.Errorf("an outbox that has room again: %v", err)
	}
	ctx, cancel := context.WithTimeout(f.Context(), patience)
	defer cancel()
	var delivering sync.WaitGroup
	delivering.Go(func() { attend(ctx, f.data, func(ctx context.Context, c *producers.Client) { _ = k.Run(ctx, c) }) })
	if remaining, err := k.Flush(ctx); err != nil {
		f.Errorf("%d entries stay: %v", remaining, err)
	}
	cancel()
	delivering.Wait()
	n := 0
	for e, err := range k.Entries() {
		if err != nil || e.State != producers.InLedger {
			f.Errorf("entry %s is %s: %v, %v", e.ID, e.State, e.Refusal, err)
			return
		}
		f.given(e.Receipt)
		n++
	}
	if n != k.kept {
		f.Errorf("the outbox has %d entries, and took %d", n, k.kept)
	}
}
