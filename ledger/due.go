package ledger

import (
	"slices"
	"time"
)

// An Obligation is a word that is owed: by a side of a hop, about a set of
// items, until a time. It is discharged by the word and by nothing else.
type Obligation struct {
	Hop  string // its stage
	Side Side
	Deadline
	Since     time.Time // when it began to run
	Items     Items     // what the word is missing for
	OwedBy    string    // party, or role while no party of it has spoken
	ClaimedBy Party     // who says that it is done, "" for nobody
	ClaimedAt time.Time
	Holder    string // who provably holds the first of Items

	// Contradiction is the word that came in place of the one owed, nil when
	// none did. Such an obligation does not wait for its due time.
	Contradiction *Anomaly
	// Speaking is set when the party that owes the word has said something
	// about this hop since the obligation began to run.
	Speaking bool
}

// Late reports whether somebody has to be told: the due time is past, or
// the word that came contradicts what was said before.
func (o *Obligation) Late(now time.Time) bool {
	return now.After(o.Due) || o.Contradiction != nil
}

// Cause returns why an alert about o would be raised.
func (o *Obligation) Cause() Cause {
	if o.Contradiction != nil {
		return Contradict
	}
	return Absence
}

// Due returns the obligations of a batch under rules, in the order of hops,
// sides and due times. It is a pure function of what was said; whether one is
// late is then a question of the clock: [Obligation.Late].
func Due(b *Batch, rules Rules) []Obligation { return b.Judge(rules).Obligations }

// Next returns the earliest due time that lies ahead of now, and false when
// there is none. What is late at now is not ahead.
func (j *Judgement) Next(now time.Time) (time.Time, bool) {
	var next time.Time
	for i := range j.Obligations {
		o := &j.Obligations[i]
		if !o.Late(now) && (next.IsZero() || o.Due.Before(next)) {
			next = o.Due
		}
	}
	return next, !next.IsZero()
}

// owe derives the obligations. The moments of a flow form one chain: claim and
// acknowledgement of the first hop, of the second, and so on. Each observed
// moment is owed for the items that have passed the observed moment before it,
// from when they passed it. So an installation that watches only two moments
// still has a deadline between them.
func (j *Judgement) owe() {
	var passed layers // what has passed the last observed moment
	for k := range j.Hops {
		h := &j.Hops[k]
		stage := h.Hop.Stage
		if j.Rules.Observed(stage, ClaimSide) {
			j.oweSide(k, ClaimSide, passed, h.Claimed)
			j.oweSide(k, ClaimSide, h.early, h.Claimed.Union(union(passed)))
			passed = h.claims
		}
		if j.Rules.Observed(stage, AcknowledgementSide) {
			j.oweSide(k, AcknowledgementSide, passed, h.Heard)
			if j.Rules.Observed(stage, ConfirmationSide) {
				j.oweSide(k, ConfirmationSide, j.inHouse(h), h.Acknowledged)
			}
			passed = h.acks
		}
	}
	j.oweCorrections()
	custody := j.Custody()
	for i := range j.Obligations {
		j.describe(&j.Obligations[i], custody)
	}
	slices.SortStableFunc(j.Obligations, func(a, b Obligation) int {
		if d := j.Batch.Flow.Hop(a.Hop) - j.Batch.Flow.Hop(b.Hop); d != 0 {
			return d
		}
		if d := int(a.Side) - int(b.Side); d != 0 {
			return d
		}
		return a.Due.Compare(b.Due)
	})
}

// inHouse returns the layers of what was heard, for what then waits for an
// independent confirmation. Only claimed items wait: the others are owed a
// claim first, when claims are watched.
func (j *Judgement) inHouse(h *HopState) layers {
	claimed := h.Claimed
	if !j.Rules.Observed(h.Hop.Stage, ClaimSide) {
		claimed = h.Heard
	}
	var l layers
	for _, part := range h.heard {
		part.items = part.items.Intersect(claimed).Intersect(h.InHouse)
		l = append(l, part)
	}
	return l
}

// oweSide makes the obligations of one side: what has passed the moment
// before and is not done.
func (j *Judgement) oweSide(k int, side Side, passed layers, done Items) {
	stage := j.Hops[k].Hop.Stage
	for _, l := range passed {
		missing := l.items.Minus(done)
		if len(missing) == 0 {
			continue
		}
		due, _ := j.Rules.Deadline(stage, side, l.at)
		j.addObligation(Obligation{Hop: stage, Side: side, Deadline: due, Since: l.at, Items: missing})
	}
}

// addObligation adds o, or widens the obligation that has the same identity.
func (j *Judgement) addObligation(o Obligation) {
	for i := range j.Obligations {
		p := &j.Obligations[i]
		if p.Hop == o.Hop && p.Side == o.Side && p.Due.Equal(o.Due) {
			p.Items = p.Items.Union(o.Items)
			if o.Since.Before(p.Since) {
				p.Since = o.Since
			}
			if p.Contradiction == nil {
				p.Contradiction = o.Contradiction
			}
			return
		}
	}
	j.Obligations = append(j.Obligations, o)
}

// oweCorrections ties contradictions to the obligations that they leave open.
// One that leaves none open, because it came after the discharge or is about
// items that cannot be its speaker's, opens an obligation of its own: the speaker
// owes a correction, at once.
func (j *Judgement) oweCorrections() {
	open := len(j.Obligations) // those that were owed anyway
	for i := range j.Anomalies {
		a := &j.Anomalies[i]
		if !a.Code.contradicts() || j.corrected(a) {
			continue
		}
		tied := false
		for n := range open {
			o := &j.Obligations[n]
			if a.Code.spoils() && o.Hop == a.Hop && o.Side != ClaimSide && len(o.Items.Intersect(a.Items)) > 0 {
				tied = true
				if o.Contradiction == nil {
					o.Contradiction = a
				}
			}
		}
		if tied {
			continue
		}
		side := AcknowledgementSide
		if h, _, _ := j.Batch.Flow.HopOf(a.kind); a.kind == h.Claim {
			side = ClaimSide
		}
		j.addObligation(Obligation{Hop: a.Hop, Side: side, Deadline: Deadline{Due: a.At},
			Since: a.At, Items: a.Items, OwedBy: string(a.By), Contradiction: a})
	}
}

// spoils reports whether an anomaly is a word that came in place of the one that
// is owed.
func (c AnomalyCode) spoils() bool { return c == RootMismatch || c == CountMismatch || c == Disputed }

// contradicts reports whether an anomaly needs an answer of its own. The others
// leave the obligation open that they fail to discharge, and its due time
// alerts.
func (c AnomalyCode) contradicts() bool {
	return c.spoils() || c == UnknownItems || c == SecondUpload
}

// corrected reports whether a contradiction has had its answer: its speaker has
// since said the same kind of word about the items without contradiction. A
// dispute is answered as well by an acknowledgement with the root that the
// dispute asks for, or by the municipality's confirmation.
func (j *Judgement) corrected(a *Anomaly) bool {
	hop, _, _ := j.Batch.Flow.HopOf(a.kind)
	for i := range j.Batch.Words {
		w := &j.Batch.Words[i]
		if j.isAnomalous(w.Seq) {
			continue
		}
		covers := len(a.Items.Minus(w.Items)) == 0 || len(w.Items) == 0 || a.Code == UnknownItems
		later := w.Speaker == a.By && w.Seq > a.Said
		switch {
		case w.Kind == a.kind && later && covers,
			a.Code == Disputed && w.Kind == hop.Confirm && later && covers,
			a.Code == Disputed && w.Kind == hop.Ack && covers && !w.Root.IsZero() && w.Root == a.root:
			return true
		}
	}
	return false
}

// isAnomalous reports whether a word contradicts anything.
func (j *Judgement) isAnomalous(seq Seq) bool {
	return slices.ContainsFunc(j.Anomalies, func(a Anomaly) bool { return a.Said == seq && a.Code.contradicts() })
}

// describe fills in who owes, who claims and who holds.
func (j *Judgement) describe(o *Obligation, custody []Items) {
	k := j.Batch.Flow.Hop(o.Hop)
	h := &j.Hops[k]
	o.ClaimedBy, o.ClaimedAt = h.Claimant, h.ClaimedAt
	for i, held := range custody {
		if held.Contains(o.Items[0].First) {
			o.Holder = j.Holder(i, o.Items)
		}
	}
	if o.OwedBy != "" {
		return
	}
	switch o.Side {
	case ClaimSide:
		o.OwedBy = j.Holder(k, o.Items)
		o.Speaking = h.ClaimedAt.After(o.Since)
	case AcknowledgementSide:
		o.OwedBy = string(h.Hop.To)
		switch {
		case o.Contradiction != nil && o.Contradiction.By.Role() == h.Hop.To:
			o.OwedBy = string(o.Contradiction.By)
		case h.Acknowledger != "":
			o.OwedBy = string(h.Acknowledger)
		case k+1 < len(j.Hops) && j.Hops[k+1].Claimant != "":
			o.OwedBy = string(j.Hops[k+1].Claimant)
		}
		o.Speaking = !h.HeardAt.Before(o.Since) && !h.HeardAt.IsZero()
	case ConfirmationSide:
		o.OwedBy = string(Municipality) + ":" + j.Batch.Municipality
	}
}

// union returns the set that the layers make up.
func union(l layers) Items {
	var all Items
	for i := range l {
		all = all.Union(l[i].items)
	}
	return all
}
