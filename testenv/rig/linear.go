package rig

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"todoke/ledger"
	"todoke/ledger/rule"
	"todoke/ledger/stream"
	"todoke/testenv"
	"todoke/testenv/sim"
)

// linearRows are the rows about concurrent facts and decisions.
func linearRows() []Row {
	return []Row{{
		Number: 13, Name: "facts and decisions from 16 clients with short patience, on a failing log and on a committer that is taken over",
		Oracle: "every batch has one order that explains all answers (porcupine)",
		Unit:   "histories of 20,000 operations", Commit: 5, Full: 50, Light: 2, Run: scoped(linear),
	}}
}

// How large a contest is.
const (
	contestants = 16
	contested   = 100    // batches
	perContest  = 20_000 // operations
	window      = 16     // records that a look takes in
	longest     = 2 * time.Minute
)

// linear is one trial: even seeds contest a log in memory, odd ones a real stream.
func linear(tb testing.TB, seed uint64) {
	c := &contest{TB: tb, seed: seed, relay: sim.NewVoice(tb, "relay:2"), watchdog: sim.NewVoice(tb, "watchdog")}
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	c.ctx = ctx
	if seed%2 == 0 {
		c.inMemory()
	} else {
		c.onStream()
	}
}

// A contest is what clients do to a ledger at once, and what they heard.
type contest struct {
	testing.TB
	ctx      context.Context
	seed     uint64
	relay    ledger.Signer
	watchdog ledger.Signer
	id       ledger.LedgerID
	doors    atomic.Pointer[[]ledger.Log] // ways to the ledger that are open now
	clock    atomic.Int64                 // orders calls and returns
	begun    atomic.Int64                 // operations
	heads    [contested]atomic.Uint64     // where somebody saw a batch last
	trouble  func(*rand.Rand)             // called before each operation

	mu      sync.Mutex
	history []porcupine.Operation
	shared  []ledger.Record // that somebody said lately
}

// A move is what a client does to one batch.
type move struct {
	batch   int
	event   ledger.ID
	decided bool
	head    ledger.Seq // that it was decided on
	look    bool
}

// A reply is what a client hears.
type reply struct {
	what heard
	seq  ledger.Seq // of the event, or of the batch's last one
}

type heard uint8

const (
	wasNot heard = iota
	wasStored
	wasThere
	hasMoved
	isUnknown
	isAt
)

func (c *contest) inMemory() {
	log := testenv.NewLog(testenv.Config{ID: ledger.LedgerID{1}, T: c.TB})
	faults := []testenv.Fault{testenv.NotWritten, testenv.Written, testenv.Late, testenv.Unavailable, testenv.Fenced}
	c.trouble = func(random *rand.Rand) {
		if random.IntN(40) == 0 {
			log.Arm(faults[random.IntN(len(faults))])
		}
		if random.IntN(20) == 0 {
			log.TakeOver()
		}
	}
	c.id = log.ID()
	c.open(log)
	c.play(perContest, func() {})
	log.Disarm()
	log.TakeOver() // what is late now never arrives
	c.judge(log)
}

// onStream plays three times: on one committer, while another takes the stream
// over, and while the broker is closed and opened again.
func (c *contest) onStream() {
	c.trouble = func(*rand.Rand) {}
	dir := memoryFolder(c.TB)
	first := c.openStream(filepath.Join(dir, "a"))
	c.id = first.ID()
	c.open(first)
	c.play(perContest/3, func() {})
	var second *stream.Ledger
	c.play(perContest/3, func() {
		if second = c.join(filepath.Join(dir, "b"), first); second != nil {
			c.open(first, second)
		}
	})
	c.play(perContest-2*(perContest/3), func() {
		c.open()
		if second != nil {
			second.Close()
		}
		first.Close()
		first = c.openStream(filepath.Join(dir, "a"))
		c.open(first)
	})
	first.Close() // so that nothing is on its way any more
	last := c.openStream(filepath.Join(dir, "a"))
	defer last.Close()
	c.judge(last)
}

func (c *contest) config(dir string) stream.Config {
	return stream.Config{Dir: dir, Now: time.Now, Rand: rand.NewChaCha8([32]byte{byte(c.seed), byte(c.clock.Add(1))}), Listen: true,
		Party: "operator:local", Key: sim.NewVoice(c, "operator:local"), Opening: stream.Opening{Pack: rule.Default().Text()}}
}

func (c *contest) openStream(dir string) *stream.Ledger {
	l, err := stream.Open(c.ctx, c.config(dir))
	if err != nil {
		c.Fatalf("open: %v", err)
	}
	return l
}

// join opens the stream of a ledger by its endpoint, as a second committer.
func (c *contest) join(dir string, first *stream.Ledger) *stream.Ledger {
	l, err := stream.Join(c.ctx, c.config(dir), stream.Address{URL: first.Endpoint().URL, Replicas: 1})
	if err != nil {
		c.Errorf("join: %v", err)
		return nil
	}
	return l
}

// open says which ways there are to the ledger from now on.
func (c *contest) open(doors ...ledger.Log) { c.doors.Store(&doors) }

// play lets all clients play so many moves, with something happening meanwhile.
func (c *contest) play(moves int, meanwhile func()) {
	until := c.begun.Load() + int64(moves)
	var all sync.WaitGroup
	for n := range contestants {
		all.Go(func() {
			p := &player{contest: c, number: n, random: rand.New(rand.NewPCG(c.seed, uint64(until)<<8|uint64(n)))}
			for c.begun.Add(1) <= until && c.ctx.Err() == nil {
				p.move()
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.history = append(c.history, p.history...)
		})
	}
	meanwhile()
	all.Wait()
	c.begun.Store(until)
	if c.ctx.Err() != nil {
		c.Fatalf("the contest took more than %s", longest)
	}
}

// A player is one client.
type player struct {
	*contest
	number  int
	random  *rand.Rand
	said    int
	history []porcupine.Operation
}

// move makes one operation, and sometimes says the same again when nobody knows
// what became of it.
func (p *player) move() {
	p.trouble(p.random)
	door := p.door()
	if door == nil {
		return
	}
	batch := p.random.IntN(contested)
	if p.random.IntN(2) == 0 {
		batch = p.random.IntN(4) // where everybody is
	}
	switch n := p.random.IntN(100); {
	case n < 10:
		p.look()
	case n < 20:
		if r, ok := p.borrow(); ok {
			p.say(door, r, nil)
		}
	case n < 60:
		p.insist(batch, nil)
	default:
		head := ledger.Seq(p.heads[batch].Load())
		p.insist(batch, &head)
	}
}

// door returns an open way, nil when the contest is over first.
func (p *player) door() ledger.Log {
	for p.ctx.Err() == nil {
		if doors := *p.doors.Load(); len(doors) > 0 {
			return doors[p.random.IntN(len(doors))]
		}
		wait(p.ctx, time.Millisecond)
	}
	return nil
}

// insist says something new, again and again while its outcome is unknown, until
// it loses its patience.
func (p *player) insist(batch int, decided *ledger.Seq) {
	r := p.record(batch, decided != nil)
	if p.random.IntN(8) == 0 {
		p.lend(r)
	}
	for {
		door := p.door()
		if door == nil || p.say(door, r, decided) != isUnknown || p.random.IntN(3) == 0 {
			return
		}
	}
}

// say makes one attempt.
func (p *player) say(door ledger.Log, r ledger.Record, decided *ledger.Seq) heard {
	ctx, cancel := p.patience()
	defer cancel()
	id, _ := ledger.ParseID(r.Header.Get(ledger.HeaderID))
	m := move{batch: batchNumber(r.Subject), event: id, decided: decided != nil}
	call := p.clock.Add(1)
	var receipt ledger.Receipt
	var err error
	if decided == nil {
		receipt, err = door.Append(ctx, r)
	} else {
		m.head = *decided
		receipt, err = door.Decide(ctx, m.head, r)
	}
	f := p.replyOf(receipt, err)
	if f.what == wasStored {
		p.heads[m.batch].Store(uint64(f.seq))
	}
	if errors.Is(err, ledger.ErrClosed) || errors.Is(err, ledger.ErrFenced) {
		wait(p.ctx, time.Millisecond)
	}
	p.note(m, f, call)
	return f.what
}

// patience returns a context that ends soon, or never.
func (p *player) patience() (context.Context, context.CancelFunc) {
	if p.random.IntN(4) > 0 {
		return p.ctx, func() {}
	}
	return context.WithTimeout(p.ctx, time.Duration(p.random.IntN(4000))*time.Microsecond)
}

// replyOf reads an answer by the append contract.
func (p *player) replyOf(r ledger.Receipt, err error) reply {
	switch {
	case err == nil && r.Duplicate:
		return reply{wasThere, r.Seq}
	case err == nil:
		return reply{wasStored, r.Seq}
	case errors.Is(err, ledger.ErrUnknown):
		return reply{what: isUnknown}
	case errors.Is(err, ledger.ErrConflict):
		return reply{what: hasMoved}
	case errors.Is(err, ledger.ErrUnavailable), errors.Is(err, ledger.ErrFenced), errors.Is(err, ledger.ErrClosed):
		return reply{what: wasNot}
	case errors.Is(err, context.DeadlineExceeded):
		return reply{what: isUnknown}
	}
	p.Errorf("an answer that is no outcome: %v", err)
	return reply{what: isUnknown}
}

func (p *player) note(m move, f reply, call int64) {
	end := p.clock.Add(1)
	if f.what == isUnknown {
		end = math.MaxInt64
	}
	p.history = append(p.history, porcupine.Operation{ClientId: p.number, Input: m, Call: call, Output: f, Return: end})
}

// look reads the end of the ledger: the batches that it meets are at their last
// events as of when the head was asked for.
func (p *player) look() {
	door := p.newest()
	if door == nil {
		return
	}
	call := p.clock.Add(1)
	head, err := door.Head(p.ctx)
	end := p.clock.Add(1)
	if err != nil {
		return
	}
	last := make(map[int]ledger.Seq)
	first := max(head, window) - window + 1
	for r, err := range door.Read(p.ctx, first, head) {
		if err != nil {
			return
		}
		if batch := batchNumber(r.Subject); batch >= 0 {
			last[batch] = r.Seq
		}
	}
	for batch, seq := range last {
		p.heads[batch].Store(uint64(seq))
		p.history = append(p.history, porcupine.Operation{ClientId: p.number, Input: move{batch: batch, look: true},
			Call: call, Output: reply{isAt, seq}, Return: end})
	}
}

// newest returns the committer that took over last: the one before may not know
// yet that it is none.
func (p *player) newest() ledger.Log {
	doors := *p.doors.Load()
	if len(doors) != 1 {
		return nil
	}
	return doors[0]
}

// record writes something new about a batch.
func (p *player) record(batch int, decision bool) ledger.Record {
	p.said++
	name := fmt.Sprintf("131229-20151005-%04d", batch+1)
	d := ledger.Draft{
		Author: "relay:2", DocumentKey: fmt.Sprint(p.number, " ", p.begun.Load(), " ", p.said), Sent: testenv.Start,
		Subject: ledger.Subject{Municipality: name[:6], Aggregate: name, Kind: ledger.ImportCompleted},
		Body:    ledger.Body{Flow: ledger.NotificationCard.Name, Items: ledger.AllItems(12), Count: 12},
	}
	key := p.relay
	if decision {
		d.Author, d.Subject.Kind, key = "watchdog", ledger.AlertRaised, p.watchdog
		d.Body.Hop, d.Body.Side, d.Body.Due, d.Body.Cause, d.Body.OwedBy = "upload", ledger.AcknowledgementSide, testenv.Start, ledger.Absence, "relay:2"
	}
	r, err := ledger.New(p.id, d, key)
	if err != nil {
		p.Errorf("write %s: %v", d.Subject.Kind, err)
	}
	return r
}

// batchNumber returns which of the contested batches a subject is about, -1 for
// none.
func batchNumber(subject string) int {
	s, err := ledger.ParseSubject(subject)
	if err != nil || !ledger.IsBatch(s) {
		return -1
	}
	n, _ := strconv.Atoi(s.Aggregate[len(s.Aggregate)-4:])
	return n - 1
}

// lend lets others say a fact too.
func (p *player) lend(r ledger.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shared = append(p.shared, r); len(p.shared) > contestants {
		p.shared = p.shared[1:]
	}
}

func (p *player) borrow() (ledger.Record, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.shared) == 0 {
		return ledger.Record{}, false
	}
	return p.shared[p.random.IntN(len(p.shared))], true
}

// judge looks for an order that explains all answers, batch by batch.
func (c *contest) judge(log ledger.Log) {
	final := c.final(log)
	parts := make([][]porcupine.Operation, contested)
	for _, op := range c.history {
		m, f := op.Input.(move), op.Output.(reply)
		if _, there := final[m.batch].place[m.event]; f.what == isUnknown && !there {
			continue // it never happened
		}
		parts[m.batch] = append(parts[m.batch], op)
	}
	if len(c.history) < perContest/2 {
		c.Errorf("only %d operations", len(c.history))
	}
	for batch, ops := range parts {
		end := c.clock.Add(2)
		ops = append(ops, porcupine.Operation{Input: move{batch: batch, look: true}, Call: end - 1, Return: end, Output: reply{isAt, final[batch].head(len(final[batch].events))}})
		if result := porcupine.CheckOperationsTimeout(final[batch].model(), ops, longest); result != porcupine.Ok {
			c.Errorf("seed %d: batch %d: %d operations have no order that explains them (%s)\n%s", c.seed, batch+1, len(ops), result, tellMoves(ops, final[batch]))
		}
	}
	testenv.CheckLedger(c, log)
}

// A course is what the ledger has of one batch in the end.
type course struct {
	events []ledger.Event
	place  map[ledger.ID]int // in events
}

func (c *contest) final(log ledger.Log) []course {
	courses := make([]course, contested)
	for i := range courses {
		courses[i].place = make(map[ledger.ID]int)
	}
	head, err := log.Head(c.ctx)
	if err != nil {
		c.Fatalf("ask for the head: %v", err)
	}
	for r, err := range log.Read(c.ctx, 1, head) {
		if err != nil {
			c.Fatalf("read: %v", err)
		}
		if batch := batchNumber(r.Subject); batch >= 0 {
			course := &courses[batch]
			e := ledger.Event{Record: r}
			course.place[e.ID()] = len(course.events)
			course.events = append(course.events, e)
		}
	}
	return courses
}

// head returns the sequence of the last of the first k events, 0 for none.
func (f *course) head(k int) ledger.Seq {
	if k == 0 {
		return 0
	}
	return f.events[k-1].Seq
}

// model is a batch as one thread would see it. Its state is how many of its events
// are there: which they are is known in the end.
func (f *course) model() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return 0 },
		Step: func(state, input, output any) (bool, any) {
			k, m, o := state.(int), input.(move), output.(reply)
			at, ever := f.place[m.event]
			there := ever && at < k
			next := ever && at == k && (!m.decided || m.head == f.head(k))
			switch o.what {
			case wasStored:
				return next && f.events[k].Seq == o.seq, k + 1
			case wasThere:
				return there && f.events[at].Seq == o.seq, k
			case hasMoved:
				return !there && f.head(k) != m.head, k
			case isAt:
				return f.head(k) == o.seq, k
			case isUnknown:
				if next {
					return true, k + 1
				}
				return there, k
			}
			return true, k // not written
		},
	}
}

// tellMoves writes a history down, a line an operation.
func tellMoves(ops []porcupine.Operation, f course) (text string) {
	slices.SortFunc(ops, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	for _, op := range ops {
		m, o := op.Input.(move), op.Output.(reply)
		at, ever := f.place[m.event]
		text += fmt.Sprintf("%d-%d client %d %+v: %+v; in the end %d %t\n", op.Call, op.Return, op.ClientId, m, o, at, ever)
	}
	return text
}
