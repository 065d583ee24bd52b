package rig

import (
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"todoke/ledger"
	"todoke/ledger/stream"
	"todoke/producers"
	"todoke/testenv"
	"todoke/testenv/cluster"
	"todoke/testenv/fault"
)

const (
	clusterName   = "three servers: partitions in halves, one way and flapping, leader killed and paused, committer killed, under load"
	clusterOracle = "every receipt is true, nothing is lost, doubled or out of order, and producers go on by themselves"
)

// clusterRows returns the row of the faults of three servers.
func clusterRows(p *program) []Row {
	return []Row{{Number: 8, Name: clusterName, Oracle: clusterOracle, Unit: "faults", Commit: 5, Full: 60,
		Run: scoped(func(tb testing.TB, seed uint64) { clusterFault(tb, p, seed) })}}
}

// A triad is three servers, two processes that can commit, and the branches that
// report to whichever does.
type triad struct {
	*house
	servers  *cluster.Cluster
	random   *mathrand.Rand
	serving  []*fault.Process
	branches []*branch
}

// A branch is a gateway in this process: it speaks in several batches and keeps
// what it says until it has the receipt.
type branch struct {
	*triad
	party  ledger.Party
	outbox *producers.Outbox
	voice  *producers.Reporter
	all    sync.WaitGroup
	end    context.CancelFunc
}

// How much the branches say.
const (
	branches = 3
	lanes    = 4
	ahead    = 64 // entries that wait for an answer
)

// clusterFault is one trial: one fault of the servers, and for every second seed
// the death of the process that commits while it lasts.
func clusterFault(tb testing.TB, p *program, seed uint64) {
	t := &triad{house: newHouse(tb, p, tb.TempDir()), random: mathrand.New(mathrand.NewPCG(seed, 8)),
		servers: cluster.Start(tb, cluster.Config{Proxied: true})}
	t.serving = make([]*fault.Process, 2)
	t.serveAgain(0)
	t.until("the first process serves", func() bool { return t.serves(0) || !running(t.serving[0]) })
	t.serveAgain(1)
	t.speak()
	for _, b := range t.branches {
		defer b.hush()
	}
	t.settle("the load begins")
	faults := []struct {
		name string
		run  func() (heal func())
	}{
		{"the leader is killed", t.killLeader}, {"the leader is cut off", t.cutOff}, {"the leader is not heard", t.oneWay},
		{"partitions come and go", t.flap}, {"the leader is paused", t.pauseLeader}, {"everybody is alone", t.shatter},
	}
	f := faults[seed%uint64(len(faults))]
	heal := f.run()
	if seed/2%2 == 1 {
		i := t.committing()
		t.serving[i].Kill9()
		t.serveAgain(i)
	}
	if heal != nil {
		t.pass(2000, 6000)
		heal()
	}
	t.settle("after " + f.name)
	t.finish()
}

// serveAgain starts process i of those that can commit, in a folder of its own.
func (t *triad) serveAgain(i int) {
	t.Helper()
	t.serving[i] = fault.Start(t, exec.Command(t.program.path(t), "--data", filepath.Join(t.data, fmt.Sprint(i)), "--lang", "en",
		"--nats", t.servers.URL(), "serve", "--nats-system", t.servers.SystemURL()))
}

// serves reports whether process i has said that it serves.
func (t *triad) serves(i int) bool { return strings.Contains(t.serving[i].Said(), "ledger serves") }

// committing returns a process that has said that it serves.
func (t *triad) committing() int {
	if t.serves(1) {
		return 1
	}
	return 0
}

// pass lets some milliseconds pass, as many as the seed says.
func (t *triad) pass(least, most int) {
	time.Sleep(time.Duration(least+t.random.IntN(most-least)) * time.Millisecond)
}

func (t *triad) killLeader() func() {
	old := t.servers.Leader(stream.Name)
	t.servers.Kill9(old)
	t.settle("while the old leader is dead")
	return func() { t.servers.Restart(old) }
}

func (t *triad) pauseLeader() func() {
	old := t.servers.Leader(stream.Name)
	t.servers.Stop(old)
	return func() { t.servers.Continue(old) }
}

func (t *triad) cutOff() func() {
	t.servers.Partition([]int{t.servers.Leader(stream.Name)})
	return t.servers.Heal
}

func (t *triad) oneWay() func() {
	mute := t.servers.Leader(stream.Name)
	t.servers.OneWay(mute, (mute+1)%3)
	if t.random.IntN(2) == 0 {
		t.servers.OneWay(mute, (mute+2)%3)
	}
	return t.servers.Heal
}

func (t *triad) flap() func() {
	for range 8 {
		t.servers.Partition([]int{t.random.IntN(3)})
		t.pass(50, 800)
		t.servers.Heal()
		t.pass(10, 300)
	}
	return nil
}

func (t *triad) shatter() func() {
	t.servers.Partition([]int{0}, []int{1}, []int{2})
	return t.servers.Heal
}

// speak opens the branches.
func (t *triad) speak() {
	t.Helper()
	r, err := t.visit()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for n := range branches {
		b := &branch{triad: t, party: ledger.Party(fmt.Sprintf("relay:%d", n))}
		b.outbox, err = producers.OpenOutbox(producers.OutboxConfig{File: filepath.Join(t.TempDir(), "outbox"),
			Party: b.party, Ledger: r.ID(), Now: time.Now, Rand: rand.Reader})
		if err != nil {
			t.Fatal(err)
		}
		b.voice, err = producers.New(producers.Config{Log: b.outbox, Party: b.party, Key: testenv.Key(t, string(b.party)), Now: time.Now, Rand: rand.Reader})
		if err != nil {
			t.Fatal(err)
		}
		var ctx context.Context
		ctx, b.end = context.WithCancel(t.Context())
		b.all.Go(func() { b.deliver(ctx) })
		for lane := range lanes {
			b.all.Go(func() { b.talk(ctx, n*lanes+lane) })
		}
		t.branches = append(t.branches, b)
	}
}

// visit reads the ledger as soon as there is one.
func (t *triad) visit() (r *stream.Reader, err error) {
	t.until("there is a ledger", func() bool {
		r, err = stream.Visit(t.Context(), t.servers.URL())
		return err == nil
	})
	return r, err
}

// deliver brings what is kept to whoever serves. The connection is for ever: it
// finds other servers by itself.
func (b *branch) deliver(ctx context.Context) {
	for ctx.Err() == nil {
		client, err := producers.Dial(ctx, b.servers.URL())
		if err != nil {
			wait(ctx, 100*time.Millisecond)
			continue
		}
		if err := b.outbox.Run(ctx, client); err != nil {
			b.Errorf("deliver for %s: %v", b.party, err)
		}
		client.Close()
	}
}

// talk says one thing after the other about a batch.
func (b *branch) talk(ctx context.Context, batch int) {
	for i := 0; ctx.Err() == nil; i++ {
		for b.outbox.Counts().KeptHere > ahead && ctx.Err() == nil {
			wait(ctx, 5*time.Millisecond)
		}
		if _, err := b.keep(batch, fmt.Sprint(i)); err != nil {
			b.Errorf("keep for %s: %v", b.party, err)
			return
		}
		wait(ctx, 2*time.Millisecond)
	}
}

func (b *branch) keep(batch int, slip string) (producers.Entry, error) {
	record, err := b.voice.Record(claim(batch, slip))
	if err != nil {
		return producers.Entry{}, err
	}
	return b.outbox.Keep(record)
}

func (b *branch) hush() {
	b.end()
	b.all.Wait()
	ctx, cancel := context.WithCancel(b.Context())
	cancel() // what is not delivered by now stays
	_, _ = b.outbox.Close(ctx)
}

// settle waits until what every branch says from now on has its receipt, and
// logs how long that took.
func (t *triad) settle(when string) {
	t.Helper()
	began := time.Now()
	said := make([]producers.Entry, len(t.branches))
	for n, b := range t.branches {
		var err error
		if said[n], err = b.keep(1000+n, fmt.Sprint(when, " ", t.random.Uint64())); err != nil {
			t.Fatal(err)
		}
	}
	for n, b := range t.branches {
		t.until(string(b.party)+" has a receipt "+when, func() bool {
			t.watch()
			e, _, err := b.outbox.Entry(said[n].ID)
			if err != nil {
				t.Fatal(err)
			}
			return e.State == producers.InLedger
		})
	}
	t.Logf("%s: receipts for all after %s", when, time.Since(began).Round(10*time.Millisecond))
}

// watch fails the trial when a process that can commit has ended by itself.
func (t *triad) watch() {
	t.Helper()
	for i, p := range t.serving {
		if !running(p) {
			t.Errorf("todoke serve %d has ended by itself: %s", i, p.Said())
			t.serveAgain(i)
		}
	}
}

// finish brings everything to the ledger and looks at what is there.
func (t *triad) finish() {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, b := range t.branches {
		b.end()
		b.all.Wait()
		ctx, stop := context.WithCancel(ctx)
		b.all.Go(func() { b.deliver(ctx) })
		if remaining, err := b.outbox.Flush(ctx); err != nil {
			t.Errorf("%d entries of %s stay: %v", remaining, b.party, err)
		}
		stop()
		b.all.Wait()
		(&desk{house: t.house, gateway: gateway{Party: b.party}}).compare(b.outbox)
	}
	r, err := t.visit()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	testenv.CheckLedger(t, r)
	found := t.read(r)
	t.checkReceipts(found)
	t.Logf("%d receipts of %d incarnations", t.count(), len(found.starts))
}
