package ledger

// A moment is what has passed a side of a hop that is watched.
type moment struct {
	layers  layers
	claimed bool // by the claimant's own word, in its own order
}

// A claimant is who claims: whose word it is, and who wrote it down. The words of
// one claimant have an order of their own.
type claimant struct{ speaker, author Party }

// claims are what one claimant has said, in its own order.
type claims struct {
	parts []Items // each word
	sums  []int   // how many items all words up to this one are
	all   Items
}

func (c *claims) add(items Items) {
	c.parts = append(c.parts, items)
	c.all = c.all.Union(items)
	c.sums = append(c.sums, c.all.Count())
}

// upTo returns the items of the words up to the one whose sum is n, and false
// when there is none.
func (c *claims) upTo(n int) (Items, bool) {
	for i, sum := range c.sums {
		if sum == n {
			var all Items
			for _, part := range c.parts[:i+1] {
				all = all.Union(part)
			}
			return all, true
		}
	}
	return nil, false
}

// claimants collects what each claimant of a hop has said. Where nobody watches
// claims, what has passed the moment before stands in: it is what the next party
// is told to expect. Its parts only have an order when they are claims.
func (j *Judgement) claimants(h *HopState, watched bool, passed moment) map[claimant]*claims {
	spoken := make(map[claimant]*claims, 1)
	if !watched {
		from := &claims{}
		if passed.claimed {
			for _, l := range passed.layers {
				from.add(l.items)
			}
		} else if all := union(passed.layers); len(all) > 0 {
			from.add(all)
		}
		if len(from.parts) > 0 {
			spoken[claimant{speaker: Party(h.Hop.From)}] = from
		}
		return spoken
	}
	for i := range j.Batch.Words {
		w := &j.Batch.Words[i]
		if w.Kind != h.Hop.Claim {
			continue
		}
		who := claimant{w.Speaker, w.Author}
		if spoken[who] == nil {
			spoken[who] = &claims{}
		}
		spoken[who].add(j.within(w.Items))
	}
	return spoken
}

// within returns the items that the batch has. While nobody has declared it,
// every item may be in it.
func (j *Judgement) within(items Items) Items {
	if len(j.Items) == 0 {
		return items
	}
	return items.Intersect(j.Items)
}

// known is within, and makes an anomaly of the items that the batch has not.
func (j *Judgement) known(w *Word, items Items) Items {
	if len(j.Items) > 0 {
		if foreign := items.Minus(j.Items); len(foreign) > 0 {
			j.anomaly(UnknownItems, w, j.uploads[0].Seq, foreign)
		}
	}
	return j.within(items)
}

// force is how much an acknowledgement can do by itself.
type force uint8

const (
	weak      force = iota // basis below the required one: needs a confirmation that has it
	inHouse                // from the claimant's own house: needs any confirmation
	sufficing              // moves custody as soon as the items are claimed

	forces = iota
)

// A worth is what an acknowledgement is good for.
type worth struct {
	good  [forces]Items
	said  Items // speaks of these, good or not
	basis Basis
}

// weigh decides what an acknowledgement is good for.
func (j *Judgement) weigh(h *HopState, w *Word, spoken map[claimant]*claims) worth {
	v := worth{basis: w.Basis}
	var items Items
	switch {
	case w.Basis == BasisCount && len(w.Items) == 0:
		items, v.said = j.count(w, spoken)
	case w.Basis == BasisRoot:
		v.said = j.known(w, w.Items)
		items, v.basis = j.recomputed(w, v.said)
	default:
		v.said = j.known(w, w.Items)
		items = v.said
	}
	required, grade := j.Rules.Required(h.Hop.Stage)
	confirmable := h.Hop.Confirm != 0 && j.Rules.Observed(h.Hop.Stage, ConfirmationSide)
	house := j.sameHouse(h, w, items, spoken)
	free := items.Minus(house)
	switch {
	case len(items) == 0:
	case w.Grade < grade, !confirmable && (len(free) == 0 || v.basis < required):
		j.anomaly(WeakEvidence, w, 0, items)
	case v.basis < required:
		v.good[weak] = items
	default:
		v.good[sufficing] = free
		if confirmable {
			v.good[inHouse] = house
		}
	}
	return v
}

// count finds the claims that a bare number acknowledges: those, in the
// claimant's own order, whose sum is that number. A number that is above the
// batch, or below the sum and the sum of no claims, can never become right,
// whoever speaks next, and is an anomaly. Any other is early: the claimant owes
// the rest. A number that fits two claimants cannot be attributed to one.
func (j *Judgement) count(w *Word, spoken map[claimant]*claims) (items, said Items) {
	var all Items
	fits := 0
	for _, c := range spoken {
		if upTo, ok := c.upTo(int(w.Count)); ok {
			items = upTo
			fits++
		}
		all = all.Union(c.all)
	}
	above := len(j.Items) > 0 && int(w.Count) > j.Items.Count()
	switch {
	case fits == 1:
		return items, items
	case fits > 1:
		j.anomaly(SecondClaimant, w, 0, nil)
		return nil, nil
	case above || all.Count() > int(w.Count):
		if len(all) == 0 {
			all = j.Items
		}
		j.anomaly(CountMismatch, w, 0, all).Want = uint32(all.Count())
		return nil, nil
	}
	return nil, j.within(AllItems(int(w.Count)))
}

// recomputed holds a recomputed root against the one that the sender declared
// for the same items. A root over other items cannot be checked here: what
// remains is that each item was seen. While the sender has declared nothing,
// the root is good for nothing yet.
func (j *Judgement) recomputed(w *Word, said Items) (Items, Basis) {
	if len(j.Items) == 0 {
		return nil, NoBasis
	}
	u := j.uploadOf(w.Items)
	switch {
	case u == nil:
		return said, BasisItems
	case u.Root == w.Root:
		return said, BasisRoot
	}
	j.anomaly(RootMismatch, w, u.Seq, said)
	return nil, NoBasis
}

// uploadOf returns the upload that declared exactly these items, nil when none
// did.
func (j *Judgement) uploadOf(items Items) *Word {
	for _, u := range j.uploads {
		if u.Items.Equal(items) {
			return u
		}
	}
	return nil
}

// confirms reports whether a confirmation is independent, and agrees with what
// was declared and with the acknowledgements of the same items. One that was
// recomputed to another root agrees with none.
func (j *Judgement) confirms(h *HopState, w *Word, spoken map[claimant]*claims) bool {
	author := j.Rules.Organisation(w.Author)
	if author == j.Rules.Organisation(Party(h.Hop.To)) || len(j.sameHouse(h, w, w.Items, spoken)) > 0 {
		j.anomaly(WeakEvidence, w, 0, w.Items)
		return false
	}
	if u := j.uploadOf(w.Items); u != nil && !w.Root.IsZero() && u.Root != w.Root {
		j.anomaly(RootMismatch, w, u.Seq, w.Items)
		return false
	}
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

// sameHouse returns those of items for which a word is not independent: they were
// claimed by the house of its author or speaker, and by nobody else. Who holds the
// paper and counted it may be of the claimant's house, but has to say so itself.
// What nobody has claimed yet is taken as claimed by the claimant's role.
func (j *Judgement) sameHouse(h *HopState, w *Word, items Items, spoken map[claimant]*claims) Items {
	dependent := func(p Party) bool {
		house := j.Rules.Organisation(p)
		counted := w.Grade == PhysicalCount
		return house == j.Rules.Organisation(w.Speaker) && !counted ||
			w.Author != w.Speaker && house == j.Rules.Organisation(w.Author)
	}
	var own, others Items
	for who, c := range spoken {
		if dependent(who.speaker) {
			own = own.Union(c.all)
		} else {
			others = others.Union(c.all)
		}
	}
	if dependent(Party(h.Hop.From)) {
		own = own.Union(items.Minus(others))
	}
	return items.Intersect(own.Minus(others))
}
