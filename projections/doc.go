// Package projections holds the read models of a ledger: what people and
// programs look at. A projection is disposable. It is rebuilt from sequence 1 at
// any time, and holds nothing that the events do not say; where an event says
// less than a reader wants, the answer is that it is not known.
//
// A [View] takes events one by one. [Run] feeds views from a ledger, up to a
// point in it, which is how the past is asked for: the same views, fed with
// less. [Custody] is where each item provably is, hop by hop, beside what is
// said of it; [History] is what was said, in order.
//
// The exported structs with JSON names are what the commands print with --json;
// docs/json.md describes them, and their names do not change.
//
// # Decisions
//
// 2026-11-22: Views are rebuilt in full by every command. Two million events
// take some seconds, and a batch command in a municipality has some thousands.
// Snapshots at sealed positions come with the seal.
package projections

import (
	"context"
	"fmt"
	"time"

	"todoke/ledger"
)

// A View takes the events of a ledger in order. Apply never fails: err is what
// [ledger.Decode] said of the record, and the view decides what that means to
// it.
type View interface {
	Apply(e *ledger.Event, err error)
}

// A Point is a place in a ledger: a sequence, a record time, or the end when
// both are zero. An event at the point itself is included.
type Point struct {
	Seq  ledger.Seq
	Time time.Time
}

// Run feeds the views with every record up to the point and returns the
// sequence of the last one. It returns the reader's error, as [ledger.ErrGap].
func Run(ctx context.Context, r ledger.Reader, to Point, views ...View) (ledger.Seq, error) {
	head, err := r.Head(ctx)
	if err != nil {
		return 0, fmt.Errorf("replay: %w", err)
	}
	if to.Seq != 0 && to.Seq < head {
		head = to.Seq
	}
	var last ledger.Seq
	if head == 0 {
		return 0, nil
	}
	for record, err := range r.Read(ctx, 1, head) {
		if err != nil {
			return last, fmt.Errorf("replay: %w", err)
		}
		e, err := ledger.Decode(record)
		if !to.Time.IsZero() && e.Time.After(to.Time) {
			break // record times never decrease
		}
		if err != nil {
			e.Record = record
		}
		for _, v := range views {
			v.Apply(&e, err)
		}
		last = record.Seq
	}
	return last, nil
}
