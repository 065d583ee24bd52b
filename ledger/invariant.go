package ledger

import "fmt"

// Check asserts the invariants of a judgement (doc.go lists them by number)
// and returns the first that does not hold. It is run by the tests over random
// histories, by the checker that ends every test of a store, and by verify.
func (j *Judgement) Check() error {
	if j.Batch.Unreadable != 0 {
		return nil
	}
	for _, check := range []func() error{j.checkPartition, j.checkAcknowledged, j.checkObligations, j.checkSilence} {
		if err := check(); err != nil {
			return fmt.Errorf("batch %s: %w", j.Batch.ID, err)
		}
	}
	return nil
}

// checkPartition is I1 and I2: every item is with exactly one party.
func (j *Judgement) checkPartition() error {
	var sum Items
	n := 0
	for _, held := range j.Custody() {
		n += held.Count()
		sum = sum.Union(held)
	}
	if n != j.Items.Count() || !sum.Equal(j.Items) {
		return fmt.Errorf("I1: custody of %d items makes %d, batch has %d", n, sum.Count(), j.Items.Count())
	}
	onward := Items(nil) // what is with the acknowledger of hop k or further
	custody := j.Custody()
	for k := len(j.Hops) - 1; k >= 0; k-- {
		onward = onward.Union(custody[k+1])
		if back := j.Hops[k].Acknowledged.Intersect(j.Items).Minus(onward); len(back) > 0 {
			return fmt.Errorf("I2: %s: items %s were acknowledged and are with nobody from there on", j.Hops[k].Hop.Stage, back)
		}
	}
	return nil
}

// checkAcknowledged is I3: only a claim together with the next party's word
// moves custody.
func (j *Judgement) checkAcknowledged() error {
	for k := range j.Hops {
		h := &j.Hops[k]
		if extra := h.Acknowledged.Minus(h.Heard); len(extra) > 0 {
			return fmt.Errorf("I3: %s: items %s moved without an acknowledgement", h.Hop.Stage, extra)
		}
		if extra := h.Acknowledged.Minus(h.Claimed); len(extra) > 0 && j.Rules.Observed(h.Hop.Stage, ClaimSide) {
			return fmt.Errorf("I3: %s: items %s moved without a claim", h.Hop.Stage, extra)
		}
	}
	return nil
}

// checkObligations is I4: obligations are about something, and no two are the
// same.
func (j *Judgement) checkObligations() error {
	seen := make(map[string]bool)
	for i := range j.Obligations {
		o := &j.Obligations[i]
		key := (&Alert{Hop: o.Hop, Side: o.Side, Due: o.Due}).key()
		switch {
		case len(o.Items) == 0:
			return fmt.Errorf("I4: obligation %s is about nothing", key)
		case seen[key]:
			return fmt.Errorf("I4: obligation %s is there twice", key)
		case o.Due.Before(o.Since) || o.OwedBy == "":
			return fmt.Errorf("I4: obligation %s is due before it began, or owed by nobody", key)
		}
		seen[key] = true
	}
	return nil
}

// checkSilence is I5: an item that has passed an observed moment and not the
// last one has a running deadline.
func (j *Judgement) checkSilence() error {
	var first, last Items
	watched := false
	for k := range j.Hops {
		h := &j.Hops[k]
		if j.Rules.Observed(h.Hop.Stage, ClaimSide) {
			if !watched {
				first, watched = h.Claimed, true
			}
			last = h.Claimed
		}
		if j.Rules.Observed(h.Hop.Stage, AcknowledgementSide) {
			if !watched {
				first, watched = h.Acknowledged, true
			}
			last = h.Acknowledged
		}
	}
	var owed Items
	for i := range j.Obligations {
		owed = owed.Union(j.Obligations[i].Items)
	}
	if silent := first.Minus(last).Minus(owed); len(silent) > 0 {
		return fmt.Errorf("I5: items %s wait for nobody", silent)
	}
	return nil
}
