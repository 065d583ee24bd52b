package sim

import (
	"flag"
	"maps"
	"runtime"
	"slices"
	"testing"

	"todoke/ledger"
	"todoke/producers"
)

var (
	seed   = flag.Uint64("seed", 0, "the first seed")
	trials = flag.Int("trials", 200, "how many seeds; the fault rig runs more")
)

// TestSim plays trials, as many beside each other as there are processors. A
// single one tells its history with -v.
func TestSim(t *testing.T) {
	most := *trials
	if testing.Short() {
		most = min(most, 20)
	}
	lanes := runtime.GOMAXPROCS(0)
	for lane := range lanes {
		t.Run("lane", func(t *testing.T) {
			t.Parallel()
			for k := lane; k < most && !t.Failed(); k += lanes {
				Run(t, *seed+uint64(k))
			}
		})
	}
	if most == 1 && testing.Verbose() {
		for _, line := range History(t, *seed) {
			t.Log(line)
		}
	}
}

func TestTheSameSeedGivesTheSameHistory(t *testing.T) {
	for seed := range few(10) {
		one, two := History(t, seed), History(t, seed)
		for i := range max(len(one), len(two)) {
			if i >= len(one) || i >= len(two) || one[i] != two[i] {
				t.Fatalf("seed %d: line %d differs: %q, %q", seed, i, one[min(i, len(one)-1)], two[min(i, len(two)-1)])
			}
		}
	}
	if slices.Equal(History(t, 1), History(t, 2)) {
		t.Error("two seeds give the same history")
	}
}

// TestBrokenRulesAreFound breaks a rule on purpose, in every trial: somebody has
// to notice.
func TestBrokenRulesAreFound(t *testing.T) {
	for name, spoil := range map[string]func() sabotage{
		"a log that loses an event it has acknowledged": loseOne,
		"a log that has an event twice":                 func() sabotage { return sabotage{spoil: doubleOne} },
		"a log that changes the order of two events":    func() sabotage { return sabotage{spoil: swapTwo} },
		"a log with an event that nobody said":          func() sabotage { return sabotage{spoil: forgeOne} },
		"a receipt for another place":                   func() sabotage { return sabotage{spoil: shiftTime} },
		"a watchdog that never ticks":                   func() sabotage { return sabotage{asleep: true} },
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range few(5) {
				if w := play(t, seed, spoil()); len(w.found) == 0 {
					t.Errorf("seed %d: nobody noticed", seed)
				}
			}
		})
	}
}

// few returns so many seeds, and fewer for the race detector.
func few(n uint64) uint64 {
	if testing.Short() {
		return 2
	}
	return n
}

// loseOne lets the log lose the tenth event that it is sent.
func loseOne() sabotage {
	sent := 0
	return sabotage{lie: func(ledger.Record) bool {
		sent++
		return sent == 10
	}}
}

func doubleOne(w *world) { w.log.Inject(w.records()[w.random.IntN(int(w.head()))]) }

// forgeOne puts an event into the log that its author never said.
func forgeOne(w *world) {
	g := w.gateways[2]
	record, err := g.reporter.Record(producers.Report{Kind: ledger.ImportCompleted, Batch: w.batches[0], Count: perBatch})
	if err != nil {
		w.Fatal(err)
	}
	record.Header = withTime(record.Header, w.clock.Now())
	w.log.Inject(record)
}

// shiftTime gives the last word of a gateway another record time than its receipt
// has.
func shiftTime(w *world) {
	for e, err := range w.gateways[2].outbox.Entries() {
		if err == nil && e.State == producers.InLedger {
			w.log.Corrupt(e.Receipt.Seq, func(r *ledger.Record) { r.Header = withTime(r.Header, e.Receipt.Time.Add(1)) })
			return
		}
	}
	doubleOne(w) // it has forgotten everything
}

// swapTwo swaps two words of one party about one batch, and leaves the record
// times in their places.
func swapTwo(w *world) {
	last := make(map[string]ledger.Record)
	for _, r := range w.records() {
		s, _ := ledger.ParseSubject(r.Subject)
		lane := r.Header.Get(ledger.HeaderParty) + " " + s.AggregateKey()
		before, two := last[lane]
		if last[lane] = r; !two || s.Kind.Stage() == "alert" || w.fromDesk(r) || w.fromDesk(before) {
			continue
		}
		exchange(w, before, r)
		return
	}
	w.Fatal("nobody said two words about one batch")
}

func (w *world) fromDesk(r ledger.Record) bool {
	return slices.ContainsFunc(w.gateways, func(g *gateway) bool {
		return slices.ContainsFunc(g.accepted, func(word *word) bool { return word.desk && word.id.String() == r.Header.Get(ledger.HeaderID) })
	})
}

func exchange(w *world, a, b ledger.Record) {
	for _, p := range [][2]ledger.Record{{a, b}, {b, a}} {
		w.log.Corrupt(p[0].Seq, func(r *ledger.Record) {
			r.Subject, r.Body, r.Header = p[1].Subject, p[1].Body, maps.Clone(p[1].Header)
			r.Header[ledger.HeaderTime] = p[0].Header[ledger.HeaderTime]
		})
	}
}
