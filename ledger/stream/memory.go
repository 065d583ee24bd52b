package stream

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"todoke/ledger"
)

// memory is what a committer knows of its stream without asking: where each
// aggregate's events are, every event id, the last sequence and record time, and
// where each incarnation began. Only the committer writes it; everybody reads.
//
// What counts as an event is what [ledger.State] counts, so that a decision made
// on a fold's head finds the committer at the same head, whatever foreign bytes
// lie between.
type memory struct {
	mu         sync.RWMutex
	at         ledger.Seq // the last record that we know of
	last       time.Time  // the last record time
	aggregates map[string][]ledger.Seq
	ids        map[ledger.ID]ledger.Seq
	starts     []ledger.Seq // incarnation n began at starts[n-1]
}

func newMemory() *memory {
	return &memory{aggregates: make(map[string][]ledger.Seq), ids: make(map[ledger.ID]ledger.Seq)}
}

// know takes a stored record in. A record that is no event has a sequence and
// nothing else.
func (m *memory) know(r ledger.Record) {
	e, err := ledger.Decode(r)
	if err != nil && !errors.Is(err, ledger.ErrUnknownKind) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.at = r.Seq
		return
	}
	m.note(&e, r.Seq, e.Time)
}

// note takes a stored event in.
func (m *memory) note(e *ledger.Event, seq ledger.Seq, at time.Time) {
	id, key := e.ID(), e.Subject.AggregateKey()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at = seq
	if at.After(m.last) {
		m.last = at
	}
	if _, twice := m.ids[id]; !twice {
		m.ids[id] = seq
	}
	m.aggregates[key] = append(m.aggregates[key], seq)
	if k := e.Kind(); k == ledger.LedgerStarted || k == ledger.LedgerOpened && len(m.starts) == 0 {
		m.starts = append(m.starts, seq)
	}
}

// head returns the last sequence, and the last record time.
func (m *memory) head() (ledger.Seq, time.Time) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.at, m.last
}

// incarnation returns how often the ledger was started, up to and with the event
// at seq.
func (m *memory) incarnation(seq ledger.Seq) uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	n, exact := slices.BinarySearch(m.starts, seq)
	if exact {
		n++
	}
	return uint64(n)
}

// sequences returns where the events of an aggregate are.
func (m *memory) sequences(key string) []ledger.Seq {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Clone(m.aggregates[key])
}

// find returns where the events of a request are, and how many of them are there
// at all.
func (m *memory) find(events []ledger.Event) (at []ledger.Seq, known int) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	at = make([]ledger.Seq, len(events))
	for i := range events {
		if at[i] = m.ids[events[i].ID()]; at[i] != 0 {
			known++
		}
	}
	return at, known
}

// judge says whether events that are not stored may be, as far as their
// aggregate goes. ahead is how many events of the aggregate are about to be
// stored before them.
func (m *memory) judge(events []ledger.Event, decided *ledger.Seq, ahead int) error {
	key := events[0].Subject.AggregateKey()
	m.mu.RLock()
	defer m.mu.RUnlock()
	has := m.aggregates[key]
	var head ledger.Seq
	if len(has) > 0 {
		head = has[len(has)-1]
	}
	switch {
	case decided != nil && *decided != head:
		return fmt.Errorf("decided on %d, %s is at %d: %w", *decided, key, head, ledger.ErrConflict)
	case ledger.Full(len(has)+ahead+len(events), decided != nil):
		return fmt.Errorf("%s: %w", key, ledger.ErrFull)
	}
	return nil
}
