package sim

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"todoke/ledger"
	"todoke/testenv"
)

// steps is how many steps a trial has, before everything heals.
const steps = 300

// lastDay is how late the clock may be while things go wrong: the model's
// holidays end with the year.
var lastDay = testenv.Start.AddDate(0, 0, 45)

// A world is one trial.
type world struct {
	testing.TB
	random   *rand.Rand
	bytes    *rand.ChaCha8 // for salts
	clock    *testenv.Clock
	log      *testenv.Log
	dir      string
	batches  []string
	gateways []*gateway
	dogs     []*dog
	guard    *Voice          // of all watchdogs
	said     map[string]bool // fingerprints of all that anybody said
	model    *model
	sealed   ledger.Seq
	faults   int // still to come
	slips    int
	blind    int // reads of watchdogs that will fail
	speaking bool

	history []string
	found   []string
	sabotage
}

// A sabotage breaks a rule on purpose, so that it shows whether anybody notices.
type sabotage struct {
	lie    func(r ledger.Record) bool // answer with a receipt, and do not store
	spoil  func(*world)               // before the end is judged
	asleep bool                       // no watchdog ticks
}

// Run plays one trial. When something does not hold it fails the test with what was
// found and with the whole history.
func Run(tb testing.TB, seed uint64) {
	tb.Helper()
	w := play(tb, seed, sabotage{})
	if len(w.found) > 0 {
		tb.Errorf("seed %d:\n%s\n\nfound:\n%s", seed, strings.Join(w.history, "\n"), strings.Join(w.found, "\n"))
	}
}

// History plays one trial and returns it line by line, with a digest of the log
// as its last line.
func History(tb testing.TB, seed uint64) []string {
	tb.Helper()
	return play(tb, seed, sabotage{}).history
}

func play(tb testing.TB, seed uint64, s sabotage) *world {
	tb.Helper()
	dir, err := os.MkdirTemp(memoryFolder(), "todoke-sim-*")
	if err != nil {
		tb.Fatal(err)
	}
	defer os.RemoveAll(dir)
	w := newWorld(tb, seed, dir, s)
	defer w.leave()
	for range steps {
		w.step()
	}
	w.heal()
	if w.spoil != nil {
		w.spoil(w)
	}
	w.judge()
	return w
}

// memoryFolder returns a folder that is in memory, when there is one: what a
// power cut does to a disk is not tried here.
func memoryFolder() string {
	const memory = "/dev/shm"
	if info, err := os.Stat(memory); err == nil && info.IsDir() {
		return memory
	}
	return ""
}

func newWorld(tb testing.TB, seed uint64, dir string, s sabotage) *world {
	var key [32]byte
	key[0], key[1], key[2], key[3] = byte(seed), byte(seed>>8), byte(seed>>16), byte(seed>>24)
	w := &world{
		TB: tb, random: rand.New(rand.NewPCG(seed, 0)), bytes: rand.NewChaCha8(key), clock: testenv.NewClock(), dir: dir,
		said: make(map[string]bool), guard: NewVoice(tb, "watchdog"), sabotage: s,
	}
	w.log = testenv.NewLog(testenv.Config{ID: ledger.LedgerID{1}, Now: w.clock.Now, T: witness{tb, w}, Admit: w.admit})
	w.faults = 5 + w.random.IntN(16)
	for _, code := range []string{"131229", "131130"} {
		for n := range 3 {
			w.batches = append(w.batches, fmt.Sprintf("%s-20151005-%04d", code, n+1))
		}
	}
	w.model = newModel(w.batches)
	for _, party := range []ledger.Party{"municipality:131229", "municipality:131130", "relay:2", "registry:jlis", "printer:npb"} {
		w.gateways = append(w.gateways, w.newGateway(party))
	}
	w.newDog()
	return w
}

// leave lets go of all files.
func (w *world) leave() {
	for _, g := range w.gateways {
		g.close()
	}
}

// admit is what the log asks of a record. What was said in this world was signed
// just now, and is verified once more at the end.
func (w *world) admit(id ledger.LedgerID, r ledger.Record) (ledger.Event, error) {
	if !w.said[fingerprint(r)] {
		return ledger.Admit(id, r)
	}
	return Unverified(r)
}

// remember notes what somebody said, whatever becomes of it.
func (w *world) remember(r ledger.Record) { w.said[fingerprint(r)] = true }

// fingerprint tells what an author wrote from everything else.
func fingerprint(r ledger.Record) string {
	text := make([]byte, 0, 512)
	part := func(s string) { text = append(append(text, s...), '\n') } // which stands in no header
	part(r.Subject)
	for _, name := range authors {
		part(r.Header.Get(name))
	}
	sum := sha256.Sum256(append(text, r.Body...))
	return string(sum[:])
}

// authors are the headers of an author.
var authors = [...]string{ledger.HeaderID, ledger.HeaderKind, ledger.HeaderParty, ledger.HeaderKey, ledger.HeaderSalt, ledger.HeaderSent, ledger.HeaderSig}

// tell adds a line to the history.
func (w *world) tell(format string, args ...any) {
	at := w.clock.Now().In(ledger.JST).Format("01-02 15:04:05 ")
	w.history = append(w.history, at+fmt.Sprintf(format, args...))
}

// find notes what does not hold.
func (w *world) find(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	w.tell("FOUND %s", line)
	w.found = append(w.found, line)
}

// A witness hears what others would tell the test.
type witness struct {
	testing.TB
	world *world
}

func (t witness) Helper()                           {}
func (t witness) Error(args ...any)                 { t.world.find("%s", fmt.Sprint(args...)) }
func (t witness) Errorf(format string, args ...any) { t.world.find(format, args...) }

// chance is true once in n times.
func (w *world) chance(n int) bool { return w.random.IntN(n) == 0 }

// step does one thing.
func (w *world) step() {
	if w.faults > 0 && w.chance(steps/20) {
		w.arm()
	}
	g := w.gateways[w.random.IntN(len(w.gateways))]
	switch n := w.random.IntN(100); {
	case n < 22:
		g.keep()
	case n < 25:
		g.again()
	case n < 28:
		g.desk()
	case n < 55:
		g.pass(0)
	case n < 58:
		g.crash()
	case n < 61:
		g.pass(1 + w.random.IntN(6))
	case n < 63:
		g.leaveLine()
	case n < 65:
		w.settle(g)
	case n < 78:
		w.wait()
	case n < 92:
		w.tick(w.chance(3))
	case n < 95:
		w.changeGuard()
	case n < 96:
		w.blind = 1 + w.random.IntN(2)
		w.tell("the next %d reads fail", w.blind)
	default:
		w.takeOver()
	}
}

// head returns where the log ends.
func (w *world) head() ledger.Seq {
	head, err := w.log.Head(w.background())
	if err != nil {
		w.Fatal(err)
	}
	return head
}

// arm prepares one or two faults.
func (w *world) arm() {
	kinds := []testenv.Fault{testenv.NotWritten, testenv.Written, testenv.Late, testenv.Unavailable, testenv.Conflict, testenv.Fenced}
	for range 1 + w.random.IntN(2) {
		f := kinds[w.random.IntN(len(kinds))]
		w.log.Arm(f)
		w.faults--
		w.tell("fault %s is armed", f)
	}
}

func (w *world) takeOver() {
	w.tell("another committer takes over")
	w.log.TakeOver()
}

// wait moves the clock.
func (w *world) wait() {
	d := []time.Duration{time.Minute, time.Hour, 7 * time.Hour, 24 * time.Hour, 24*time.Hour + 1, 60 * time.Hour}[w.random.IntN(6)]
	if !w.clock.Now().Before(lastDay) {
		return
	}
	w.clock.Advance(d)
	w.tell("%s later", d)
}

// heal ends all faults, empties the outboxes and passes every deadline.
func (w *world) heal() {
	w.log.Disarm()
	w.takeOver()
	w.blind = 0
	w.tell("everything heals")
	for round := 0; ; round++ {
		remaining := 0
		for _, g := range w.gateways {
			g.offline = time.Time{}
			g.pass(0)
			remaining += g.outbox.Counts().KeptHere
		}
		if remaining == 0 {
			break
		}
		if round > steps {
			w.find("%d entries are kept here for ever", remaining)
			break
		}
	}
	w.newDog()
	for _, d := range []time.Duration{0, 25 * time.Hour, 25 * time.Hour, 5 * 24 * time.Hour, 10 * 24 * time.Hour} {
		w.clock.Advance(d)
		w.tick(false)
	}
}

// background is never done: a trial is as long as it is.
func (w *world) background() context.Context { return context.Background() }

// outcome says in a word what became of an append.
func outcome(r ledger.Receipt, err error) string {
	for _, known := range []struct {
		err  error
		word string
	}{
		{ledger.ErrUnknown, "unknown"}, {ledger.ErrUnavailable, "unavailable"}, {ledger.ErrConflict, "conflict"},
		{ledger.ErrFenced, "fenced"}, {ledger.ErrIDReused, "id reused"}, {errDead, "dead"},
	} {
		if errors.Is(err, known.err) {
			return known.word
		}
	}
	switch {
	case err != nil:
		return err.Error()
	case r.Duplicate:
		return fmt.Sprintf("was at %d", r.Seq)
	}
	return fmt.Sprintf("at %d", r.Seq)
}

// withTime returns a copy of headers with a record time.
func withTime(h ledger.Header, at time.Time) ledger.Header {
	c := make(ledger.Header, len(h)+1)
	for name, values := range h {
		c[name] = values
	}
	c[ledger.HeaderTime] = []string{at.UTC().Format(ledger.TimeFormat)}
	return c
}

// place returns a path of the trial's folder.
func (w *world) place(parts ...string) string {
	return filepath.Join(append([]string{w.dir}, parts...)...)
}
