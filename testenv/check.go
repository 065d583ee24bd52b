package testenv

import (
	"maps"
	"testing"
	"time"

	"todoke/ledger"
	"todoke/ledger/rule"
)

// CheckLedger reads everything that r holds and fails the test for each of
// these that does not hold:
//
//   - no sequence is missing up to the head, and none is there twice;
//   - every record can be read, and could have been admitted;
//   - the record time never decreases;
//   - no event id is there twice, and no aggregate has too many events;
//   - every later start of the ledger is counted up by one, from 2, and says
//     behind which event it was;
//   - the invariants of every batch's judgement ([ledger.Judgement.Check]).
func CheckLedger(tb testing.TB, r interface {
	ledger.Reader
	ID() ledger.LedgerID
}) {
	tb.Helper()
	head, err := r.Head(tb.Context())
	if err != nil {
		tb.Fatalf("check ledger: ask for the head: %v", err)
	}
	c := checker{tb: tb, id: r.ID(), ids: make(map[string]ledger.Seq), aggregates: make(map[string]int), incarnation: 1}
	for record, err := range r.Read(tb.Context(), 1, head) {
		if err != nil {
			tb.Errorf("check ledger: after event %d: %v", c.seq, err)
			return
		}
		c.check(record)
	}
	if c.seq != head {
		tb.Errorf("check ledger: reading ended at %d, the head is %d", c.seq, head)
	}
	for _, b := range c.state.Batches() {
		if err := b.Judge(c.rules.Of(b)).Check(); err != nil {
			tb.Errorf("check ledger: %v", err)
		}
	}
}

type checker struct {
	tb          testing.TB
	id          ledger.LedgerID
	seq         ledger.Seq
	last        time.Time
	ids         map[string]ledger.Seq
	aggregates  map[string]int
	incarnation uint64
	state       ledger.State
	rules       rule.History
}

func (c *checker) check(r ledger.Record) {
	c.tb.Helper()
	if c.seq++; r.Seq != c.seq {
		c.tb.Errorf("check ledger: event %d comes where %d belongs", r.Seq, c.seq)
		c.seq = r.Seq
	}
	e, err := ledger.Decode(r)
	if err != nil {
		c.tb.Errorf("check ledger: event %d cannot be read: %v", r.Seq, err)
		return
	}
	if err := c.rules.Apply(e); err != nil {
		c.tb.Errorf("check ledger: event %d: %v", r.Seq, err)
	}
	c.state.ApplyDecoded(&e, nil)
	c.start(&e)
	sent := r
	sent.Header = maps.Clone(r.Header)
	delete(sent.Header, ledger.HeaderTime)
	if _, err := ledger.Admit(c.id, sent); err != nil {
		c.tb.Errorf("check ledger: event %d should not have been admitted: %v", r.Seq, err)
	}
	if e.Time.Before(c.last) {
		c.tb.Errorf("check ledger: event %d was recorded at %s, the one before it at %s", r.Seq, e.Time, c.last)
	}
	c.last = e.Time
	id := r.Header.Get(ledger.HeaderID)
	if first, twice := c.ids[id]; twice {
		c.tb.Errorf("check ledger: event id %s is at %d and at %d", id, first, r.Seq)
	}
	c.ids[id] = r.Seq
	key := e.Subject.AggregateKey()
	if c.aggregates[key]++; c.aggregates[key] == ledger.MaxAggregate+1 {
		c.tb.Errorf("check ledger: %s has more than %d events", key, ledger.MaxAggregate)
	}
}

// start checks a start of the ledger.
func (c *checker) start(e *ledger.Event) {
	c.tb.Helper()
	if e.Kind() != ledger.LedgerStarted {
		return
	}
	b := e.Content
	if b.Previous != c.incarnation || b.Incarnation != c.incarnation+1 || b.Head != c.seq-1 {
		c.tb.Errorf("check ledger: event %d starts incarnation %d after %d behind event %d, and %d was the last", c.seq, b.Incarnation, b.Previous, b.Head, c.incarnation)
	}
	c.incarnation = b.Incarnation
}
