package producers

import (
	"errors"
	"fmt"

	"todoke/ledger"
)

// These errors can occur when an outbox is opened or used.
var (
	// ErrOutboxFull is returned when a record does not fit beside those that
	// an outbox keeps. It is always an [*OutboxFullError]. Nothing was kept.
	ErrOutboxFull = errors.New("outbox is full")

	// ErrKeptHere is returned when the wait for the ledger's answer ended before
	// there was one. It is a [ledger.ErrUnknown]: nobody knows whether the ledger
	// has the event, but it is kept, and nothing is left to do for whoever
	// reported it.
	ErrKeptHere error = keptHere("the wait for the ledger's answer ended first: the event is on this machine's disk and will be sent; do not report it again")

	// ErrDamaged is returned when the file of an outbox does not hold what was
	// written to it. The file is left as it is. What it kept and the ledger has
	// not is to be reported again, with the same slips, from a new one.
	ErrDamaged = errors.New("outbox is damaged; put its file aside, begin a new one, and report again")
)

// keptHere is an error that is also ledger.ErrUnknown.
type keptHere string

func (k keptHere) Error() string        { return string(k) }
func (k keptHere) Is(target error) bool { return target == ledger.ErrUnknown }

// An OutboxFullError says how full an outbox is. It is an [ErrOutboxFull].
type OutboxFullError struct {
	Used  int64 // bytes of the records that are kept
	Limit int64 // bytes of records that may be kept
}

// Error returns the sentence with both numbers.
func (e *OutboxFullError) Error() string {
	return fmt.Sprintf("%v: %d of %d bytes are used; bring it to the ledger, or give it more room", ErrOutboxFull, e.Used, e.Limit)
}

// Is reports whether target is [ErrOutboxFull].
func (e *OutboxFullError) Is(target error) bool { return target == ErrOutboxFull }
