package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"todoke/ledger"
)

// leastSingle is how many events a group must have on one server to be written
// as one atomic batch: below it, a batch costs more than its events one by one.
// On three servers a batch always costs less. See docs/performance.md.
const (
	leastSingle  = 18
	leastCluster = 2
)

// Bounds of the wait before the same bytes are sent again.
const (
	firstWait   = 5 * time.Millisecond
	longestWait = 500 * time.Millisecond
)

// The codes of the broker that leave something open. 10164 and 10201 are those of
// replicated streams and batches, 10077 that of a store that failed.
const (
	codeWrongLastSequence         = 10071
	codeWrongLastSequenceConstant = 10164
	codeBatchDuplicate            = 10201
	codeStoreFailed               = 10077
	codeNoResources               = 10023
)

// errMoved says that other events stand where ours were to be, so that ours are
// not written and never will be.
var errMoved = errors.New("other events stand there")

// errBehind says that the stream ends before what is known to be in it. A new
// leader may say so for a moment, and says it mostBehind times at most.
var errBehind = errors.New("events are gone")

const mostBehind = 60

// write stores a group: as one atomic batch, or one by one when that is faster.
// The events of one decision are one batch always.
func (c *committer) write(group []*request) {
	events := 0
	for _, r := range group {
		events += len(r.events)
	}
	if events >= c.least {
		c.store(group)
		return
	}
	for i := range group {
		c.store(group[i : i+1])
	}
}

// store stores the events of some requests, all or none, and answers their
// callers.
func (c *committer) store(unit []*request) {
	switch {
	case c.lost.Err() != nil:
		c.tell(unit, context.Cause(c.lost))
		return
	case c.sick: // what went before in this group may still land here
		c.tell(unit, ledger.ErrStorageFull)
		return
	}
	fence, last := c.head()
	at, err := c.clock.read(last)
	if err == nil {
		err = c.put(stamped(unit, at), fence)
	}
	switch {
	case errors.Is(err, errMoved):
		c.lose(ledger.ErrFenced)
		c.tell(unit, ledger.ErrFenced)
	case err != nil:
		c.tell(unit, err)
	default:
		// A crash here: the events are durable and their authors have no
		// receipt. They send them again and are told where they are.
		c.remember(unit, at)
	}
}

// put publishes records behind the fence until the outcome is known: all stored,
// or none. Every attempt sends the same bytes with the same fence, so that at
// most one is written. It returns
//
//   - errMoved when others stand there, so that ours never will;
//   - an [ledger.ErrUnavailable] when nothing was written;
//   - an [ledger.ErrUnknown] when the reader ends first, or the disk does not let
//     us find out.
func (c *committer) put(records []ledger.Record, fence ledger.Seq) error {
	if err := c.disk.room(bytesOf(records)); err != nil {
		return err
	}
	doubt, behind := false, 0
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		err := c.publish(records, fence)
		if err == nil {
			return nil
		}
		if notWritten(err) && !doubt {
			return unavailable(err)
		}
		doubt = doubt || !refused(err)
		if sick := c.disk.heal(bytesOf(records)); sick != nil {
			c.sick = true
			if errors.Is(sick, errDisk) {
				c.lose(fmt.Errorf("%w: %w", ledger.ErrUnavailable, sick))
			}
			return fmt.Errorf("%w: %v", ledger.ErrUnknown, sick)
		}
		landed, found := c.look(records, fence)
		if errors.Is(found, errBehind) {
			if behind++; c.disk != nil || behind > mostBehind {
				found = fmt.Errorf("%w: %w", found, ledger.ErrGap)
			}
		}
		switch {
		case errors.Is(found, ledger.ErrGap):
			c.lose(fmt.Errorf("%w: %w", ledger.ErrUnavailable, found))
			return fmt.Errorf("%w: %w", ledger.ErrUnknown, found)
		case errors.Is(found, errMoved):
			return errMoved
		case landed == len(records) && (c.disk == nil || refused(err)):
			return nil
		case landed == len(records):
			// They can be read, and may still not be on the disk: a broker shows
			// the events of a batch whose sync is under way, or has failed. Once
			// it has refused the next attempt, it is past that and knows.
			landed = 0
		}
		// A disk that was full may have taken the first of a batch. Nobody else
		// writes here: the others follow right behind.
		records, fence = records[landed:], fence+ledger.Seq(landed)
		if !c.pause(wait) {
			return fmt.Errorf("%w: %w", ledger.ErrUnknown, err)
		}
	}
}

// stamped returns the records of some requests as they are stored: with the
// record time.
func stamped(unit []*request, at time.Time) []ledger.Record {
	var records []ledger.Record
	for _, r := range unit {
		for i := range r.events {
			records = append(records, stamp(r.events[i].Record, at))
		}
	}
	return records
}

// bytesOf returns about how many bytes records take in the broker.
func bytesOf(records []ledger.Record) (n int) {
	for i := range records {
		n += sizeOf(records[i])
	}
	return n
}

func sizeOf(r ledger.Record) int { return overhead + len(r.Body) }

func stamp(r ledger.Record, at time.Time) ledger.Record {
	r.Header = maps.Clone(r.Header)
	r.Header[ledger.HeaderTime] = []string{at.Format(ledger.TimeFormat)}
	return r
}

// remember takes stored events into memory and answers their callers.
func (c *committer) remember(unit []*request, at time.Time) {
	seq, _ := c.head()
	for _, r := range unit {
		for i := range r.events {
			seq++
			c.note(&r.events[i], seq, at)
		}
		r.answer <- answer{receipt: c.receipt(r.events[len(r.events)-1].ID(), seq, at)}
	}
}

// tell answers everybody with the same error.
func (c *committer) tell(unit []*request, err error) {
	for _, r := range unit {
		r.answer <- answer{err: fmt.Errorf("store event: %w", err)}
	}
}

// look reads what stands behind the fence, and returns how many of our own records
// do. It returns errMoved when another committer's do: then ours never will. An
// [ledger.ErrGap] is a store that counts an event which it does not have. Nothing
// there, or any other error, proves nothing: an attempt may still be on its way.
// It is harmless, because the next one has the same fence.
func (c *committer) look(records []ledger.Record, fence ledger.Seq) (landed int, err error) {
	head, err := c.reader.Head(c.reader.life)
	if err != nil || head == fence {
		return 0, err
	}
	if head < fence {
		return 0, fmt.Errorf("the stream ends at %d, behind event %d: %w", head, fence, errBehind)
	}
	first, err := c.reader.get(c.reader.life, fence+1)
	if err != nil {
		return 0, err
	}
	// The same id with another record time is an attempt of somebody else.
	if first.Header.Get(ledger.HeaderID) != records[0].Header.Get(ledger.HeaderID) ||
		first.Header.Get(ledger.HeaderTime) != records[0].Header.Get(ledger.HeaderTime) {
		return 0, errMoved
	}
	return int(min(head-fence, ledger.Seq(len(records)))), nil
}

// pause waits, and reports whether there is time for another attempt.
func (c *committer) pause(d time.Duration) bool { return wait(c.reader.life, d) }

// codeOf returns the broker's code of an error, 0 when the broker has not
// answered.
func codeOf(err error) jetstream.ErrorCode {
	var answer *jetstream.APIError
	if !errors.As(err, &answer) {
		return 0
	}
	return answer.ErrorCode
}

// refused reports whether the broker has said that this attempt was not written
// because others were.
func refused(err error) bool {
	switch codeOf(err) {
	case codeWrongLastSequence, codeWrongLastSequenceConstant, codeBatchDuplicate:
		return true
	}
	return false
}

// notWritten reports whether it is certain that this attempt was not written, for
// a reason that has nothing to do with others. Every answer but that of
// [codeStoreFailed] is given before anything is stored.
func notWritten(err error) bool {
	switch codeOf(err) {
	case 0:
		return errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, errNotSent)
	case codeStoreFailed:
		return false
	}
	return !refused(err)
}

// unavailable returns what the caller is told of an attempt that was not written.
func unavailable(err error) error {
	if codeOf(err) == codeNoResources {
		return fmt.Errorf("%w: %w", ledger.ErrStorageFull, err)
	}
	return fmt.Errorf("%w: %w", ledger.ErrUnavailable, err)
}
