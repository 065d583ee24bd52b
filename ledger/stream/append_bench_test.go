package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"todoke/ledger"
	"todoke/ledger/rule"
	"todoke/testenv"
	"todoke/testenv/sim"
)

// A bench is a ledger to write to. Records are signed before the clock starts.
type bench struct {
	*testing.B
	ledger *Ledger
	key    *sim.Voice
	next   int // numbers slips and batches
}

func newBench(b *testing.B) *bench {
	b.Helper()
	return &bench{B: b, ledger: newLedger(b), key: sim.NewVoice(b, "municipality:131229")}
}

// newLedger opens a ledger that the test closes.
func newLedger(tb testing.TB) *Ledger {
	tb.Helper()
	l, err := Open(tb.Context(), Config{Dir: tb.TempDir(), Now: time.Now, Rand: rand.Reader,
		Party: "operator:local", Key: testenv.Key(tb, "operator:local"), Opening: Opening{Pack: rule.Default().Text()}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	return l
}

// claims returns n claims, each of another batch than the 4,000 before it.
func (b *bench) claims(n int) []ledger.Record {
	records := make([]ledger.Record, n)
	for i := range records {
		b.next++
		name := fmt.Sprintf("131229-20151005-%04d", b.next%4000+1)
		d := ledger.Draft{
			Author: "municipality:131229", DocumentKey: strconv.Itoa(b.next), Sent: testenv.Start,
			Subject: ledger.Subject{Municipality: "131229", Aggregate: name, Kind: ledger.UploadCompleted},
			Body: ledger.Body{Flow: ledger.NotificationCard.Name, Items: ledger.AllItems(551), Count: 551, Root: ledger.Root{1},
				Document: ledger.Document{Kind: "file", Digest: [32]byte{1}}},
		}
		var err error
		if records[i], err = ledger.New(b.ledger.ID(), d, b.key); err != nil {
			b.Fatal(err)
		}
	}
	return records
}

// requests admits claims, as Append does before it hands them on.
func (b *bench) requests(n int) []*request {
	requests := make([]*request, n)
	for i, r := range b.claims(n) {
		e, err := ledger.Admit(b.ledger.ID(), r)
		if err != nil {
			b.Fatal(err)
		}
		requests[i] = &request{events: []ledger.Event{e}, answer: make(chan answer, 1)}
	}
	return requests
}

// each lets writers work off n calls of do, and reports how many a second and
// how long the slowest hundredth took. prepare is not counted.
func (b *bench) each(writers, n int, prepare func(), do func(i int) error) {
	var took []time.Duration
	var mu sync.Mutex
	for b.Loop() {
		b.StopTimer()
		prepare()
		b.StartTimer()
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				mine := make([]time.Duration, 0, n/writers+1)
				for i := w; i < n; i += writers {
					from := time.Now()
					if err := do(i); err != nil {
						b.Error(err)
						return
					}
					mine = append(mine, time.Since(from))
				}
				mu.Lock()
				defer mu.Unlock()
				took = append(took, mine...)
			})
		}
		all.Wait()
	}
	slices.Sort(took)
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkAppend compares the committer with the broker at the same durability
// and fence, on the same bodies and headers. raw is one publish after the other
// of so many writers, and for 1,000 in flight full atomic batches. append also
// verifies a signature on the way; committed does not.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct{ writers, events int }{{1, 500}, {64, 64 * 40}, {1000, 20_000}} {
		b.Run(strconv.Itoa(c.writers), func(b *testing.B) {
			b.Run("raw", func(b *testing.B) {
				if r := newBench(b); c.writers == 1000 {
					r.rawBatches(1000, c.events)
				} else {
					r.rawSingles(c.writers, c.events)
				}
			})
			if c.writers == 64 {
				b.Run("full batches", func(b *testing.B) { newBench(b).rawBatches(64, c.events) })
			}
			b.Run("append", func(b *testing.B) {
				var records []ledger.Record
				r := newBench(b)
				r.each(c.writers, c.events, func() { records = r.claims(c.events) }, func(i int) error {
					_, err := r.ledger.Append(context.Background(), records[i])
					return err
				})
			})
			b.Run("committed", func(b *testing.B) {
				var requests []*request
				r := newBench(b)
				r.each(c.writers, c.events, func() { requests = r.requests(c.events) }, func(i int) error {
					return r.ledger.ask(context.Background(), requests[i]).err
				})
			})
		})
	}
	b.Run("64 with a conflict in each group", benchmarkConflicts)
}

// rawSingles publishes one by one. The fence serialises the writers as the
// broker's own block lock does.
func (b *bench) rawSingles(writers, n int) {
	js, err := jetstream.New(b.ledger.Conn())
	if err != nil {
		b.Fatal(err)
	}
	var records []ledger.Record
	b.each(writers, n, func() { records = b.stamped(n) }, func(i int) error {
		_, err := js.PublishMsg(context.Background(), &nats.Msg{Subject: records[i].Subject, Header: nats.Header(records[i].Header), Data: records[i].Body})
		return err
	})
}

// rawBatches publishes atomic batches of so many events, always full.
func (b *bench) rawBatches(size, n int) {
	var records []ledger.Record
	batch := 0
	b.each(1, n/size, func() { records = b.stamped(n) }, func(g int) error {
		batch++
		for i, r := range records[g*size : (g+1)*size] {
			m := &nats.Msg{Subject: r.Subject, Header: nats.Header(maps.Clone(r.Header)), Data: r.Body}
			m.Header[batchIDHeader], m.Header[batchSequenceHeader] = []string{strconv.Itoa(batch)}, []string{strconv.Itoa(i + 1)}
			if i < size-1 {
				if err := b.ledger.Conn().PublishMsg(m); err != nil {
					return err
				}
				continue
			}
			m.Header[batchCommitHeader] = []string{"1"}
			if _, err := b.ledger.Conn().RequestMsgWithContext(context.Background(), m); err != nil {
				return err
			}
		}
		return nil
	})
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "events/s")
}

// stamped returns claims as they are stored.
func (b *bench) stamped(n int) []ledger.Record {
	records := b.claims(n)
	for i := range records {
		records[i] = stamp(records[i], testenv.Start)
	}
	return records
}

// benchmarkConflicts: 63 writers of facts, and one whose every decision is made
// on a head that has passed.
func benchmarkConflicts(b *testing.B) {
	for _, conflicts := range []bool{false, true} {
		b.Run(map[bool]string{false: "raw", true: "committed"}[conflicts], func(b *testing.B) {
			r := newBench(b)
			const n = 63 * 40
			if _, err := r.ledger.Append(b.Context(), testenv.Claim(b, r.ledger.ID(), batch, "slip", ledger.Items{{First: 1, Last: 1}})); err != nil {
				b.Fatal(err)
			}
			stop := make(chan struct{})
			var decider sync.WaitGroup
			if conflicts {
				e, err := ledger.Admit(r.ledger.ID(), testenv.Alert(b, r.ledger.ID(), batch, "alert", ledger.Items{{First: 1, Last: 1}}))
				if err != nil {
					b.Fatal(err)
				}
				decider.Go(func() { decide(b, r.ledger, e, stop) })
			}
			var requests []*request
			r.each(63, n, func() { requests = r.requests(n) }, func(i int) error {
				return r.ledger.ask(context.Background(), requests[i]).err
			})
			close(stop)
			decider.Wait()
			b.StopTimer()
			testenv.CheckLedger(b, r.ledger)
		})
	}
}

// decide sends a stale decision beside every group.
func decide(b *testing.B, l *Ledger, e ledger.Event, stop chan struct{}) {
	stale := ledger.Seq(1)
	for {
		select {
		case <-stop:
			return
		default:
		}
		a := l.ask(context.Background(), &request{events: []ledger.Event{e}, decided: &stale, answer: make(chan answer, 1)})
		if !errors.Is(a.err, ledger.ErrConflict) {
			b.Errorf("a stale decision: %v", a.err)
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// BenchmarkHistory reads the 20 events of one of 1,000 batches, spread over the
// whole ledger. raw reads them by sequences that it was told.
func BenchmarkHistory(b *testing.B) {
	const batches, events = 1000, 20
	r := newBench(b)
	requests := make([]*request, 0, batches*events)
	for i := range batches * events {
		name := fmt.Sprintf("131229-20151005-%04d", i%batches+1)
		e, err := ledger.Admit(r.ledger.ID(), testenv.Claim(b, r.ledger.ID(), name, strconv.Itoa(i), ledger.Items{{First: 1, Last: 551}}))
		if err != nil {
			b.Fatal(err)
		}
		requests = append(requests, &request{events: []ledger.Event{e}, answer: make(chan answer, 1)})
	}
	for _, q := range requests {
		r.ledger.queue <- q
	}
	for _, q := range requests {
		if a := <-q.answer; a.err != nil {
			b.Fatal(a.err)
		}
	}
	b.Run("raw", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			name := fmt.Sprintf("131229.131229-20151005-%04d", i*7%batches+1)
			for _, seq := range r.ledger.sequences(name) {
				if _, err := r.ledger.stream.GetMsg(b.Context(), uint64(seq)); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("history", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			n := 0
			for _, err := range r.ledger.History(b.Context(), "131229", fmt.Sprintf("131229-20151005-%04d", i*7%batches+1)) {
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
			if n != events {
				b.Fatalf("%d events, want %d", n, events)
			}
		}
	})
}

// BenchmarkDisk reports the bytes that the broker keeps of an event. raw is a
// publish of the same body and headers and nothing else.
func BenchmarkDisk(b *testing.B) {
	const n = 2000
	measure := func(b *testing.B, r *bench) {
		b.StopTimer()
		var bytes int64
		err := filepath.WalkDir(filepath.Join(r.ledger.cfg.Dir, "jetstream"), func(path string, d fs.DirEntry, err error) error {
			if err == nil && filepath.Ext(path) == ".blk" {
				info, err := d.Info()
				bytes += info.Size()
				return err
			}
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(bytes)/float64(n*b.N), "B/event")
	}
	b.Run("raw", func(b *testing.B) {
		r := newBench(b)
		r.rawSingles(1, n)
		measure(b, r)
	})
	for name, writers := range map[string]int{"singles": 1, "groups": 1000} {
		b.Run(name, func(b *testing.B) {
			r := newBench(b)
			var requests []*request
			r.each(writers, n, func() { requests = r.requests(n) }, func(i int) error {
				return r.ledger.ask(context.Background(), requests[i]).err
			})
			measure(b, r)
		})
	}
}
