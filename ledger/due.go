package ledger

import (
	"slices"
	"time"
)

// An Obligation is a word that is owed: by a side of a hop, about a set of
// items, until a time. It is discharged by the word and by nothing else.
type Obligation struct {
	Stage string
	Side  Side
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

// Overdue reports whether somebody has to be told: the due time is past, or
// the word that came contradicts what was said before.
func (o *Obligation) Overdue(now time.Time) bool {
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
// overdue is then a question of the clock: [Obligation.Overdue].
func Due(b *Batch, rules Rules) []Obligation { return b.Judge(rules).Obligations }

// Next returns the earliest due time that lies ahead of now, and false when
// there is none. What is overdue at now is not ahead.
func (j *Judgement) Next(now time.Time) (time.Time, bool) {
	var next time.Time
	for i := range j.Obligations {
		o := &j.Obligations[i]
		if !o.Overdue(now) && (next.IsZero() || o.Due.Before(next)) {
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
	var passed layers // the last observed moment
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
		if d := j.Batch.Flow.Hop(a.Stage) - j.Batch.Flow.Hop(b.Stage); d != 0 {
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
		j.addObligation(Obligation{Stage: stage, Side: side, Deadline: due, Since: l.at, Items: missing})
	}
}

// addObligation adds o, or widens the obligation that has the same identity.
func (j *Judgement) addObligation(o Obligation) {
	for i := range j.Obligations {
		p := &j.Obligations[i]
		if p.Stage == o.Stage && p.Side == o.Side && p.Due.Equal(o.Due) {
			p.Items = p.Items.Union(o.Items)
			if o.Since.Before(p.Since) {
				p.Since = o.Since
			}
			return
		}
	}
	j.Obligations = append(j.Obligations, o)
}

// oweCorrections ties contradictions to the obligations that they leave open,
// and opens one, due at once, for words about items that cannot be theirs.
func (j *Judgement) oweCorrections() {
	for i := range j.Anomalies {
		a := &j.Anomalies[i]
		switch a.Code {
		case RootMismatch, CountMismatch, Disputed:
			for n := range j.Obligations {
				o := &j.Obligations[n]
				if o.Stage == a.Stage && o.Side != ClaimSide && len(o.Items.Intersect(a.Items)) > 0 {
					o.Contradiction = a
				}
			}
		case UnknownItems, SecondUpload:
			side := AcknowledgementSide
			if a.By.Role() == j.Batch.Flow.Hops[j.Batch.Flow.Hop(a.Stage)].From {
				side = ClaimSide
			}
			j.addObligation(Obligation{Stage: a.Stage, Side: side, Deadline: Deadline{Due: a.At},
				Since: a.At, Items: a.Items, OwedBy: string(a.By), Contradiction: a})
		}
	}
}

// describe fills in who owes, who claims and who holds.
func (j *Judgement) describe(o *Obligation, custody []Items) {
	k := j.Batch.Flow.Hop(o.Stage)
	h := &j.Hops[k]
	o.ClaimedBy, o.ClaimedAt = h.Claimant, h.ClaimedAt
	first := Items{{o.Items[0].First, o.Items[0].First}}
	for i, held := range custody {
		if len(first.Intersect(held)) > 0 {
			o.Holder = j.Holder(i)
		}
	}
	if o.OwedBy != "" {
		return
	}
	switch o.Side {
	case ClaimSide:
		o.OwedBy = j.Holder(k)
		o.Speaking = h.ClaimedAt.After(o.Since)
	case AcknowledgementSide:
		o.OwedBy = string(h.Hop.To)
		switch {
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
