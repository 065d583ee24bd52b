package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"todoke/ledger"
)

// Bounds of the wait before the same bytes are sent again.
const (
	firstWait   = 5 * time.Millisecond
	longestWait = 500 * time.Millisecond
)

// The conflict codes of the broker; 10164 and 10201 are those of replicated
// streams and batches, 10077 that of a store that took nothing. They say that
// this attempt was not written, and nothing about an earlier one.
const (
	codeWrongLastSequence         = 10071
	codeWrongLastSequenceConstant = 10164
	codeBatchDuplicate            = 10201
	codeStoreFailed               = 10077
)

// errMoved says that an event in doubt has turned up behind the one that we
// knew as the last, so that the attempt has to be made anew.
var errMoved = errors.New("ledger has moved on")

// A committer is the only writer of a stream. It holds what it needs to know of
// it in memory, gives record times, and fences every publish with the sequence
// that it believes to be the last: a second committer is thrown out by its first
// conflict.
type committer struct {
	reader   *Reader // on a connection that nobody else uses
	now      func() time.Time
	readOnly bool // a story ledger, opened by somebody else than its player

	head atomic.Uint64 // the same as at, for those who do not wait for the turn

	// turn holds one token. Who has taken it owns what follows.
	turn       chan struct{}
	at         ledger.Seq // the last event that we know of
	last       time.Time  // its record time
	aggregates map[string]aggregate
	ids        map[ledger.ID]ledger.Seq
	// doubtful are events whose outcome is unknown. One of them may still
	// arrive, until any event has taken the place after at.
	doubtful map[ledger.ID]bool
	fenced   bool // another committer writes here; for ever
}

// An aggregate is its last event and how many it has.
type aggregate struct {
	head   ledger.Seq
	events int
}

// newCommitter reads the whole stream into memory.
func newCommitter(ctx context.Context, r *Reader, now func() time.Time) (*committer, error) {
	c := &committer{
		reader:     r,
		now:        now,
		turn:       make(chan struct{}, 1),
		aggregates: make(map[string]aggregate),
		ids:        make(map[ledger.ID]ledger.Seq),
		doubtful:   make(map[ledger.ID]bool),
	}
	head, err := r.Head(ctx)
	if err != nil {
		return nil, err
	}
	for record, err := range r.Read(ctx, 1, head) {
		if err != nil {
			return nil, fmt.Errorf("read ledger at start: %w", err)
		}
		c.know(record)
	}
	c.turn <- struct{}{}
	return c, nil
}

// Append implements [ledger.Log].
func (c *committer) Append(ctx context.Context, r ledger.Record) (ledger.Receipt, error) {
	return c.commit(ctx, r, nil)
}

// Decide implements [ledger.Log].
func (c *committer) Decide(ctx context.Context, head ledger.Seq, r ledger.Record) (ledger.Receipt, error) {
	return c.commit(ctx, r, &head)
}

// commit is the one way in. decided is the head that a decision was made on,
// nil for a fact.
func (c *committer) commit(ctx context.Context, r ledger.Record, decided *ledger.Seq) (ledger.Receipt, error) {
	e, err := ledger.Admit(c.reader.id, r)
	if err != nil {
		return ledger.Receipt{}, err
	}
	if err := c.take(ctx); err != nil {
		return ledger.Receipt{}, err
	}
	defer c.give()
	for {
		receipt, err := c.place(ctx, &e, decided)
		if !errors.Is(err, errMoved) {
			return receipt, err
		}
	}
}

// take waits for the turn. An error means that the event was not sent.
func (c *committer) take(ctx context.Context) error {
	select {
	case <-c.turn:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.reader.life.Done():
		return context.Cause(c.reader.life)
	}
	err := ctx.Err()
	switch {
	case c.reader.life.Err() != nil:
		err = context.Cause(c.reader.life)
	case err != nil:
	case c.fenced:
		err = ledger.ErrFenced
	case c.readOnly:
		err = ledger.ErrStory
	}
	if err != nil {
		c.give()
	}
	return err
}

func (c *committer) give() { c.turn <- struct{}{} }

// place puts an event behind the last one, if it belongs there.
func (c *committer) place(ctx context.Context, e *ledger.Event, decided *ledger.Seq) (ledger.Receipt, error) {
	id, key := e.ID(), e.Subject.AggregateKey()
	if err := c.look(ctx); errors.Is(err, ledger.ErrFenced) {
		return ledger.Receipt{}, err
	} else if err != nil && c.doubtful[id] {
		return ledger.Receipt{}, fmt.Errorf("append event %s: %w: %w", id, ledger.ErrUnknown, err)
	} else if err != nil {
		return ledger.Receipt{}, fmt.Errorf("append event %s: %w: %w", id, ledger.ErrUnavailable, err)
	}
	if seq, known := c.ids[id]; known {
		return c.again(ctx, e, seq)
	}
	a := c.aggregates[key]
	switch {
	case decided != nil && *decided != a.head:
		return ledger.Receipt{}, fmt.Errorf("decided on %d, %s is at %d: %w", *decided, key, a.head, ledger.ErrConflict)
	case ledger.Full(a.events+1, decided != nil):
		return ledger.Receipt{}, fmt.Errorf("%s: %w", key, ledger.ErrFull)
	}
	return c.send(ctx, e, id)
}

// again answers for an event whose id is stored already: the first bytes win.
func (c *committer) again(ctx context.Context, e *ledger.Event, seq ledger.Seq) (ledger.Receipt, error) {
	stored, err := c.reader.get(ctx, seq)
	if err != nil {
		return ledger.Receipt{}, fmt.Errorf("compare with event %d: %w: %w", seq, ledger.ErrUnavailable, err)
	}
	first, err := ledger.Decode(stored)
	if err != nil {
		return ledger.Receipt{}, fmt.Errorf("compare with event %d: %w: %w", seq, ledger.ErrUnavailable, err)
	}
	if stored.Subject != e.Record.Subject || first.Author != e.Author || !bytes.Equal(stored.Body, e.Body) {
		return ledger.Receipt{}, fmt.Errorf("event %s is at %d: %w", e.ID(), seq, ledger.ErrIDReused)
	}
	receipt := c.receipt(e.ID(), seq, first.Time)
	receipt.Duplicate = true
	return receipt, nil
}

func (c *committer) receipt(id ledger.ID, seq ledger.Seq, at time.Time) ledger.Receipt {
	return ledger.Receipt{Ledger: c.reader.id, Incarnation: 1, Seq: seq, Time: at, ID: id}
}

// send publishes one event until its outcome is known or ctx ends. Every attempt
// sends the same bytes with the same fence, so that at most one is written.
func (c *committer) send(ctx context.Context, e *ledger.Event, id ledger.ID) (ledger.Receipt, error) {
	stored, fence := c.stamp(e.Record), c.at
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		err := c.publish(ctx, stored, fence)
		if err == nil {
			// A crash here: the event is durable and its author has no
			// receipt. It sends the event again and is told where it is.
			stored.Seq = fence + 1
			c.know(stored)
			return c.receipt(id, c.at, c.last), nil
		}
		if notWritten(err) && !c.doubtful[id] {
			return ledger.Receipt{}, fmt.Errorf("store event %s: %w: %w", id, ledger.ErrUnavailable, err)
		}
		// Not known to be stored, and not known not to be: look. When even
		// that fails, the next round looks again.
		c.doubtful[id] = true
		if settled := c.settle(ctx); errors.Is(settled, ledger.ErrFenced) {
			return ledger.Receipt{}, settled
		}
		if c.at != fence {
			if seq := c.ids[id]; seq == c.at {
				return c.receipt(id, c.at, c.last), nil
			}
			return ledger.Receipt{}, errMoved
		}
		if !c.pause(ctx, wait) {
			return ledger.Receipt{}, fmt.Errorf("store event %s: %w: %w", id, ledger.ErrUnknown, err)
		}
	}
}

// stamp returns the record as it is stored: with the record time.
func (c *committer) stamp(r ledger.Record) ledger.Record {
	at := c.now().UTC()
	if at.Before(c.last) {
		at = c.last
	}
	r.Header = maps.Clone(r.Header)
	r.Header[ledger.HeaderTime] = []string{at.Format(ledger.TimeFormat)}
	return r
}

// publish makes one attempt.
func (c *committer) publish(ctx context.Context, r ledger.Record, fence ledger.Seq) error {
	ctx, cancel := context.WithTimeout(ctx, c.reader.patience)
	defer cancel()
	m := &nats.Msg{Subject: r.Subject, Header: nats.Header(maps.Clone(r.Header)), Data: r.Body}
	m.Header[jetstream.ExpectedStreamHeader] = []string{Name}
	m.Header[jetstream.ExpectedLastSeqHeader] = []string{strconv.FormatUint(uint64(fence), 10)}
	ack, err := c.reader.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
	if err == nil && ack.Sequence != uint64(fence)+1 {
		return fmt.Errorf("broker stored at %d what was fenced to %d", ack.Sequence, fence+1)
	}
	return err
}

// notWritten reports whether the broker has said that this attempt was not
// written, for a reason that is not a conflict. Every answer but that of
// [codeStoreFailed] is given before anything is stored.
func notWritten(err error) bool {
	var refused *jetstream.APIError
	if !errors.As(err, &refused) {
		return errors.Is(err, jetstream.ErrNoStreamResponse)
	}
	switch refused.ErrorCode {
	case codeWrongLastSequence, codeWrongLastSequenceConstant, codeBatchDuplicate, codeStoreFailed:
		return false
	}
	return true
}

// pause waits, and reports whether there is time for another attempt.
func (c *committer) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-c.reader.life.Done():
		return false
	case <-timer.C:
		return true
	}
}

// look settles what is in doubt, when anything is. It tries until it could look,
// or until ctx ends.
func (c *committer) look(ctx context.Context) error {
	for wait := firstWait; len(c.doubtful) > 0; wait = min(2*wait, longestWait) {
		err := c.settle(ctx)
		if err == nil || errors.Is(err, ledger.ErrFenced) || !c.pause(ctx, wait) {
			return err
		}
	}
	return nil
}

// settle reads what follows the last event that we know of. It must be one of
// the doubtful ones; anything else was written by another committer. Finding
// nothing settles nothing: an attempt may still be on its way. It is harmless,
// since its fence is behind as soon as any event takes its place.
func (c *committer) settle(ctx context.Context) error {
	head, err := c.reader.Head(ctx)
	if err != nil {
		return fmt.Errorf("look for doubtful events: %w", err)
	}
	for seq := c.at + 1; seq <= head; seq++ {
		r, err := c.reader.get(ctx, seq)
		if err != nil {
			return fmt.Errorf("look for doubtful events: %w", err)
		}
		id, err := ledger.ParseID(r.Header.Get(ledger.HeaderID))
		if err != nil || !c.doubtful[id] {
			c.fenced = true
			return fmt.Errorf("event %d is not of this committer: %w", seq, ledger.ErrFenced)
		}
		c.know(r)
	}
	return nil
}

// know takes a stored record into memory. What counts as an event is what the
// fold counts: a decision names the head that the fold saw. A record that is
// none has a sequence and nothing else.
func (c *committer) know(r ledger.Record) {
	c.at = r.Seq
	c.head.Store(uint64(r.Seq))
	// What was doubtful and is not there by now never will be.
	clear(c.doubtful)
	e, err := ledger.Decode(r)
	if err != nil && !errors.Is(err, ledger.ErrUnknownKind) {
		return
	}
	if e.Time.After(c.last) {
		c.last = e.Time
	}
	if _, twice := c.ids[e.ID()]; !twice {
		c.ids[e.ID()] = r.Seq
	}
	key := e.Subject.AggregateKey()
	c.aggregates[key] = aggregate{r.Seq, c.aggregates[key].events + 1}
}
