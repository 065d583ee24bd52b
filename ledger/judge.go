package ledger

import (
	"slices"
	"time"
)

// A Judgement is what the words about a batch amount to under one version of
// the rules: who provably holds each item, who owes which word until when, and
// what contradicts what. It is a pure function of the words and the rules, and
// the same for every order of words that keeps each party's own order, but for
// the times at which something became true.
type Judgement struct {
	Batch *Batch
	Rules Rules
	Items Items // every item of the batch, as the sender declared it; empty while it has not
	Root  Root  // over Items, when one upload declared them all
	Hops  []HopState

	// Obligations are the words that are owed, in the order of hops, then of
	// sides, then of due times.
	Obligations []Obligation
	Anomalies   []Anomaly

	uploads []*Word // that declared Items
}

// A HopState is where one hop of a batch stands.
type HopState struct {
	Hop          Hop
	Observed     bool  // this installation watches at least one side of it
	Claimed      Items // somebody says that these are done
	Heard        Items // the next party says that it received these, on a sufficient basis
	Confirmed    Items // an independent party has confirmed these
	Acknowledged Items // claimed, heard and independent: the only set that moves custody
	Claimant     Party // who claimed last, "" for nobody
	Acknowledger Party // who acknowledged last, "" for nobody
	ClaimedAt    time.Time
	HeardAt      time.Time
	Basis        Basis // the weakest that Acknowledged rests on
	Grade        Grade // the lowest that Acknowledged rests on
	// InHouse are items that were heard only from the claimant's own house
	// and that nobody independent has confirmed: 社内確認のみ.
	InHouse Items

	claims layers // Claimed, as it grew
	heard  layers // Heard, as it grew
	acks   layers // Acknowledged, as it grew
	early  layers // said to be received before anybody claimed it
}

// A layer is the part of a set that one word added to it.
type layer struct {
	seq   Seq
	at    time.Time
	by    Party
	items Items
}

// layers are the parts of a set in the order in which they were added. They
// do not overlap.
type layers []layer

// add puts the part of items that is new to sum, the union of l, on top, and
// reports whether there was any.
func (l *layers) add(w *Word, items Items, sum *Items) bool {
	fresh := items.Minus(*sum)
	if len(fresh) == 0 {
		return false
	}
	*l = append(*l, layer{w.Seq, w.Time, w.Speaker, fresh})
	*sum = sum.Union(fresh)
	return true
}

// An Anomaly is a word that contradicts what was said before, or that cannot
// be what it says. It is recorded, shown and alerted, never refused.
type Anomaly struct {
	Code  AnomalyCode
	Hop   string // its stage
	Said  Seq    // the word that contradicts
	Other Seq    // the word that it contradicts, 0 for none
	By    Party
	At    time.Time
	Items Items  // the items that it is about
	Have  uint32 // the number that was said, for counts
	Want  uint32 // the number that was claimed, for counts

	kind Kind // of the word
	root Root // of the word
}

// AnomalyCode names a sort of anomaly in screens and JSON.
type AnomalyCode string

// The anomalies.
const (
	RootMismatch   AnomalyCode = "root-mismatch"    // recomputed content is not what the sender declared
	CountMismatch  AnomalyCode = "count-mismatch"   // a count that is not the number of anything claimed
	Disputed       AnomalyCode = "disputed"         // the municipality contradicts an acknowledgement
	UnknownItems   AnomalyCode = "unknown-items"    // items that the batch does not have
	SecondUpload   AnomalyCode = "second-upload"    // another content under the same batch
	SecondClaimant AnomalyCode = "second-claimant"  // a count cannot be attributed to one of two claimants
	WeakEvidence   AnomalyCode = "weak-evidence"    // basis or grade below what the rules require
	ClockAhead     AnomalyCode = "clock-ahead"      // the author's clock is ahead of the record time
	NotHeld        AnomalyCode = "claimed-not-held" // claimed by a party that does not provably hold it
)

// clockTolerance is how far an author's clock may be ahead without being an
// anomaly.
const clockTolerance = 5 * time.Minute

// Judge derives what the words of b amount to. It costs time in the number of
// words, of which a batch has at most MaxAggregate. A batch with an unreadable
// event is not judged: it has neither hops nor obligations.
func (b *Batch) Judge(rules Rules) *Judgement {
	j := &Judgement{Batch: b, Rules: rules}
	if b.Unreadable != 0 {
		return j
	}
	j.declare()
	j.Hops = make([]HopState, len(b.Flow.Hops))
	var passed moment
	for k := range j.Hops {
		passed = j.judgeHop(k, passed)
	}
	j.checkClocks()
	j.checkCustody()
	j.owe()
	return j
}

// declare finds the items of the batch and their root: the first upload, and
// later ones only for items that no earlier one declared.
func (j *Judgement) declare() {
	for i := range j.Batch.Words {
		w := &j.Batch.Words[i]
		if w.Kind != j.Batch.Flow.Hops[0].Claim {
			continue
		}
		again := slices.ContainsFunc(j.uploads, func(u *Word) bool { return u.Root == w.Root && u.Items.Equal(w.Items) })
		switch {
		case again:
		case len(w.Items.Intersect(j.Items)) > 0:
			j.anomaly(SecondUpload, w, j.uploads[0].Seq, w.Items)
		default:
			j.uploads = append(j.uploads, w)
			j.Items = j.Items.Union(w.Items)
		}
	}
	if len(j.uploads) == 1 { // parts have roots, the whole then has none
		j.Root = j.uploads[0].Root
	}
}

func (j *Judgement) anomaly(code AnomalyCode, w *Word, other Seq, items Items) *Anomaly {
	stage := w.Kind.Stage()
	j.Anomalies = append(j.Anomalies, Anomaly{Code: code, Hop: stage, Said: w.Seq, Other: other,
		By: w.Speaker, At: w.Time, Items: items, Have: w.Count, kind: w.Kind, root: w.Root})
	return &j.Anomalies[len(j.Anomalies)-1]
}

// judgeHop fills in the state of hop k. It takes what has passed the observed
// moment before the hop and returns what has passed the last one so far.
func (j *Judgement) judgeHop(k int, passed moment) moment {
	h := &j.Hops[k]
	h.Hop = j.Batch.Flow.Hops[k]
	claims := j.Rules.Observed(h.Hop.Stage, ClaimSide)
	h.Observed = claims || j.Rules.Observed(h.Hop.Stage, AcknowledgementSide)
	required, _ := j.Rules.Required(h.Hop.Stage)
	spoken := j.claimants(h, claims, passed)

	var good [forces]Items // heard so far, by force
	var confirmedWell, early Items
	for i := range j.Batch.Words {
		w := &j.Batch.Words[i]
		switch w.Kind {
		case h.Hop.Claim:
			if h.claims.add(w, j.known(w, w.Items), &h.Claimed) {
				h.Claimant, h.ClaimedAt = w.Speaker, w.Time
			}
		case h.Hop.Ack:
			h.HeardAt = w.Time
			v := j.weigh(h, w, spoken)
			for force, items := range v.good {
				good[force] = good[force].Union(items)
			}
			if h.heard.add(w, v.good[weak].Union(v.good[inHouse]).Union(v.good[sufficing]), &h.Heard) {
				h.Acknowledger = w.Speaker
				if len(v.good[sufficing]) > 0 {
					h.rest(v.basis, w.Grade)
				}
			}
			h.early.add(w, v.said.Minus(h.Claimed), &early)
		case h.Hop.Confirm:
			if !j.confirms(h, w, spoken) {
				continue
			}
			h.Confirmed = h.Confirmed.Union(w.Items)
			if w.Basis >= required {
				confirmedWell = confirmedWell.Union(w.Items)
			}
			h.rest(w.Basis, w.Grade)
		default:
			continue
		}
		done := good[sufficing].
			Union(good[inHouse].Intersect(h.Confirmed)).
			Union(good[weak].Intersect(confirmedWell))
		if claims {
			done = done.Intersect(h.Claimed)
		}
		h.acks.add(w, done, &h.Acknowledged)
	}
	h.InHouse = good[inHouse].Union(good[weak]).Minus(h.Acknowledged)
	j.disputes(h)
	switch {
	case j.Rules.Observed(h.Hop.Stage, AcknowledgementSide):
		return moment{h.acks, false}
	case claims:
		return moment{h.claims, true}
	}
	return passed
}

// rest lowers what the hop rests on to the weakest of its evidence.
func (h *HopState) rest(basis Basis, grade Grade) {
	if h.Basis == NoBasis || basis < h.Basis {
		h.Basis = basis
	}
	if h.Grade == Inferred || grade < h.Grade {
		h.Grade = grade
	}
}

// disputes makes an anomaly of every dispute, held against the last
// acknowledgement before it.
func (j *Judgement) disputes(h *HopState) {
	if h.Hop.Dispute == 0 {
		return
	}
	var ack Seq
	for i := range j.Batch.Words {
		switch w := &j.Batch.Words[i]; w.Kind {
		case h.Hop.Ack:
			ack = w.Seq
		case h.Hop.Dispute:
			j.anomaly(Disputed, w, ack, w.Items)
		}
	}
}

// checkClocks makes an anomaly of every author whose clock ran ahead. It
// extends no deadline: these rest on the record time.
func (j *Judgement) checkClocks() {
	for i := range j.Batch.Words {
		w := &j.Batch.Words[i]
		if w.Ahead {
			j.anomaly(ClockAhead, w, 0, nil)
		}
	}
}

// checkCustody makes an anomaly of what was claimed by a party that nobody has
// provably handed it to, at hops whose predecessor is watched.
func (j *Judgement) checkCustody() {
	for k := 1; k < len(j.Hops); k++ {
		before, h := &j.Hops[k-1], &j.Hops[k]
		if !j.Rules.Observed(before.Hop.Stage, AcknowledgementSide) {
			continue
		}
		for _, c := range h.claims {
			if missing := c.items.Minus(before.Acknowledged); len(missing) > 0 {
				j.Anomalies = append(j.Anomalies, Anomaly{Code: NotHeld, Hop: h.Hop.Stage, Said: c.seq,
					By: c.by, At: c.at, Items: missing})
			}
		}
	}
}

// Custody returns the items that a party provably holds, by place in the flow:
// Custody()[0] is with the sender, Custody()[k+1] with the acknowledger of hop
// k. The sets are disjoint and their union is Items.
func (j *Judgement) Custody() []Items {
	held := make([]Items, len(j.Hops)+1)
	rest := j.Items
	for k := len(j.Hops) - 1; k >= 0; k-- {
		held[k+1] = j.Hops[k].Acknowledged.Intersect(rest)
		rest = rest.Minus(held[k+1])
	}
	held[0] = rest
	return held
}

// Holder returns who provably holds items, which Custody says are at place k: the
// party that acknowledged the first of them.
func (j *Judgement) Holder(k int, items Items) string {
	if k == 0 {
		return string(Municipality) + ":" + j.Batch.Municipality
	}
	h := &j.Hops[k-1]
	for _, l := range h.heard {
		if len(items) > 0 && l.items.Contains(items[0].First) {
			return string(l.by)
		}
	}
	return string(h.Hop.To)
}

// Towns returns the towns of a set of items. Where the sender's groups were too
// scattered to name their items, only the whole batch has towns.
func (j *Judgement) Towns(items Items) []Town {
	if items.Equal(j.Items) {
		return j.Batch.Towns
	}
	var towns []Town
	for _, t := range j.Batch.Towns {
		if part := t.Items.Intersect(items); len(part) > 0 {
			towns = append(towns, Town{Name: t.Name, Items: part, Count: uint32(part.Count())})
		}
	}
	return towns
}
