package sim

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"todoke/ledger"
	"todoke/producers"
	"todoke/projections"
	"todoke/testenv"
)

// records returns the whole log.
func (w *world) records() []ledger.Record {
	var records []ledger.Record
	for r, err := range w.log.Read(w.background(), 1, w.head()) {
		if err != nil {
			w.find("read the log: %v", err)
			break
		}
		records = append(records, r)
	}
	return records
}

// judge looks whether everything holds, and ends the history with a digest of the
// log.
func (w *world) judge() {
	records := w.records()
	w.checkSaid(records)
	w.checkKept(records)
	w.checkOrder(records)
	w.model = newModel(w.batches) // what was read before may have been spoilt since
	w.model.read(w)
	w.checkCustody(records)
	for _, batch := range w.batches {
		for _, wrong := range w.model.books[batch].watched(w.clock.Now()) {
			w.find("at the end: batch %s: %s", batch, wrong)
		}
	}
	testenv.CheckLedger(witness{w.TB, w}, w.log)
	digest := sha256.New()
	for _, r := range records {
		fmt.Fprint(digest, r.Seq, fingerprint(r), r.Header.Get(ledger.HeaderTime))
	}
	w.tell("%d events, %x", len(records), digest.Sum(nil))
}

// checkSaid: nothing is in the log that nobody said, and nothing twice.
func (w *world) checkSaid(records []ledger.Record) {
	seen := make(map[string]ledger.Seq)
	for _, r := range records {
		if !w.said[fingerprint(r)] {
			w.find("event %d was said by nobody: %s", r.Seq, r.Subject)
		}
		id := r.Header.Get(ledger.HeaderID)
		if before, twice := seen[id]; twice {
			w.find("event %d is the one at %d", r.Seq, before)
		}
		seen[id] = r.Seq
	}
}

// checkKept: what an outbox took is in the log, and its receipt is the log's.
func (w *world) checkKept(records []ledger.Record) {
	at := make(map[string]ledger.Record)
	for _, r := range records {
		at[r.Header.Get(ledger.HeaderID)] = r
	}
	for _, g := range w.gateways {
		for _, word := range g.accepted {
			if _, there := at[word.id.String()]; !there {
				w.find("%s of %s was kept and is not in the log", word.Report.Slip, g.party)
			}
		}
		for e, err := range g.outbox.Entries() {
			if err != nil {
				w.find("%s: read the outbox: %v", g.party, err)
				break
			}
			w.checkEntry(g, e, at[e.ID.String()])
		}
	}
}

func (w *world) checkEntry(g *gateway, e producers.Entry, r ledger.Record) {
	if !bytes.Equal(r.Body, e.Record.Body) {
		if e.State != producers.Refused || ledger.Code(e.Refusal) != ledger.Code(ledger.ErrIDReused) {
			w.find("%s: another body is at %d, and the entry is %s: %v", g.party, r.Seq, e.State, e.Refusal)
		}
		return
	}
	recorded, _ := time.Parse(ledger.TimeFormat, r.Header.Get(ledger.HeaderTime))
	is := e.Receipt
	if e.State != producers.InLedger || is.Seq != r.Seq || !is.Time.Equal(recorded) || is.ID != e.ID || is.Incarnation != w.log.Incarnation(r.Seq) {
		w.find("%s: an event is at %d, and the entry is %s with %+v", g.party, r.Seq, e.State, is)
	}
}

// checkOrder: the words of one party about one batch are in the order of keeping.
// What a desk said too may have come first.
func (w *world) checkOrder(records []ledger.Record) {
	at := make(map[ledger.ID]ledger.Seq)
	for _, r := range records {
		id, _ := ledger.ParseID(r.Header.Get(ledger.HeaderID))
		at[id] = r.Seq
	}
	for _, g := range w.gateways {
		last := make(map[string]*word)
		for _, word := range g.accepted {
			if word.desk {
				continue
			}
			batch := word.Report.Batch
			if before := last[batch]; before != nil && at[before.id] > at[word.id] {
				w.find("%s of %s was kept before %s and is behind it, at %d", before.Report.Slip, g.party, word.Report.Slip, at[before.id])
			}
			last[batch] = word
		}
	}
}

// A model is the naive one of all batches, as far as it has read the log.
type model struct {
	books map[string]*book
	head  ledger.Seq
}

func newModel(batches []string) *model {
	m := &model{books: make(map[string]*book)}
	for _, batch := range batches {
		m.books[batch] = new(book)
	}
	return m
}

// read reads what is new, and judges each alert at its place.
func (m *model) read(w *world) {
	for r, err := range w.log.Read(w.background(), m.head+1, w.head()) {
		if err != nil {
			w.find("read the log: %v", err)
			return
		}
		m.head = r.Seq
		e, err := ledger.Decode(r)
		if err != nil {
			w.find("event %d: %v", r.Seq, err)
			continue
		}
		b, wrong := m.books[e.Subject.Aggregate], ""
		switch e.Kind() {
		case ledger.AlertRaised:
			wrong = b.raise(e)
		case ledger.AlertClosed:
			wrong = b.close(e)
		default:
			b.hear(e)
		}
		if wrong != "" {
			w.find("%s at %d about the %s of %s is %s", e.Kind(), e.Seq, e.Content.Side, e.Content.Hop, wrong)
		}
	}
}

// checkCustody holds the projection against the model, and against a fold of the
// same words in another order.
func (w *world) checkCustody(records []ledger.Record) {
	var custody projections.Custody
	var words []ledger.Event
	for _, r := range records {
		e, err := ledger.Decode(r)
		custody.Apply(&e, err)
		if e.Kind().Stage() != "alert" {
			e.Time = testenv.Start // orders differ in when things came true
			words = append(words, e)
		}
	}
	for _, b := range custody.State().Batches() {
		if is, should := places(custody.Judge(b)), w.model.books[b.ID].custody(); is != should {
			w.find("batch %s: items are with %s, and should be with %s", b.ID, is, should)
		}
	}
	if one, two := Content(words), Content(Shuffle(w.random, words)); one != two {
		w.find("one order gives\n%s\nanother gives\n%s", one, two)
	}
}

// places writes down where each item is, as the model does.
func places(j *ledger.Judgement) string {
	if len(j.Items) == 0 {
		return ""
	}
	var s strings.Builder
	for n := range j.Items.All {
		for place, held := range j.Custody() {
			if held.Contains(n) {
				fmt.Fprint(&s, place)
			}
		}
	}
	return s.String()
}

// Shuffle returns the same words in another order, in which each party keeps its
// own for each batch.
func Shuffle(random *rand.Rand, words []ledger.Event) []ledger.Event {
	lanes := make(map[string][]ledger.Event)
	var order []string // each lane as often as it has words
	for _, e := range words {
		key := string(e.Author) + " " + e.Subject.Aggregate
		lanes[key] = append(lanes[key], e)
		order = append(order, key)
	}
	random.Shuffle(len(order), func(i, k int) { order[i], order[k] = order[k], order[i] })
	shuffled := make([]ledger.Event, len(words))
	for i, key := range order {
		shuffled[i], lanes[key] = lanes[key][0], lanes[key][1:]
		shuffled[i].Seq = ledger.Seq(i + 1)
	}
	return shuffled
}

// Content writes down what words amount to, as far as that does not depend on the
// order in which parties were on line: where every item is, what is said at every
// hop, and what is owed. Batches stand in the order of their names.
func Content(words []ledger.Event) string {
	var custody projections.Custody
	for i := range words {
		custody.Apply(&words[i], nil)
	}
	return CustodyContent(&custody)
}

// CustodyContent is [Content] of a projection.
func CustodyContent(custody *projections.Custody) string {
	batches := slices.Clone(custody.State().Batches())
	slices.SortFunc(batches, func(a, b *ledger.Batch) int { return strings.Compare(a.ID, b.ID) })
	var s strings.Builder
	for _, b := range batches {
		j := custody.Judge(b)
		fmt.Fprintf(&s, "%s %v", b.ID, places(j))
		for i := range j.Hops {
			h := &j.Hops[i]
			text, _ := json.Marshal([]any{h.Hop.Stage, h.Claimed, h.Heard, h.Confirmed, h.Acknowledged, h.InHouse, h.Basis, h.Grade})
			fmt.Fprintf(&s, "\n  %s", text)
		}
		for i := range j.Obligations {
			o := &j.Obligations[i]
			fmt.Fprintf(&s, "\n  %s %s %s %s by %s, contradicted %t", o.Hop, o.Side, o.Items, o.Due.Format(time.RFC3339), o.OwedBy, o.Contradiction != nil)
		}
		s.WriteByte('\n')
	}
	return s.String()
}
