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

	declared Seq // the first upload, 0 for none
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
	var passed layers
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
	var uploads []*Word
	for i := range j.Batch.Words {
		w := &j.Batch.Words[i]
		if w.Kind != j.Batch.Flow.Hops[0].Claim {
			continue
		}
		again := slices.ContainsFunc(uploads, func(u *Word) bool { return u.Root == w.Root && u.Items.Equal(w.Items) })
		switch {
		case again:
		case len(w.Items.Intersect(j.Items)) > 0:
			j.anomaly(SecondUpload, w, uploads[0].Seq, w.Items)
		default:
			uploads = append(uploads, w)
			j.Items = j.Items.Union(w.Items)
		}
	}
	if len(uploads) > 0 {
		j.declared = uploads[0].Seq
	}
	if len(uploads) == 1 { // parts have roots, the whole then has none
		j.Root = uploads[0].Root
	}
}

func (j *Judgement) anomaly(code AnomalyCode, w *Word, other Seq, items Items) *Anomaly {
	stage := w.Kind.Stage()
	j.Anomalies = append(j.Anomalies, Anomaly{Code: code, Hop: stage, Said: w.Seq, Other: other,
		By: w.Speaker, At: w.Time, Items: items, Have: w.Count, kind: w.Kind, root: w.Root})
	return &j.Anomalies[len(j.Anomalies)-1]
}

// force is how much an acknowledgement can do by itself.
type force uint8

const (
	nothing   force = iota
	weak            // basis below the required one: needs a confirmation that has it
	inHouse         // from the claimant's own house: needs any confirmation
	sufficing       // moves custody as soon as the items are claimed

	forces = iota
)

// A worth is what an acknowledgement is good for.
type worth struct {
	items Items // good for these
	said  Items // speaks of these, good or not
	basis Basis
	force force
}

// judgeHop fills in the state of hop k. It takes what has passed the observed
// moment before the hop and returns what has passed the last one so far.
func (j *Judgement) judgeHop(k int, passed layers) layers {
	h := &j.Hops[k]
	h.Hop = j.Batch.Flow.Hops[k]
	claims := j.Rules.Observed(h.Hop.Stage, ClaimSide)
	h.Observed = claims || j.Rules.Observed(h.Hop.Stage, AcknowledgementSide)
	required, _ := j.Rules.Required(h.Hop.Stage)
	spoken := j.claimsOf(h)
	if !claims && len(spoken) == 0 {
		spoken = handed(h.Hop.From, passed)
	}

	var good [forces]Items // heard so far, by force
	var confirmedWell, early Items
	for i := range j.Batch.Words {
		w := &j.Batch.Words[i]
		switch w.Kind {
		case h.Hop.Claim:
			h.Claimant, h.ClaimedAt = w.Speaker, w.Time
			h.claims.add(w, j.known(w, w.Items), &h.Claimed)
		case h.Hop.Ack:
			h.Acknowledger, h.HeardAt = w.Speaker, w.Time
			v := j.weigh(h, w, spoken)
			good[v.force] = good[v.force].Union(v.items)
			if h.heard.add(w, v.items, &h.Heard) && v.force == sufficing {
				h.rest(v.basis, w.Grade)
			}
			h.early.add(w, v.said.Minus(h.Claimed), &early)
		case h.Hop.Confirm:
			if !j.confirms(h, w) {
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
		return h.acks
	case claims:
		return h.claims
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

// claimsOf collects, in each claimant's own order, how far its claims had come
// after each of them. A count is held against these.
func (j *Judgement) claimsOf(h *HopState) map[Party][]Items {
	sums := make(map[Party][]Items, 1)
	for i := range j.Batch.Words {
		w := &j.Batch.Words[i]
		if w.Kind != h.Hop.Claim {
			continue
		}
		var sum Items
		if n := len(sums[w.Speaker]); n > 0 {
			sum = sums[w.Speaker][n-1]
		}
		sums[w.Speaker] = append(sums[w.Speaker], sum.Union(w.Items))
	}
	return sums
}

// handed stands in for claims where nobody watches them: all that has passed
// the moment before is what the next party is told to expect. The parts in
// which it passed do not count, since their order is that of the ledger.
func handed(from Role, passed layers) map[Party][]Items {
	if len(passed) == 0 {
		return nil
	}
	return map[Party][]Items{Party(from): {union(passed)}}
}

// known returns the items that the batch has, and makes an anomaly of the
// others. While nobody has declared the batch, every item may be in it.
func (j *Judgement) known(w *Word, items Items) Items {
	if len(j.Items) == 0 {
		return items
	}
	foreign := items.Minus(j.Items)
	if len(foreign) == 0 {
		return items
	}
	j.anomaly(UnknownItems, w, j.declared, foreign)
	return items.Intersect(j.Items)
}

// weigh decides what an acknowledgement is good for.
func (j *Judgement) weigh(h *HopState, w *Word, spoken map[Party][]Items) worth {
	v := worth{basis: w.Basis}
	switch {
	case w.Basis == BasisCount && len(w.Items) == 0:
		v.items, v.said = j.count(w, spoken)
	case w.Basis == BasisRoot:
		v.said = j.known(w, w.Items)
		v.items, v.basis = j.recomputed(w, v.said)
	default:
		v.said = j.known(w, w.Items)
		v.items = v.said
	}
	required, grade := j.Rules.Required(h.Hop.Stage)
	house := w.Grade != PhysicalCount && j.sameHouse(h, w, spoken)
	switch {
	case len(v.items) == 0:
	case w.Grade < grade, h.Hop.Confirm == 0 && (house || v.basis < required):
		j.anomaly(WeakEvidence, w, 0, v.items)
		v.items = nil
	case v.basis < required:
		v.force = weak
	case house:
		v.force = inHouse
	default:
		v.force = sufficing
	}
	return v
}

// count finds the claims that a bare number acknowledges: those, in the
// claimant's own order, whose sum is that number. A number below the sum that
// is the sum of no claims can never become right, whoever speaks next, and is
// an anomaly; a larger one is early: the claimant owes the rest.
func (j *Judgement) count(w *Word, spoken map[Party][]Items) (items, said Items) {
	if len(spoken) > 1 {
		j.anomaly(SecondClaimant, w, 0, nil)
		return nil, nil
	}
	var all Items
	for _, sums := range spoken {
		for _, sum := range sums {
			if sum.Count() == int(w.Count) {
				return sum, sum
			}
		}
		all = sums[len(sums)-1]
	}
	if all.Count() > int(w.Count) {
		a := j.anomaly(CountMismatch, w, 0, all)
		a.Want = uint32(all.Count())
		return nil, nil
	}
	return nil, AllItems(int(w.Count))
}

// recomputed holds a recomputed root against the one that the sender declared
// for the same items. A root over other items cannot be checked here: what
// remains is that each item was seen. While the sender has declared nothing,
// the root is good for nothing yet.
func (j *Judgement) recomputed(w *Word, said Items) (Items, Basis) {
	if len(j.Items) == 0 {
		return nil, NoBasis
	}
	for i := range j.Batch.Words {
		u := &j.Batch.Words[i]
		if u.Kind != j.Batch.Flow.Hops[0].Claim || !u.Items.Equal(w.Items) {
			continue
		}
		if u.Root == w.Root {
			return said, BasisRoot
		}
		j.anomaly(RootMismatch, w, u.Seq, said)
		return nil, NoBasis
	}
	return said, BasisItems
}

// confirms reports whether a confirmation agrees with the acknowledgements of
// the same items. One that was recomputed to another root agrees with none.
func (j *Judgement) confirms(h *HopState, w *Word) bool {
	var differs Seq
	for i := range j.Batch.Words {
		a := &j.Batch.Words[i]
		if a.Kind != h.Hop.Ack || a.Root.IsZero() || w.Root.IsZero() || !a.Items.Equal(w.Items) {
			continue
		}
		if a.Root == w.Root {
			return true
		}
		differs = a.Seq
	}
	if differs != 0 {
		j.anomaly(RootMismatch, w, differs, w.Items)
	}
	return differs == 0
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

// sameHouse reports whether author or speaker of an acknowledgement belong to
// a claimant's organisation. While nobody has claimed, the claimant's role
// stands in.
func (j *Judgement) sameHouse(h *HopState, w *Word, spoken map[Party][]Items) bool {
	house := func(claimant Party) bool {
		o := j.Rules.Organisation(claimant)
		return o == j.Rules.Organisation(w.Speaker) || o == j.Rules.Organisation(w.Author)
	}
	for claimant := range spoken {
		if house(claimant) {
			return true
		}
	}
	return len(spoken) == 0 && house(Party(h.Hop.From))
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

// Holder returns who provably holds what Custody says is at place k.
func (j *Judgement) Holder(k int) string {
	if k == 0 {
		return string(Municipality) + ":" + j.Batch.Municipality
	}
	h := &j.Hops[k-1]
	if n := len(h.acks); n > 0 && h.Acknowledger != "" {
		return string(h.Acknowledger)
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
