package testenv

import (
	"bytes"
	"fmt"
	"slices"

	"todoke/ledger"
)

// A Fault is what befalls one append.
type Fault uint8

// The faults. The first three are answered with [ledger.ErrUnknown], and the
// caller cannot tell which of them it was.
const (
	None        Fault = iota // the append goes through
	NotWritten               // unknown: it was not stored and never will be
	Written                  // unknown: it was stored
	Late                     // unknown: it is stored just before the next append, if that leaves it its place
	Unavailable              // not stored: [ledger.ErrUnavailable]
	Conflict                 // not stored: [ledger.ErrConflict]; passes facts by and waits for a decision
	Fenced                   // not stored: [ledger.ErrFenced], until [Log.TakeOver]
)

// String returns the name of a fault.
func (f Fault) String() string {
	return [...]string{"None", "NotWritten", "Written", "Late", "Unavailable", "Conflict", "Fenced"}[f]
}

// A doubt is what an author does not know about its last attempt.
type doubt struct {
	body    []byte
	decided *ledger.Seq // as in the attempt
}

// Arm prepares the next appends: each takes one fault, in order. Records that
// are refused before they would be sent take none.
func (l *Log) Arm(faults ...Fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, faults...)
}

// Disarm takes back the faults that no append has met yet.
func (l *Log) Disarm() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = nil
}

// TakeOver lets another committer take the log: a fenced one takes appends again,
// in the next incarnation. What was late never arrives.
func (l *Log) TakeOver() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fenced, l.late = false, nil
	l.starts = append(l.starts, ledger.Seq(len(l.records)))
}

// Incarnation returns in which incarnation the event at seq was stored.
func (l *Log) Incarnation(seq ledger.Seq) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.incarnation(seq)
}

func (l *Log) incarnation(seq ledger.Seq) uint64 {
	before, _ := slices.BinarySearch(l.starts, seq)
	return 1 + uint64(before)
}

// suffer lets an attempt meet its fault.
func (l *Log) suffer(a attempt) (ledger.Receipt, error) {
	id := a.events[0].ID()
	fault := l.next(a.decided != nil)
	l.fenced = l.fenced || fault == Fenced
	switch {
	case l.fenced:
		return ledger.Receipt{}, fmt.Errorf("append event %s: %w", id, ledger.ErrFenced)
	case fault == Unavailable:
		return ledger.Receipt{}, fmt.Errorf("append event %s: %w", id, ledger.ErrUnavailable)
	case fault == Conflict:
		l.settle(a)
		return ledger.Receipt{}, fmt.Errorf("append event %s: %w", id, ledger.ErrConflict)
	case fault == NotWritten:
		return l.leaveUnknown(a)
	case fault == Late:
		l.late = append(l.late, a)
		return l.leaveUnknown(a)
	}
	receipt, err := l.try(a)
	if err == nil && fault == Written {
		return l.leaveUnknown(a)
	}
	l.settle(a)
	return receipt, err
}

// settle notes that an author has heard what became of its attempt.
func (l *Log) settle(a attempt) {
	for i := range a.events {
		delete(l.doubt, a.events[i].ID())
	}
}

// next takes the fault of the next append.
func (l *Log) next(decision bool) Fault {
	if len(l.faults) == 0 || l.faults[0] == Conflict && !decision {
		return None
	}
	fault := l.faults[0]
	l.faults = l.faults[1:]
	return fault
}

func (l *Log) leaveUnknown(a attempt) (ledger.Receipt, error) {
	for i := range a.events {
		l.doubt[a.events[i].ID()] = doubt{bytes.Clone(a.events[i].Body), a.decided}
	}
	return ledger.Receipt{}, fmt.Errorf("append event %s: %w", a.events[0].ID(), ledger.ErrUnknown)
}

// land lets late attempts arrive. An attempt keeps its fence: once another
// record has taken the place that it was sent for, it is not written any more.
func (l *Log) land() {
	for _, a := range l.late {
		if a.fence == len(l.records) {
			// A failure here is what the author will hear when it asks again.
			_, _ = l.try(a)
		}
	}
	l.late = nil
}

// judge scolds a caller that breaks the contract.
func (l *Log) judge(events []ledger.Event, decided *ledger.Seq) error {
	for i := range events {
		e := &events[i]
		if d, open := l.doubt[e.ID()]; open && !bytes.Equal(d.body, e.Body) && !l.harmless(d.decided, e) && !l.harmless(decided, e) {
			return l.scold("event %s (%s) is sent with another body while the outcome of the first is unknown: "+
				"send the same record until the log has answered, then decide again", e.ID(), e.Kind())
		}
	}
	e := &events[0]
	if decided != nil && *decided > ledger.Seq(len(l.records)) {
		return l.scold("event %s (%s) was decided on sequence %d, but the log ends at %d: "+
			"a head comes from a record that was read", e.ID(), e.Kind(), *decided, len(l.records))
	}
	return nil
}

// harmless reports whether a decision that is not stored never will be: its
// aggregate has moved on without it. Two who decide for one party, and do not hear
// of each other, may differ about that.
func (l *Log) harmless(decided *ledger.Seq, e *ledger.Event) bool {
	_, stored := l.ids[e.ID()]
	return decided != nil && !stored && *decided != l.aggregates[e.Subject.AggregateKey()].head
}

func (l *Log) scold(format string, args ...any) error {
	err := fmt.Errorf("the append contract is broken: "+format, args...)
	if l.cfg.T != nil {
		l.cfg.T.Error(err)
	}
	return err
}

// Inject stores a record as it is, whatever it holds, as somebody with rights
// on the store could. It returns its sequence.
func (l *Log) Inject(r ledger.Record) ledger.Seq {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.put(clone(r))
}

// Corrupt changes the stored record at seq.
func (l *Log) Corrupt(seq ledger.Seq, change func(*ledger.Record)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.records[seq-1])
}

// Lose takes the record at seq away: readers meet [ledger.ErrGap] there.
func (l *Log) Lose(seq ledger.Seq) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost[seq] = true
}
