package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"todoke/ledger"
)

// attemptTimeout is how long one attempt waits for the broker's answer before
// its outcome counts as unknown.
const attemptTimeout = 5 * time.Second

// The conflict codes of the broker; 10164 and 10201 are those of replicated
// streams and batches, 10077 that of a full subject. They say that this attempt
// was not written, and nothing about an earlier one.
const (
	codeWrongLastSequence         = 10071
	codeWrongLastSequenceConstant = 10164
	codeBatchDuplicate            = 10201
	codeMaxMessages               = 10077
)

// A committer is the only writer of a stream. It holds what it needs to know of
// it in memory, gives record times, and fences every publish with the sequence
// that it believes to be the last: a second committer is thrown out by its first
// conflict.
type committer struct {
	reader *Reader
	now    func() time.Time

	head atomic.Uint64 // the same as at, for readers that do not wait

	mu         sync.Mutex
	at         ledger.Seq // the last event that we know of
	last       time.Time  // its record time
	aggregates map[string]aggregate
	ids        map[ledger.ID]ledger.Seq
	// doubtful are events whose outcome is unknown. One may still arrive,
	// until any event has taken the place after at.
	doubtful map[ledger.ID]bool
	fenced   bool // another committer writes here; for ever
	readOnly bool // a story ledger, opened by somebody else than its player
	closed   bool
}

// An aggregate is its last event and how many it has.
type aggregate struct {
	head   ledger.Seq
	events int
}

// Append implements [ledger.Log].
func (c *committer) Append(ctx context.Context, r ledger.Record) (ledger.Receipt, error) {
	return c.commit(ctx, r, nil)
}

// Decide implements [ledger.Log].
func (c *committer) Decide(ctx context.Context, head ledger.Seq, r ledger.Record) (ledger.Receipt, error) {
	return c.commit(ctx, r, &head)
}

// known is the head from memory. Events of a doubtful outcome are not counted
// until they have been read back.
func (c *committer) known(ctx context.Context) (ledger.Seq, error) {
	return ledger.Seq(c.head.Load()), ctx.Err()
}

// commit is the one way in. decided is the head that a decision was made on,
// nil for a fact.
func (c *committer) commit(ctx context.Context, r ledger.Record, decided *ledger.Seq) (ledger.Receipt, error) {
	e, err := ledger.Admit(c.reader.id, r)
	if err != nil {
		return ledger.Receipt{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.ready(ctx); err != nil {
		return ledger.Receipt{}, err
	}
	id, key := e.ID(), e.Subject.AggregateKey()
	if seq, known := c.ids[id]; known {
		return c.again(ctx, r, seq)
	}
	a := c.aggregates[key]
	switch {
	case decided != nil && *decided != a.head:
		return ledger.Receipt{}, fmt.Errorf("decided on %d, %s is at %d: %w", *decided, key, a.head, ledger.ErrConflict)
	case a.events >= ledger.MaxAggregate:
		return ledger.Receipt{}, fmt.Errorf("%s: %w", key, ledger.ErrFull)
	}
	return c.store(ctx, r, id)
}

// ready reports whether the committer may write, and clears up doubt first.
func (c *committer) ready(ctx context.Context) error {
	switch {
	case c.closed:
		return ledger.ErrClosed
	case c.fenced:
		return ledger.ErrFenced
	case c.readOnly:
		return ledger.ErrStory
	case len(c.doubtful) > 0:
		return c.settle(ctx)
	}
	return nil
}

// again answers for an event whose id is stored already: the first bytes win.
func (c *committer) again(ctx context.Context, r ledger.Record, seq ledger.Seq) (ledger.Receipt, error) {
	stored, err := c.reader.get(ctx, seq)
	if err != nil {
		return ledger.Receipt{}, fmt.Errorf("compare with event %d: %w: %w", seq, ledger.ErrUnavailable, err)
	}
	if !bytes.Equal(stored.Body, r.Body) || stored.Subject != r.Subject {
		return ledger.Receipt{}, fmt.Errorf("event %s is at %d: %w", r.Header.Get(ledger.HeaderID), seq, ledger.ErrIDReused)
	}
	return c.receipt(stored, true)
}

// receipt returns what a stored record proves.
func (c *committer) receipt(stored ledger.Record, duplicate bool) (ledger.Receipt, error) {
	e, err := ledger.Decode(stored)
	if err != nil {
		return ledger.Receipt{}, fmt.Errorf("read event %d back: %w", stored.Seq, err)
	}
	return ledger.Receipt{Ledger: c.reader.id, Seq: stored.Seq, Time: e.Time, ID: e.ID(), Duplicate: duplicate}, nil
}

// store publishes one event behind the last one, until its outcome is known or
// ctx ends. Every attempt sends the same bytes with the same fence, so that at
// most one of them is written.
func (c *committer) store(ctx context.Context, r ledger.Record, id ledger.ID) (ledger.Receipt, error) {
	r.Header = maps.Clone(r.Header)
	at := c.now().UTC()
	if at.Before(c.last) {
		at = c.last
	}
	r.Header[ledger.HeaderTime] = []string{at.Format(ledger.TimeFormat)}
	expected := c.at
	unknown := false
	for {
		err := c.publish(ctx, r, expected)
		if err == nil {
			// A crash here: the event is durable and its author has no
			// receipt. It sends the event again and is told where it is.
			r.Seq = expected + 1
			c.know(r, id, at)
			return c.receipt(r, false)
		}
		if errors.Is(err, ledger.ErrFenced) {
			c.fenced = true
			return ledger.Receipt{}, err
		}
		var refused *jetstream.APIError
		isAnswer := errors.As(err, &refused)
		if isAnswer && !isConflict(refused) && !unknown {
			return ledger.Receipt{}, fmt.Errorf("store event %s: %w: %w", id, ledger.ErrUnavailable, err)
		}
		if errors.Is(err, nats.ErrNoResponders) && !unknown {
			return ledger.Receipt{}, fmt.Errorf("store event %s: no broker: %w", id, ledger.ErrUnavailable)
		}
		// Not known to be stored, and not known not to be: look.
		unknown = unknown || !isAnswer
		c.doubt(id)
		if settled := c.settle(ctx); settled != nil {
			return ledger.Receipt{}, settled
		}
		if seq, stored := c.ids[id]; stored {
			return c.again(ctx, r, seq)
		}
		if ctx.Err() != nil {
			return ledger.Receipt{}, fmt.Errorf("store event %s: %w: %w", id, ledger.ErrUnknown, ctx.Err())
		}
		if c.at != expected { // a doubtful event of before has arrived, and ours cannot any more
			return c.store(ctx, r, id)
		}
	}
}

// publish makes one attempt.
func (c *committer) publish(ctx context.Context, r ledger.Record, expected ledger.Seq) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	m := &nats.Msg{Subject: r.Subject, Header: nats.Header(maps.Clone(r.Header)), Data: r.Body}
	ack, err := c.reader.js.PublishMsg(ctx, m, jetstream.WithExpectStream(Name),
		jetstream.WithExpectLastSequence(uint64(expected)), jetstream.WithRetryAttempts(0))
	if err == nil && ack.Sequence != uint64(expected)+1 {
		return fmt.Errorf("broker stored at %d what was fenced to %d: %w", ack.Sequence, expected+1, ledger.ErrFenced)
	}
	return err
}

func isConflict(e *jetstream.APIError) bool {
	switch e.ErrorCode {
	case codeWrongLastSequence, codeWrongLastSequenceConstant, codeBatchDuplicate, codeMaxMessages:
		return true
	}
	return false
}

// doubt notes that the outcome of an event is unknown.
func (c *committer) doubt(id ledger.ID) {
	if c.doubtful == nil {
		c.doubtful = make(map[ledger.ID]bool)
	}
	c.doubtful[id] = true
}

// settle reads what follows the last event that we know of. It must be one of
// the doubtful ones; anything else was written by another committer. Finding
// nothing settles nothing: an attempt may still be on its way. It is harmless,
// since its fence is behind as soon as any event takes its place.
func (c *committer) settle(ctx context.Context) error {
	head, err := c.reader.Head(ctx)
	if err != nil {
		return fmt.Errorf("look for doubtful events: %w: %w", ledger.ErrUnknown, err)
	}
	for seq := c.at + 1; seq <= head; seq++ {
		r, err := c.reader.get(ctx, seq)
		if err != nil {
			return fmt.Errorf("look for doubtful events: %w: %w", ledger.ErrUnknown, err)
		}
		id, err := ledger.ParseID(r.Header.Get(ledger.HeaderID))
		if err != nil || !c.doubtful[id] {
			c.fenced = true
			return fmt.Errorf("event %d is not of this committer: %w", seq, ledger.ErrFenced)
		}
		at, err := time.Parse(ledger.TimeFormat, r.Header.Get(ledger.HeaderTime))
		if err != nil {
			return fmt.Errorf("event %d has no record time: %w", seq, ledger.ErrMalformed)
		}
		c.know(r, id, at)
	}
	return nil
}

// know takes a stored event into memory. What was doubtful and is not there by
// now never will be: its fence is behind.
func (c *committer) know(r ledger.Record, id ledger.ID, at time.Time) {
	c.at, c.last = r.Seq, at
	c.ids[id] = r.Seq
	if s, err := ledger.ParseSubject(r.Subject); err == nil {
		a := c.aggregates[s.AggregateKey()]
		c.aggregates[s.AggregateKey()] = aggregate{r.Seq, a.events + 1}
	}
	clear(c.doubtful)
	c.head.Store(uint64(r.Seq))
}

// rebuild reads the whole stream into memory. Records that are no events count
// as sequences and nothing else.
func (c *committer) rebuild(ctx context.Context) error {
	head, err := c.reader.Head(ctx)
	if err != nil {
		return err
	}
	for r, err := range c.reader.Read(ctx, 1, head) {
		if err != nil {
			return fmt.Errorf("read ledger at start: %w", err)
		}
		id, err := ledger.ParseID(r.Header.Get(ledger.HeaderID))
		if err != nil {
			c.at = r.Seq
			continue
		}
		at, err := time.Parse(ledger.TimeFormat, r.Header.Get(ledger.HeaderTime))
		if err != nil {
			at = c.last
		}
		c.know(r, id, at)
	}
	c.head.Store(uint64(c.at))
	return nil
}

// end closes the committer.
func (c *committer) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
}
