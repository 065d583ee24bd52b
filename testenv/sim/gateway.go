package sim

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"todoke/ledger"
	"todoke/producers"
)

// attempts bounds how often one event is sent by a desk, which has no outbox.
const attempts = 100

// errDead is what a gateway hears that dies in a pass: nothing.
var errDead = errors.New("the gateway has died")

// A gateway is a party with its outbox, in a life of crashes.
type gateway struct {
	*world
	party    ledger.Party
	reporter *producers.Reporter
	outbox   *producers.Outbox
	path     string
	lives    int
	offline  time.Time // until then
	accepted []*word   // what the outbox took, in order
}

// A word is one that an outbox took.
type word struct {
	Word
	record ledger.Record
	id     ledger.ID
	sent   bool // it was offered to the log at least once
	final  bool // and the log answered for good
	desk   bool // a second program of the party said it too
}

func (w *world) newGateway(party ledger.Party) *gateway {
	g := &gateway{world: w, party: party}
	var err error
	g.reporter, err = producers.New(producers.Config{Log: w.log, Party: party, Key: NewVoice(w, party), Now: w.clock.Now, Rand: w.bytes})
	if err != nil {
		w.Fatal(err)
	}
	g.path = w.place(string(party), "0", "outbox")
	g.open()
	return g
}

func (g *gateway) open() {
	var err error
	g.outbox, err = producers.OpenOutbox(producers.OutboxConfig{
		File: g.path, Party: g.party, Ledger: g.log.ID(), Now: g.clock.Now, Rand: g.bytes, Sealed: g.isSealed,
	})
	if err != nil {
		g.Fatal(err)
	}
}

// close lets go of the file without a flush.
func (g *gateway) close() {
	ctx, cancel := context.WithCancel(g.background())
	cancel()
	if _, err := g.outbox.Close(ctx); err != nil {
		g.find("%s: close: %v", g.party, err)
	}
}

// isSealed proves what is below the seal and in the log where the receipt says.
func (g *gateway) isSealed(ctx context.Context, e producers.Entry) (producers.Verdict, error) {
	if e.Receipt.Seq > g.sealed {
		return producers.NotYet, nil
	}
	for r, err := range g.log.Read(ctx, e.Receipt.Seq, e.Receipt.Seq) {
		if err != nil || r.Header.Get(ledger.HeaderID) != e.ID.String() {
			g.find("%s: the receipt for %s names %d, where it is not: %v", g.party, e.ID, e.Receipt.Seq, err)
		}
	}
	return producers.Proven, nil
}

// keep lets the party say its next word about some batch.
func (g *gateway) keep() {
	batch := g.batches[g.random.IntN(len(g.batches))]
	if g.party.Role() == ledger.Municipality && g.party != municipality(batch) {
		batch = g.party.ID() + batch[6:]
	}
	g.slips++
	word := Draw(g.random, g.party, batch, "slip-"+strconv.Itoa(g.slips))
	g.tell("%s keeps %s %s %s, %s", g.party, word.Report.Kind, batch, word.Report.Items, word.Report.Slip)
	g.take(word, false)
}

// again says a slip again: the same with other salt, or another body.
func (g *gateway) again() {
	w := g.some(func(*word) bool { return true })
	if w == nil {
		return
	}
	said, differs := w.Word, false
	if g.chance(2) {
		said, differs = w.another()
	}
	g.tell("%s keeps %s again, with another body: %t", g.party, said.Report.Slip, differs)
	if _, kept, err := g.outbox.Entry(w.id); err != nil || !kept && (differs || w.desk) {
		return // forgotten, so that it would be kept as news
	}
	g.take(said, differs)
}

// take keeps a word and remembers what the outbox took.
func (g *gateway) take(said Word, refused bool) {
	record, err := g.reporter.Record(said.Report)
	if err != nil {
		g.Fatal(err)
	}
	e, err := g.outbox.Keep(record)
	switch {
	case refused && !errors.Is(err, ledger.ErrIDReused):
		g.find("%s: another body under the id of %s: %v", g.party, said.Report.Slip, err)
	case refused:
	case err != nil:
		g.find("%s: keep %s: %v", g.party, said.Report.Slip, err)
	default:
		g.remember(e.Record)
		if !slices.ContainsFunc(g.accepted, func(w *word) bool { return w.id == e.ID }) {
			g.accepted = append(g.accepted, &word{Word: said, record: e.Record, id: e.ID})
		}
	}
}

// some draws an accepted word, nil when there is none of this sort.
func (g *gateway) some(is func(*word) bool) *word {
	if len(g.accepted) == 0 {
		return nil
	}
	if w := g.accepted[g.random.IntN(len(g.accepted))]; is(w) {
		return w
	}
	return nil
}

// desk is a second program of the party. It says what the outbox has kept past
// it, and stays at it until it has an answer: while the outcome of one body is
// unknown, nobody may send another under its id.
func (g *gateway) desk() {
	w := g.some(func(w *word) bool { return !w.sent || w.final })
	if w == nil {
		return
	}
	said := w.Word
	if g.chance(2) {
		said, _ = w.another()
	}
	record, err := g.reporter.Record(said.Report)
	if err != nil {
		g.Fatal(err)
	}
	g.remember(record)
	w.desk = true
	for range attempts {
		receipt, err := g.log.Append(g.background(), record)
		g.tell("%s has a desk that says %s about %s: %s", g.party, said.Report.Slip, said.Report.Items, outcome(receipt, err))
		switch {
		case errors.Is(err, ledger.ErrFenced):
			g.takeOver()
		case err == nil, errors.Is(err, ledger.ErrRefused):
			return
		}
	}
	g.find("%s: no answer in %d attempts", g.party, attempts)
}

// pass brings what is kept to the log. With a limit the gateway dies when that
// many events were sent.
func (g *gateway) pass(limit int) {
	if g.clock.Now().Before(g.offline) {
		g.tell("%s is off line", g.party)
		return
	}
	way := &way{gateway: g, limit: limit, before: g.chance(2)}
	remaining, moved, err := g.outbox.Pass(g.background(), way)
	if err != nil {
		g.find("%s: pass: %v", g.party, err)
	}
	if g.tell("%s passes: %d remain, moved %t", g.party, remaining, moved); way.dead {
		g.live(way.file)
	}
}

// crash ends the gateway between two transactions.
func (g *gateway) crash() { g.live(g.copyFile()) }

// copyFile returns the file as a crash now would leave it.
func (g *gateway) copyFile() []byte {
	file, err := os.ReadFile(g.path)
	if err != nil {
		g.Fatal(err)
	}
	return file
}

// live begins another life with a file.
func (g *gateway) live(file []byte) {
	g.tell("%s crashes and starts again", g.party)
	g.lives++
	next := g.place(string(g.party), strconv.Itoa(g.lives), "outbox")
	err := errors.Join(os.MkdirAll(filepath.Dir(next), 0o700), os.WriteFile(next, file, 0o600))
	if err != nil {
		g.Fatal(err)
	}
	g.close()
	if err := os.RemoveAll(filepath.Dir(g.path)); err != nil {
		g.Fatal(err)
	}
	g.path = next
	g.open()
}

// leaveLine takes the party off line.
func (g *gateway) leaveLine() {
	d := time.Duration(1+g.random.IntN(96)) * time.Hour
	g.offline = g.clock.Now().Add(d)
	g.tell("%s is off line for %s", g.party, d)
}

// settle lets a party forget what is below the seal.
func (w *world) settle(g *gateway) {
	if w.chance(2) {
		w.sealed = w.head()
	}
	forgotten, lost, err := g.outbox.Settle(w.background())
	if err != nil || lost > 0 {
		w.find("%s: settle: %d lost, %v", g.party, lost, err)
	}
	w.tell("sealed up to %d: %s forgets %d", w.sealed, g.party, forgotten)
}

// A way is the way of one pass to the log, on which the gateway may die.
type way struct {
	*gateway
	limit  int  // how many events get as far as here, 0 for all
	before bool // the last of them is not sent any more
	dead   bool
	file   []byte // the outbox as the crash left it
}

// ID implements [producers.Appender].
func (p *way) ID() ledger.LedgerID { return p.log.ID() }

// Append implements [producers.Appender].
func (p *way) Append(ctx context.Context, r ledger.Record) (ledger.Receipt, error) {
	if p.dead {
		return ledger.Receipt{}, errDead
	}
	p.limit--
	if p.limit == 0 && p.before {
		p.die()
		return ledger.Receipt{}, errDead
	}
	receipt, err := p.send(ctx, r)
	if p.limit == 0 {
		p.die()
	}
	return receipt, err
}

func (p *way) die() { p.dead, p.file = true, p.copyFile() }

// send offers a record to the log and notes what it says.
func (p *way) send(ctx context.Context, r ledger.Record) (receipt ledger.Receipt, err error) {
	i := slices.IndexFunc(p.accepted, func(w *word) bool { return w.id.String() == r.Header.Get(ledger.HeaderID) })
	if i < 0 {
		p.find("%s sends what nobody kept: %s", p.party, r.Header.Get(ledger.HeaderID))
		return receipt, errDead
	}
	if p.lie != nil && p.lie(r) {
		return ledger.Receipt{Ledger: p.log.ID(), Incarnation: 1, Seq: 1, Time: p.clock.Now(), ID: p.accepted[i].id}, nil
	}
	receipt, err = p.log.Append(ctx, r)
	p.accepted[i].sent = true
	p.accepted[i].final = err == nil || errors.Is(err, ledger.ErrRefused)
	p.tell("  %s of %s: %s", p.accepted[i].Report.Slip, p.party, outcome(receipt, err))
	return receipt, err
}
