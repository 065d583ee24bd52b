package stream

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"todoke/ledger"
)

// Bounds of a group, and of the wait for one to fill.
const (
	maxGroup      = 1000    // events; the broker takes no more in one atomic batch
	maxGroupBytes = 4 << 20 // of bodies and headers
	overhead      = 600     // bytes of the headers of one event: an author's, the committer's and the broker's
	// linger is how long the committer waits for as many requests as it had the
	// last time. It is never spent on a single writer.
	linger = time.Millisecond
	// queued is how many requests may wait without a goroutine being held up.
	queued = 4 * maxGroup
)

// A committer is the only writer of a stream. One goroutine, run, takes the
// requests of all callers, in groups; it alone writes to the memory and to the
// broker.
type committer struct {
	*memory
	reader   *Reader // on a connection that nobody else uses
	disk     *disk
	clock    clock
	starter  starter
	readOnly bool // a story ledger, opened by somebody else than its player
	// least is how many events a group must have to be faster as one atomic
	// batch than as singles.
	least int

	queue chan *request
	ended chan struct{} // closed when run has answered everybody

	// Owned by run.
	sick     bool // the broker has stopped to write
	started  bool // this incarnation has its first event in the ledger
	expected int  // how many requests the last group had
	attempts uint64

	// lost ends when this committer must never write again: another one's events
	// stand behind ours, or the disk failed. The cause says which.
	lost context.Context
	lose context.CancelCauseFunc
}

// A request is what one caller wants stored: one fact, or the events of one
// decision.
type request struct {
	events  []ledger.Event
	decided *ledger.Seq // the head that a decision was made on, nil for a fact
	taken   atomic.Bool // by run, to be sent; or by its caller, who has gone
	answer  chan answer // takes one without waiting
}

// An answer is what became of a request. When its events were stored before, the
// caller reads them itself, so that nobody else waits for that.
type answer struct {
	receipt ledger.Receipt // of the last event
	known   []ledger.Seq
	err     error
}

// newCommitter reads the whole stream into memory. It takes requests once run
// runs, and ends with its reader.
func newCommitter(ctx context.Context, r *Reader, c clock, d *disk, least int) (*committer, error) {
	head, err := r.Head(ctx)
	if err != nil {
		return nil, err
	}
	m := newMemory()
	for record, err := range r.Read(ctx, 1, head) {
		if err != nil {
			return nil, fmt.Errorf("read ledger at start: %w", err)
		}
		m.know(record)
	}
	co := &committer{
		memory: m, reader: r, disk: d, clock: c, least: least,
		queue: make(chan *request, queued), ended: make(chan struct{}),
	}
	co.lost, co.lose = context.WithCancelCause(context.Background())
	return co, nil
}

// Append implements [ledger.Log].
func (c *committer) Append(ctx context.Context, r ledger.Record) (ledger.Receipt, error) {
	return c.commit(ctx, nil, r)
}

// Decide implements [ledger.Log].
func (c *committer) Decide(ctx context.Context, head ledger.Seq, decision ...ledger.Record) (ledger.Receipt, error) {
	return c.commit(ctx, &head, decision...)
}

// commit is the one way in.
func (c *committer) commit(ctx context.Context, decided *ledger.Seq, records ...ledger.Record) (ledger.Receipt, error) {
	r := &request{events: make([]ledger.Event, len(records)), decided: decided, answer: make(chan answer, 1)}
	for i := range records {
		e, err := ledger.Admit(c.reader.id, records[i])
		if err != nil {
			return ledger.Receipt{}, err
		}
		r.events[i] = e
	}
	if err := ledger.OneDecision(r.events); err != nil {
		return ledger.Receipt{}, err
	}
	a := c.ask(ctx, r)
	if a.err == nil && a.known != nil {
		return c.again(ctx, r.events, a.known)
	}
	return a.receipt, a.err
}

// ask hands a request to run and waits for the answer. A caller that goes before
// its request was taken knows that it was not sent; one that goes later knows
// nothing.
func (c *committer) ask(ctx context.Context, r *request) answer {
	if ctx.Err() != nil {
		return answer{err: ctx.Err()}
	}
	select {
	case c.queue <- r:
	case <-ctx.Done():
		return answer{err: fmt.Errorf("not sent: %w: %w", ledger.ErrUnavailable, ctx.Err())}
	case <-c.ended:
		return answer{err: context.Cause(c.reader.life)}
	}
	select {
	case a := <-r.answer:
		return a
	case <-c.ended:
	case <-ctx.Done():
	}
	select {
	case a := <-r.answer:
		return a
	default:
	}
	switch gone := r.taken.CompareAndSwap(false, true); {
	case c.reader.life.Err() != nil && gone:
		return answer{err: context.Cause(c.reader.life)}
	case gone:
		return answer{err: fmt.Errorf("not sent: %w: %w", ledger.ErrUnavailable, ctx.Err())}
	}
	return answer{err: fmt.Errorf("not answered: %w: %w", ledger.ErrUnknown, ctx.Err())}
}

// again answers for events whose ids are stored: the first bytes win. Until they
// were compared nobody knows whether they are these.
func (c *committer) again(ctx context.Context, events []ledger.Event, at []ledger.Seq) (receipt ledger.Receipt, err error) {
	for i := range events {
		e := &events[i]
		stored, err := c.reader.get(ctx, at[i])
		if err != nil {
			return ledger.Receipt{}, fmt.Errorf("compare with event %d: %w: %w", at[i], ledger.ErrUnknown, err)
		}
		first, err := ledger.Decode(stored)
		if err != nil {
			return ledger.Receipt{}, fmt.Errorf("compare with event %d: %w: %w", at[i], ledger.ErrUnknown, err)
		}
		if stored.Subject != e.Record.Subject || first.Author != e.Author || !bytes.Equal(stored.Body, e.Body) {
			return ledger.Receipt{}, fmt.Errorf("event %s is at %d: %w", e.ID(), at[i], ledger.ErrIDReused)
		}
		receipt = c.receipt(e.ID(), at[i], first.Time)
	}
	receipt.Duplicate = true
	return receipt, nil
}

func (c *committer) receipt(id ledger.ID, seq ledger.Seq, at time.Time) ledger.Receipt {
	return ledger.Receipt{Ledger: c.reader.id, Incarnation: c.incarnation(seq), Seq: seq, Time: at, ID: id}
}

// run serves requests until the reader ends. Whoever still waits then was not
// sent, but for the group that was under way.
func (c *committer) run() {
	defer close(c.ended)
	var waiting []*request
	for {
		var more bool
		if waiting, more = c.gather(waiting); !more {
			return
		}
		if waiting = c.answerKnown(waiting); len(waiting) == 0 {
			continue
		}
		if err := c.ready(); err != nil {
			c.tell(waiting, err)
			waiting = nil
			continue
		}
		var group []*request
		group, waiting = c.form(waiting)
		c.write(group)
	}
}

// answerKnown answers requests whose events are stored, and returns the others. To say
// again what was said is no reason to start an incarnation.
func (c *committer) answerKnown(waiting []*request) (rest []*request) {
	if c.started || c.readOnly {
		return waiting
	}
	for _, r := range waiting {
		if at, known := c.find(r.events); known > 0 && known == len(r.events) {
			r.answer <- answer{known: at}
			continue
		}
		rest = append(rest, r)
	}
	return rest
}

// ready reports whether requests can be served at all.
func (c *committer) ready() error {
	switch {
	case c.lost.Err() != nil:
		return context.Cause(c.lost)
	case c.readOnly:
		return ledger.ErrStory
	}
	if err := c.recover(); err != nil {
		return err
	}
	return c.start(c.reader.life)
}

// recover tries to write again after the disk did not let us. What was in doubt is
// settled by then: it is read, or never was.
func (c *committer) recover() error {
	if !c.sick {
		return nil
	}
	if err := c.disk.heal(spare); err != nil {
		return fmt.Errorf("%w: %w", ledger.ErrUnavailable, err)
	}
	if err := c.catchUp(c.reader.life); err != nil {
		return fmt.Errorf("%w: %w", ledger.ErrUnavailable, err)
	}
	c.sick = false
	return nil
}

// gather waits for requests, and takes all that are there. When the last group
// had several, their authors are probably on their way back: it waits a moment
// for as many, so that the first of them is not sent off alone.
func (c *committer) gather(waiting []*request) ([]*request, bool) {
	if len(waiting) == 0 {
		select {
		case r := <-c.queue:
			waiting = append(waiting, r)
		case <-c.reader.life.Done():
			return nil, false
		}
	}
	waiting = c.drain(waiting)
	if len(waiting) >= c.expected {
		return waiting, true
	}
	timer := time.NewTimer(linger)
	defer timer.Stop()
	for len(waiting) < c.expected {
		select {
		case r := <-c.queue:
			waiting = append(waiting, r)
			continue
		case <-timer.C:
		case <-c.reader.life.Done():
		}
		break
	}
	return waiting, c.reader.life.Err() == nil
}

// drain takes what is waiting already.
func (c *committer) drain(waiting []*request) []*request {
	for len(waiting) < queued {
		select {
		case r := <-c.queue:
			waiting = append(waiting, r)
		default:
			return waiting
		}
	}
	return waiting
}

// form takes a group out of what waits, and answers what need not be stored. It
// leaves for the next group what depends on this one: a decision about an
// aggregate that this group adds to, and a second attempt of one of its events.
func (c *committer) form(waiting []*request) (group, rest []*request) {
	f := former{ahead: make(map[string]int), ids: make(map[ledger.ID]bool)}
	for i, r := range waiting {
		if len(r.events) == 0 { // asks for the start alone
			r.answer <- answer{}
			continue
		}
		if f.full(r) {
			rest = append(rest, waiting[i:]...)
			break
		}
		if f.depends(r) {
			rest = append(rest, r)
			continue
		}
		if a, final := c.judgeRequest(r, f.ahead); final {
			r.answer <- a
			continue
		}
		if !r.taken.CompareAndSwap(false, true) {
			continue // its caller has gone
		}
		f.add(r)
		group = append(group, r)
	}
	c.expected = len(group) + len(rest)
	return group, rest
}

// judgeRequest returns what a request is told without being stored.
func (c *committer) judgeRequest(r *request, ahead map[string]int) (answer, bool) {
	at, known := c.find(r.events)
	if known == len(r.events) {
		return answer{known: at}, true
	}
	if known > 0 {
		return answer{err: fmt.Errorf("%d of %d events of the decision are stored: %w", known, len(r.events), ledger.ErrConflict)}, true
	}
	err := c.judge(r.events, r.decided, ahead[r.events[0].Subject.AggregateKey()])
	return answer{err: err}, err != nil
}

// A former is a group that is being formed.
type former struct {
	events, bytes int
	ahead         map[string]int // events by aggregate
	ids           map[ledger.ID]bool
}

// full reports whether there is no room for r.
func (f *former) full(r *request) bool {
	return f.events > 0 && (f.events+len(r.events) > maxGroup || f.bytes+size(r) > maxGroupBytes)
}

// depends reports whether r can only be judged when the group is stored.
func (f *former) depends(r *request) bool {
	if r.decided != nil && f.ahead[r.events[0].Subject.AggregateKey()] > 0 {
		return true
	}
	for i := range r.events {
		if f.ids[r.events[i].ID()] {
			return true
		}
	}
	return false
}

func (f *former) add(r *request) {
	f.events += len(r.events)
	f.bytes += size(r)
	f.ahead[r.events[0].Subject.AggregateKey()] += len(r.events)
	for i := range r.events {
		f.ids[r.events[i].ID()] = true
	}
}

// size returns about how many bytes a request takes in the broker.
func size(r *request) (n int) {
	for i := range r.events {
		n += sizeOf(r.events[i].Record)
	}
	return n
}
