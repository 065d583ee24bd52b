package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"todoke/ledger"
	"todoke/projections"
)

// An asOf is the --at of the reading commands: a sequence or a time.
type asOf struct {
	At string `help:"The past: a sequence number, or a time as 2015-10-06T20:00 (JST)." placeholder:"TIME|SEQ"`
}

// point reads --at.
func (o asOf) point() (projections.Point, error) {
	if o.At == "" {
		return projections.Point{}, nil
	}
	if n, err := strconv.ParseUint(o.At, 10, 63); err == nil {
		if n == 0 {
			return projections.Point{}, usagef("--at 0: the first event is 1")
		}
		return projections.Point{Seq: ledger.Seq(n)}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, o.At, ledger.JST); err == nil {
			return projections.Point{Time: t}, nil
		}
	}
	return projections.Point{}, usagef("--at %s: neither a sequence number nor a time as 2015-10-06T20:00", o.At)
}

// A moment is what a replay has come to: the last event applied, its record
// time, and the time at which the views judge.
type moment struct {
	seq  ledger.Seq
	last time.Time
	now  time.Time
}

// replay feeds views up to --at.
func (a *app) replay(o asOf, views ...projections.View) (moment, error) {
	to, err := o.point()
	if err != nil {
		return moment{}, err
	}
	source, err := a.existing()
	if err != nil {
		return moment{}, err
	}
	defer source.close()
	if err := beyond(a.ctx, source, to); err != nil {
		return moment{}, err
	}
	var clock lastTime
	m := moment{}
	if m.seq, err = projections.Run(a.ctx, source, to, append(views, &clock)...); err != nil {
		return moment{}, err
	}
	m.last = clock.time
	switch {
	case !to.Time.IsZero():
		m.now = to.Time
	case to.Seq != 0:
		m.now = m.last
	default:
		m.now = source.now(m.last)
	}
	return m, nil
}

// beyond returns an error when a point lies beyond the ledger: what is not yet
// said must not read as if all were well.
func beyond(ctx context.Context, r ledger.Reader, to projections.Point) error {
	head, err := r.Head(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("ask for the head: %w", err)
	case to.Seq > head:
		return usagef("--at %d: the ledger ends at %d", to.Seq, head)
	case to.Time.After(time.Now()):
		return usagef("--at %s lies in the future", stamp(to.Time))
	}
	return nil
}

// lastTime is the view that knows the last record time.
type lastTime struct{ time time.Time }

// Apply implements projections.View.
func (l *lastTime) Apply(e *ledger.Event, err error) {
	if err == nil {
		l.time = e.Time
	}
}
