package ledger

import (
	"context"
	"fmt"
	"iter"
)

// A Log is a ledger as a store: an append-only sequence of records without
// holes, and the only way into it.
//
// # The append contract
//
// Append stores a fact; Decide stores a decision, which is only stored when
// the last event of its aggregate is still the one it was decided on. Both
// have three outcomes, and implementations MUST keep them apart:
//
//   - nil: the event is durable at Receipt.Seq: fsynced on one server,
//     fsynced by a quorum on three. Duplicate is set when it was there before
//     this attempt, byte for byte the same body.
//   - an error that is [ErrConflict], [ErrUnavailable], [ErrFenced],
//     [ErrClosed] or an [ErrRefused]: this attempt was not written and never
//     will be.
//   - [ErrUnknown], or the context's error: nobody knows. The same record may
//     be sent again for as long as it takes; the event id makes that safe.
//
// No implementation rests its idempotency on a broker's duplicate window. An
// id that is stored with another body gives [ErrIDReused].
//
// A committer sets the record time; it never decreases with the sequence.
type Log interface {
	// ID returns which ledger this is.
	ID() LedgerID

	// Append stores r as a fact: it goes in whatever else was said in the
	// meantime.
	Append(ctx context.Context, r Record) (Receipt, error)

	// Decide stores the events of one decision only when the last event of
	// their aggregate, which all of them share, is at head (0: when the
	// aggregate is empty). They are stored one right behind the other, all of
	// them or none; the receipt is that of the last. Decide returns
	// ErrConflict when the aggregate is at another head, unless the decision
	// itself is stored, which is success. A decision has 1 to [MaxDecision]
	// events.
	Decide(ctx context.Context, head Seq, decision ...Record) (Receipt, error)

	Reader
}

// MaxDecision is how many events one decision may have.
const MaxDecision = 64

// OneDecision returns an [ErrMalformed] unless the events can be one decision:
// 1 to [MaxDecision] of one aggregate, none twice.
func OneDecision(events []Event) error {
	if n := len(events); n == 0 || n > MaxDecision {
		return fmt.Errorf("a decision of %d events: %w", n, ErrMalformed)
	}
	seen := make(map[ID]bool, len(events))
	for i := range events {
		if events[i].Subject.AggregateKey() != events[0].Subject.AggregateKey() {
			return fmt.Errorf("a decision about %s and %s: %w", events[0].Subject.AggregateKey(), events[i].Subject.AggregateKey(), ErrMalformed)
		}
		if id := events[i].ID(); seen[id] {
			return fmt.Errorf("a decision that holds event %s twice: %w", id, ErrMalformed)
		} else {
			seen[id] = true
		}
	}
	return nil
}

// Full reports whether an aggregate that would have so many events has too many.
// Facts leave room for decisions: nobody can talk so much that no alert
// fits in behind.
func Full(events int, decision bool) bool {
	if decision {
		return events > MaxAggregate
	}
	return events > MaxFacts
}

// A Reader reads a ledger in the order of sequence numbers.
type Reader interface {
	// Head returns the sequence of the last durable event, 0 for none. An
	// event whose Append returned before Head was called is never above it.
	Head(ctx context.Context) (Seq, error)

	// Read yields the records from first to last, both included, in order.
	// It ends with [ErrGap] when one is missing, one above the head as well,
	// and with the context's error when ctx is done. The records are the
	// caller's.
	Read(ctx context.Context, first, last Seq) iter.Seq2[Record, error]

	// Follow yields the records from first on, in order, then waits for
	// more. It ends as Read does and never for lack of news.
	Follow(ctx context.Context, first Seq) iter.Seq2[Record, error]
}
