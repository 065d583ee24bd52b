package ledger

import (
	"fmt"
	"slices"
	"time"
)

// An Alert is an alert as the ledger holds it: raised by one event, closed by
// another. Its identity is batch, stage, side, due time and reopen number; its
// items are what was missing when it was raised, and what is still missing of
// them is a question for the judgement.
type Alert struct {
	Hop       string // its stage
	Side      Side
	Due       time.Time
	Reopen    uint32
	Cause     Cause
	Items     Items
	Towns     []Town
	OwedBy    string
	ClaimedBy string
	ClaimedAt time.Time
	Holder    string
	Raised    Seq
	RaisedAt  time.Time
	Closed    Seq // 0 while it is open
	ClosedAt  time.Time
	Evidence  []Seq     // what closed it
	ProvedAt  time.Time // record time of the last of Evidence
}

// key is the identity of an alert within its batch.
func (a *Alert) key() string {
	return fmt.Sprintf("%s/%s/%d/%d", a.Hop, a.Side, a.Due.UnixNano(), a.Reopen)
}

// same reports whether both are about the same obligation.
func (a *Alert) same(hop string, side Side, due time.Time) bool {
	return a.Hop == hop && a.Side == side && a.Due.Equal(due)
}

// Open reports whether the alert has not been closed.
func (a *Alert) Open() bool { return a.Closed == 0 }

// LateBy returns how long after the due time the evidence came that closed the
// alert, 0 while it is open or when the evidence was in time. When the watchdog
// noticed does not count.
func (a *Alert) LateBy() time.Duration {
	if a.Open() {
		return 0
	}
	return max(0, a.ProvedAt.Sub(a.Due))
}

func raisedAlert(e *Event) Alert {
	c := &e.Content
	return Alert{Hop: c.Hop, Side: c.Side, Due: c.Due, Reopen: c.Reopen, Cause: c.Cause,
		Items: c.Items, Towns: c.Towns, OwedBy: c.OwedBy, ClaimedBy: c.ClaimedBy,
		ClaimedAt: c.ClaimedAt, Holder: c.Holder, Raised: e.Seq, RaisedAt: e.Time}
}

// closeAlert closes the alert that e is about. One that was never raised, or is
// closed already, stays as it is.
func (b *Batch) closeAlert(e *Event) {
	c := &e.Content
	for i := range b.Alerts {
		a := &b.Alerts[i]
		if a.same(c.Hop, c.Side, c.Due) && a.Reopen == c.Reopen && a.Open() {
			a.Closed, a.ClosedAt, a.Evidence = e.Seq, e.Time, c.Evidence
			a.ProvedAt = b.SaidAt(c.Evidence, e.Time)
		}
	}
}

// SaidAt returns the record time of the last of the given words, and otherwise
// when none of them is a word of the batch.
func (b *Batch) SaidAt(words []Seq, otherwise time.Time) time.Time {
	var at time.Time
	for i := range b.Words {
		if w := &b.Words[i]; slices.Contains(words, w.Seq) && w.Time.After(at) {
			at = w.Time
		}
	}
	if at.IsZero() {
		return otherwise
	}
	return at
}

// Missing returns what is still missing of the items of an alert. An
// acknowledgement by the claimant's own house is none until it is confirmed. An
// alert
// without items, because they did not fit in an event, is about all that is
// owed there. For an alert about an unreadable batch nothing is known, and the
// result is empty.
func (j *Judgement) Missing(a *Alert) Items {
	var owed Items
	for i := range j.Obligations {
		o := &j.Obligations[i]
		same := o.Side == a.Side || a.Side == AcknowledgementSide && o.Side == ConfirmationSide
		if o.Hop == a.Hop && same {
			owed = owed.Union(o.Items)
		}
	}
	if len(a.Items) == 0 {
		return owed
	}
	return a.Items.Intersect(owed)
}

// A Decision is an event about a batch that follows from what was said and
// from the time. It is appended against the head that it was decided on: if
// the batch has moved on, it is decided again and may have disappeared.
type Decision struct {
	Subject     Subject
	Head        Seq
	DocumentKey string
	Body        Body
}

// UnreadableHop stands in the place of the hop in an alert about a batch
// that cannot be judged.
const UnreadableHop = "batch"

// Decide returns the alerts that have to be raised or closed at now: one
// raised for every late obligation with items that no open alert is about, one
// closed for every open alert whose items are all accounted for. Applied and decided
// again at the same moment, it returns nothing: two watchdogs raise one alert.
func (j *Judgement) Decide(now time.Time) []Decision {
	b := j.Batch
	if b.Unreadable != 0 {
		return j.decideUnreadable()
	}
	var decisions []Decision
	for i := range b.Alerts {
		a := &b.Alerts[i]
		if a.Open() && len(j.Missing(a)) == 0 {
			decisions = append(decisions, j.decision(AlertClosed, a, j.evidence(a)))
		}
	}
	for i := range j.Obligations {
		o := &j.Obligations[i]
		if !o.Late(now) {
			continue
		}
		a := Alert{Hop: o.Hop, Side: o.Side, Due: o.Due, Cause: o.Cause(), Items: o.Items,
			Towns: j.Towns(o.Items), OwedBy: o.OwedBy, ClaimedBy: string(o.ClaimedBy),
			ClaimedAt: o.ClaimedAt, Holder: o.Holder}
		if j.told(o, &a) {
			continue
		}
		var evidence []Seq
		if c := o.Contradiction; c != nil {
			evidence = append(evidence, c.Said)
			if c.Other != 0 {
				evidence = append(evidence, c.Other)
			}
		}
		decisions = append(decisions, j.decision(AlertRaised, &a, evidence))
	}
	return decisions
}

// told reports whether open alerts are about every item of an obligation. When
// they are not, it leaves in a the items that nobody was told of, and the next
// reopen number.
func (j *Judgement) told(o *Obligation, a *Alert) bool {
	open := false
	for n := range j.Batch.Alerts {
		b := &j.Batch.Alerts[n]
		if !b.same(o.Hop, o.Side, o.Due) {
			continue
		}
		a.Reopen = max(a.Reopen, b.Reopen+1)
		if b.Open() {
			open = true
			a.Items = a.Items.Minus(b.Items)
			if len(b.Items) == 0 { // all of them, but too scattered to name
				a.Items = nil
			}
		}
	}
	a.Towns = j.Towns(a.Items)
	return open && len(a.Items) == 0
}

// decideUnreadable raises the one alert about a batch that cannot be judged.
func (j *Judgement) decideUnreadable() []Decision {
	b := j.Batch
	for i := range b.Alerts {
		if b.Alerts[i].Hop == UnreadableHop {
			return nil
		}
	}
	a := Alert{Hop: UnreadableHop, Due: b.UnreadableAt, Cause: Unreadable}
	return []Decision{j.decision(AlertRaised, &a, []Seq{b.Unreadable})}
}

// decision writes down an alert.
func (j *Judgement) decision(kind Kind, a *Alert, evidence []Seq) Decision {
	d := Decision{
		Subject:     Subject{j.Batch.Municipality, j.Batch.ID, kind},
		Head:        j.Batch.Head,
		DocumentKey: a.key(),
		Body: Body{
			Flow: j.Batch.Flow.Name, Hop: a.Hop, Side: a.Side, Due: a.Due, Reopen: a.Reopen,
			Cause: a.Cause, Items: a.Items, Count: uint32(a.Items.Count()), OwedBy: a.OwedBy,
			ClaimedBy: a.ClaimedBy, ClaimedAt: a.ClaimedAt, Holder: a.Holder, Evidence: evidence,
		},
	}
	// An alert must never fail for its size. Items too scattered to fit are
	// left out: the count stays, and the judgement still names them.
	if len(a.Items) > maxRanges {
		d.Body.Items = nil
	}
	if kind == AlertRaised && rangesOf(a.Towns) <= maxRanges {
		d.Body.Towns = a.Towns
	}
	return d
}

// maxRanges bounds the ranges of items, and again of towns, in an alert: at
// most ten bytes each, so that both fit in a body.
const maxRanges = MaxBody / 32

func rangesOf(towns []Town) int {
	n := 0
	for _, t := range towns {
		n += len(t.Items) + len(t.Name)/8
	}
	return n
}

// evidence finds the events that account for the items of an alert: the words
// that completed what was missing.
func (j *Judgement) evidence(a *Alert) []Seq {
	k := j.Batch.Flow.Hop(a.Hop)
	if k < 0 {
		return []Seq{j.Batch.Head}
	}
	h := &j.Hops[k]
	parts := h.acks
	if a.Side == ClaimSide {
		parts = h.claims
	}
	var evidence []Seq
	for _, l := range parts {
		if len(l.items.Intersect(a.Items)) > 0 && l.seq > a.Raised && len(evidence) < maxEvidence {
			evidence = append(evidence, l.seq)
		}
	}
	if len(evidence) == 0 { // a correction of what was acknowledged before
		evidence = []Seq{j.lastWord(a.Hop)}
	}
	return evidence
}

// lastWord returns the last word about a hop that contradicts nothing, or the
// head of the batch.
func (j *Judgement) lastWord(hop string) Seq {
	for i := len(j.Batch.Words) - 1; i >= 0; i-- {
		if w := &j.Batch.Words[i]; w.Kind.Stage() == hop && !j.isAnomalous(w.Seq) {
			return w.Seq
		}
	}
	return j.Batch.Head
}

// maxEvidence bounds the references that one event carries.
const maxEvidence = 64
