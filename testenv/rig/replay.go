package rig

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"todoke/ledger"
	"todoke/ledger/rule"
	"todoke/ledger/stream"
	"todoke/projections"
	"todoke/testenv"
	"todoke/testenv/sim"
)

// replayRows are the rows about reading a ledger again.
func replayRows() []Row {
	return []Row{{
		Number: 14, Name: "one history, written in two orders, read from memory, from a stream and from the stream opened again, on 1 and on 2 processors",
		Oracle: "the same custody, hops and obligations, byte for byte",
		Unit:   "events", Commit: perReplay, Full: 1_000_000, PerTrial: perReplay, Light: perReplay, Run: scoped(replay),
	}}
}

// How large a replayed history is.
const (
	perReplay = 10_000
	perBatch  = 16 // words about one batch
	writers   = 64
)

// A saga is what parties say: lanes of words, each by one party about one batch,
// in its own order.
type saga struct {
	id    ledger.LedgerID
	lanes [][]ledger.Record
	size  int
}

// replay is one trial. The clocks stand still, because orders differ in when
// something became true.
func replay(tb testing.TB, seed uint64) {
	ctx := context.Background()
	dir := filepath.Join(memoryFolder(tb), "data")
	log := openReplay(tb, dir)
	defer func() { log.Close() }()
	s := newSaga(tb, log.ID(), seed, perReplay)
	s.write(ctx, tb, log)

	random := rand.New(rand.NewPCG(seed, 1))
	want := contentOf(ctx, tb, s.remember(ctx, tb, random))
	same := func(how string, r ledger.Reader) {
		for _, processors := range []int{1, 2} {
			before := runtime.GOMAXPROCS(processors)
			got := contentOf(ctx, tb, r)
			runtime.GOMAXPROCS(before)
			if got != want {
				tb.Errorf("seed %d: %s on %d processors: %s", seed, how, processors, firstDifference(got, want))
			}
		}
	}
	same("another order in memory", s.remember(ctx, tb, random))
	same("the stream", log)
	if err := log.Close(); err != nil {
		tb.Fatalf("close: %v", err)
	}
	log = openReplay(tb, dir)
	same("the stream opened again", log)
	testenv.CheckLedger(tb, log)
}

// memoryFolder returns a folder of the trial, in memory when there is one: a sync
// to a disk would only make the trial slower.
func memoryFolder(tb testing.TB) string {
	const memory = "/dev/shm"
	if _, err := os.Stat(memory); err != nil {
		return tb.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "rig-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func openReplay(tb testing.TB, dir string) *stream.Ledger {
	log, err := stream.Open(context.Background(), stream.Config{
		Dir: dir, Now: testenv.NewClock().Now, Rand: rand.NewChaCha8([32]byte{14}),
		Party: "operator:local", Key: sim.NewVoice(tb, "operator:local"), Opening: stream.Opening{Pack: rule.Default().Text()},
	})
	if err != nil {
		tb.Fatalf("open: %v", err)
	}
	return log
}

// newSaga draws so many words and signs them, the same with the same seed.
func newSaga(tb testing.TB, id ledger.LedgerID, seed uint64, size int) *saga {
	s := &saga{id: id, size: size}
	random := rand.New(rand.NewPCG(seed, 0))
	voices := make(map[ledger.Party]*sim.Voice)
	for batch := range (size + perBatch - 1) / perBatch {
		name := fmt.Sprintf("131229-2015%02d%02d-%04d", 10+batch/9999%3, 1+batch%28, 1+batch%9999)
		lanes := make([][]ledger.Record, len(sim.Parties(name)))
		for n := range min(perBatch, size-batch*perBatch) {
			i := random.IntN(len(lanes))
			w := sim.Draw(random, sim.Parties(name)[i], name, fmt.Sprint(n))
			if voices[w.Party] == nil {
				voices[w.Party] = sim.NewVoice(tb, w.Party)
			}
			lanes[i] = append(lanes[i], w.Sign(tb, id, voices[w.Party]))
		}
		s.lanes = append(s.lanes, lanes...)
	}
	return s
}

// write brings everything into a log, from many writers at once. What one party
// says of one batch is said by one of them.
func (s *saga) write(ctx context.Context, tb testing.TB, log ledger.Log) {
	lanes := make(chan []ledger.Record)
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for lane := range lanes {
				for _, r := range lane {
					if _, err := log.Append(ctx, r); err != nil {
						tb.Errorf("append: %v", err)
					}
				}
			}
		})
	}
	for _, lane := range s.lanes {
		lanes <- lane
	}
	close(lanes)
	all.Wait()
}

// remember writes everything into a log in memory, in an order that is drawn.
func (s *saga) remember(ctx context.Context, tb testing.TB, random *rand.Rand) *testenv.Log {
	log := testenv.NewLog(testenv.Config{ID: s.id, T: tb, Admit: verified})
	next := make([]int, len(s.lanes))
	var order []int
	for i, lane := range s.lanes {
		for range lane {
			order = append(order, i)
		}
	}
	random.Shuffle(len(order), func(i, k int) { order[i], order[k] = order[k], order[i] })
	for _, i := range order {
		if _, err := log.Append(ctx, s.lanes[i][next[i]]); err != nil {
			tb.Fatalf("append: %v", err)
		}
		next[i]++
	}
	return log
}

// verified reads a record whose signature the stream has verified.
func verified(_ ledger.LedgerID, r ledger.Record) (ledger.Event, error) { return sim.Unverified(r) }

// contentOf returns what a fold of a whole ledger amounts to.
func contentOf(ctx context.Context, tb testing.TB, r ledger.Reader) string {
	var custody projections.Custody
	if _, err := projections.Run(ctx, r, projections.Point{}, &custody); err != nil {
		tb.Fatalf("replay: %v", err)
	}
	return sim.CustodyContent(&custody)
}

// firstDifference returns what stands around the first byte that differs.
func firstDifference(got, want string) string {
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	part := func(s string) string { return s[max(0, i-200):min(len(s), i+200)] }
	return fmt.Sprintf("it differs at byte %d:\n%s\nand should be\n%s", i, part(got), part(want))
}

// digest returns the digest of all words, lane by lane: subjects, author's headers
// and bodies.
func (s *saga) digest() []byte {
	h := sha256.New()
	for _, lane := range s.lanes {
		for _, r := range lane {
			writeRecord(h, r)
		}
	}
	return h.Sum(nil)
}

func writeRecord(h hash.Hash, r ledger.Record) {
	fmt.Fprintf(h, "%s\n", r.Subject)
	for _, name := range []string{ledger.HeaderID, ledger.HeaderKind, ledger.HeaderParty, ledger.HeaderKey, ledger.HeaderSalt, ledger.HeaderSent, ledger.HeaderSig} {
		fmt.Fprintf(h, "%s: %s\n", name, r.Header.Get(name))
	}
	fmt.Fprintf(h, "%x\n", r.Body)
}
