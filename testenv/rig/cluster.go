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

// A triad is three servers, two processes that can commit, and the gateways that
// report to whichever does.
type triad struct {
	*house
	servers  *cluster.Cluster
	random   *mathrand.Rand
	serving  []*fault.Process
	gateways []*reporter
}

// A reporter is a gateway in this process: it speaks in several batches and keeps
// what it says until it has the receipt.
type reporter struct {
	*triad
	party  ledger.Party
	outbox *producers.Outbox
	voice  *producers.Reporter
	all    sync.WaitGroup
	end    context.CancelFunc
}

// How much the gateways say.
const (
	reporters = 3
	lanes     = 4
	ahead     = 64 // entries that wait for an answer
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
	for _, g := range t.gateways {
		defer g.hush()
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

// speak opens the gateways.
func (t *triad) speak() {
	t.Helper()
	r, err := t.visit()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for n := range reporters {
		g := &reporter{triad: t, party: ledger.Party(fmt.Sprintf("relay:%d", n))}
		g.outbox, err = producers.OpenOutbox(producers.OutboxConfig{File: filepath.Join(t.TempDir(), "outbox"),
			Party: g.party, Ledger: r.ID(), Now: time.Now, Rand: rand.Reader})
		if err != nil {
			t.Fatal(err)
		}
		g.voice, err = producers.New(producers.Config{Log: g.outbox, Party: g.party, Key: testenv.Key(t, string(g.party)), Now: time.Now, Rand: rand.Reader})
		if err != nil {
			t.Fatal(err)
		}
		var ctx context.Context
		ctx, g.end = context.WithCancel(t.Context())
		g.all.Go(func() { g.deliver(ctx) })
		for lane := range lanes {
			g.all.Go(func() { g.talk(ctx, n*lanes+lane) })
		}
		t.gateways = append(t.gateways, g)
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
func (g *reporter) deliver(ctx context.Context) {
	for ctx.Err() == nil {
		client, err := producers.Dial(ctx, g.servers.URL())
		if err != nil {
			wait(ctx, 100*time.Millisecond)
			continue
		}
		if err := g.outbox.Run(ctx, client); err != nil {
			g.Errorf("deliver for %s: %v", g.party, err)
		}
		client.Close()
	}
}

// talk says one thing after the other about a batch.
func (g *reporter) talk(ctx context.Context, batch int) {
	for i := 0; ctx.Err() == nil; i++ {
		for g.outbox.Counts().KeptHere > ahead && ctx.Err() == nil {
			wait(ctx, 5*time.Millisecond)
		}
		if _, err := g.keep(batch, fmt.Sprint(i)); err != nil {
			g.Errorf("keep for %s: %v", g.party, err)
			return
		}
		wait(ctx, 2*time.Millisecond)
	}
}

func (g *reporter) keep(batch int, slip string) (producers.Entry, error) {
	record, err := g.voice.Record(claim(batch, slip))
	if err != nil {
		return producers.Entry{}, err
	}
	return g.outbox.Keep(record)
}

func (g *reporter) hush() {
	g.end()
	g.all.Wait()
	ctx, cancel := context.WithCancel(g.Context())
	cancel() // what is not delivered by now stays
	_, _ = g.outbox.Close(ctx)
}

// settle waits until what every gateway says from now on has its receipt, and
// logs how long that took.
func (t *triad) settle(when string) {
	t.Helper()
	began := time.Now()
	said := make([]producers.Entry, len(t.gateways))
	for n, g := range t.gateways {
		var err error
		if said[n], err = g.keep(1000+n, fmt.Sprint(when, " ", t.random.Uint64())); err != nil {
			t.Fatal(err)
		}
	}
	for n, g := range t.gateways {
		t.until(string(g.party)+" has a receipt "+when, func() bool {
			t.watch()
			e, _, err := g.outbox.Entry(said[n].ID)
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
	for _, g := range t.gateways {
		g.end()
		g.all.Wait()
		ctx, stop := context.WithCancel(ctx)
		g.all.Go(func() { g.deliver(ctx) })
		if remaining, err := g.outbox.Flush(ctx); err != nil {
			t.Errorf("%d entries of %s stay: %v", remaining, g.party, err)
		}
		stop()
		g.all.Wait()
		(&desk{house: t.house, gateway: gateway{Party: g.party}}).compare(g.outbox)
	}
	r, err := t.visit()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	testenv.CheckLedger(t, r)
	t.compare(r)
}

// compare holds every receipt against what the ledger holds.
func (t *triad) compare(r *stream.Reader) {
	t.Helper()
	head, err := r.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := history{at: make(map[ledger.ID]ledger.Seq)}
	for record, err := range r.Read(t.Context(), 1, head) {
		if err != nil {
			t.Fatal(err)
		}
		e, err := ledger.Decode(record)
		if err != nil {
			t.Fatal(err)
		}
		found.at[e.ID()] = record.Seq
		if k := e.Kind(); k == ledger.LedgerOpened || k == ledger.LedgerStarted {
			found.starts = append(found.starts, record.Seq)
		}
	}
	for _, r := range t.receipts {
		if at, n := found.at[r.ID], found.incarnation(r.Seq); at != r.Seq || n != r.Incarnation {
			t.Errorf("event %s has a receipt for (%d, %d) and is at (%d, %d)", r.ID, r.Incarnation, r.Seq, n, at)
		}
	}
	t.Logf("%d receipts of %d incarnations", t.count(), len(found.starts))
}
