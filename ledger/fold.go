package ledger

import (
	"errors"
	"time"
)

// State is everything that was said in a ledger, by batch. The zero value is
// the empty ledger. It is not safe for concurrent use.
//
// Apply only records; what the words amount to is derived from all of them by
// [Batch.Judge]. That is what makes the fold total and free of the order in
// which parties happened to be on line.
type State struct {
	Ledger LedgerID // from ledger.opened
	Story  string   // the story that this ledger plays, "" for an ordinary one
	Head   Seq      // the last record applied

	// Quarantine lists the records that could not be read at all.
	Quarantine []Quarantined

	batches map[batchKey]*Batch
	order   []*Batch        // in the order of their first events
	names   map[Party]Party // one copy of each party's name
}

// batchKey names a batch in the whole ledger.
type batchKey struct{ municipality, id string }

// A Quarantined record is one whose bytes are not an event. It is counted and
// shown, and changes nothing.
type Quarantined struct {
	Seq     Seq
	Subject string
	Err     error
}

// A Word is one thing that a party said about a batch, as far as it is judged.
type Word struct {
	Seq     Seq
	Time    time.Time // record time
	Author  Party
	Speaker Party
	Items   Items // as said; empty when only a count was given
	Root    Root
	Count   uint32
	Kind    Kind
	Basis   Basis
	Grade   Grade // min(declared, the maximum for role, kind and basis)
	// Ahead is set when the author's clock was ahead of the record time by
	// more than the tolerance.
	Ahead bool
}

// A Batch is what has been said about one batch, in the order of the ledger.
type Batch struct {
	Municipality string
	ID           string
	Flow         *Flow
	First, Head  Seq // of its first and last events
	Events       int
	Words        []Word // of the hops
	Towns        []Town // as declared by the first upload
	Alerts       []Alert

	// Unreadable is the first event whose kind or version this program does
	// not know, 0 for none. Such a batch is not judged.
	Unreadable   Seq
	UnreadableAt time.Time
}

// Apply takes one record. It never fails: what cannot be read is quarantined,
// what is unknown marks its batch as not judged. It returns the batch that the
// record belongs to, nil when it belongs to none.
func (s *State) Apply(r Record) *Batch {
	e, err := Decode(r)
	e.Record = r
	return s.ApplyDecoded(&e, err)
}

// ApplyDecoded is [State.Apply] for a record that was decoded already: err is
// what [Decode] said. It keeps nothing of e but immutable parts.
func (s *State) ApplyDecoded(e *Event, err error) *Batch {
	s.Head = e.Seq
	switch {
	case errors.Is(err, ErrUnknownKind) && IsBatch(e.Subject):
		b := s.batch(e.Subject, e.Seq)
		b.unread(e)
		return b
	case errors.Is(err, ErrUnknownKind):
		return nil
	case err != nil:
		s.Quarantine = append(s.Quarantine, Quarantined{e.Seq, clip(e.Record.Subject), err})
		return nil
	}
	if e.Kind() == LedgerOpened && e.Seq == 1 {
		s.Ledger, s.Story = e.Content.Ledger, e.Content.Story
	}
	if !IsBatch(e.Subject) {
		return nil
	}
	b := s.batch(e.Subject, e.Seq)
	switch {
	case e.Kind() == AlertRaised:
		b.Alerts = append(b.Alerts, raisedAlert(e))
	case e.Kind() == AlertClosed:
		b.closeAlert(e)
	default:
		b.hear(s, e)
	}
	return b
}

// Batch returns what is known of a batch, nil when nothing is.
func (s *State) Batch(municipality, id string) *Batch {
	return s.batches[batchKey{municipality, id}]
}

// Batches returns every batch in the order of their first events. The caller
// must not change the slice.
func (s *State) Batches() []*Batch { return s.order }

// batch returns the batch of a subject, made on first sight, and counts seq.
func (s *State) batch(subject Subject, seq Seq) *Batch {
	key := batchKey{subject.Municipality, subject.Aggregate}
	b := s.batches[key]
	if b == nil {
		if s.batches == nil {
			s.batches = make(map[batchKey]*Batch)
		}
		b = &Batch{Municipality: key.municipality, ID: key.id, Flow: NotificationCard, First: seq}
		s.batches[key] = b
		s.order = append(s.order, b)
	}
	b.Head = seq
	b.Events++
	return b
}

// party returns the one copy of p that the state keeps.
func (s *State) party(p Party) Party {
	if known, ok := s.names[p]; ok {
		return known
	}
	if s.names == nil {
		s.names = make(map[Party]Party)
	}
	s.names[p] = p
	return p
}

// unread marks the batch as not judged.
func (b *Batch) unread(e *Event) {
	if b.Unreadable == 0 {
		b.Unreadable, b.UnreadableAt = e.Seq, e.Time
	}
}

// hear records a word of a hop.
func (b *Batch) hear(s *State, e *Event) {
	c := &e.Content
	flow := FlowByName(c.Flow)
	if _, _, ok := flow.HopOf(e.Kind()); !ok || (len(b.Words) > 0 && flow != b.Flow) {
		b.unread(e) // a flow of a later version, or two flows in one batch
		return
	}
	b.Flow = flow
	w := Word{
		Seq: e.Seq, Time: e.Time, Kind: e.Kind(), Author: s.party(e.Author), Speaker: s.party(e.Speaker()),
		Items: b.share(c.Items), Root: c.Root, Count: c.Count, Basis: c.Basis, Grade: gradeOf(e),
		Ahead: ahead(e),
	}
	if e.Kind() == b.Flow.Hops[0].Claim && len(b.Towns) == 0 {
		b.Towns = c.Towns
	}
	b.Words = append(b.Words, w)
}

// ahead reports whether the author's clock was ahead. Times as text have the order
// of times, and hardly any clock is ahead at all.
func ahead(e *Event) bool {
	return e.Header.Get(HeaderSent) > e.Header.Get(HeaderTime) && e.Sent().Sub(e.Time) > clockTolerance
}

// share returns the set that an earlier word holds already when it is the
// same: most words of a batch are about all of it, and a national roll-out has
// millions of words.
func (b *Batch) share(items Items) Items {
	for i := range min(len(b.Words), 2) {
		if b.Words[i].Items.Equal(items) {
			return b.Words[i].Items
		}
	}
	return items
}
