package producers

import (
	"fmt"

	"todoke/ledger"
)

// A Report is what one party says about one batch. Only Kind and Batch are
// needed by every kind; the package comment says what is filled in.
type Report struct {
	Kind         ledger.Kind
	Municipality string // "" for the batch's own, which it must be anyway
	Batch        string // 131229-20151005-0042
	// Slip is the document key: what tells this report from another of the
	// same party, batch and kind, as the number of a slip or the keyed digest
	// of a file. It does not enter the ledger. "" makes a random one.
	Slip string

	Flow     string       // "" for notification-card/1
	Items    ledger.Items // what was done or received
	Count    uint32       // how many
	Root     ledger.Root  // over what the party actually holds of Items
	Basis    ledger.Basis // of an acknowledgement
	Grade    ledger.Grade // declared; 0 for what role, kind and basis carry
	Document ledger.Document
	Towns    []ledger.Town
	Posting  string
	Reason   string
	Speaker  ledger.Party // whose word it is, when this party only writes it down
}

// subject returns where the report belongs. Its errors are
// [ledger.ErrMalformed] and [ledger.ErrMismatch].
func (r Report) subject() (ledger.Subject, error) {
	b, err := ParseBatch(r.Batch)
	if err != nil {
		return ledger.Subject{}, err
	}
	if r.Municipality != "" && r.Municipality != b.Municipality {
		return ledger.Subject{}, fmt.Errorf("batch %s is not of municipality %.6q: %w", r.Batch, r.Municipality, ledger.ErrMismatch)
	}
	return ledger.Subject{Municipality: b.Municipality, Aggregate: r.Batch, Kind: r.Kind}, nil
}

// body returns the content of the event, with what follows from the rest
// filled in.
func (r Report) body() ledger.Body {
	b := ledger.Body{
		Flow: r.Flow, Speaker: r.Speaker, Items: r.Items, Count: r.Count, Root: r.Root,
		Basis: r.Basis, Grade: r.Grade, Document: r.Document, Towns: r.Towns,
		Posting: r.Posting, Reason: r.Reason,
	}
	if b.Flow == "" {
		b.Flow = ledger.NotificationCard.Name
	}
	claim := isClaim(b.Flow, r.Kind)
	if len(b.Items) == 0 && (claim || !b.Root.IsZero()) {
		b.Items = ledger.AllItems(int(b.Count))
	}
	if b.Count == 0 {
		b.Count = uint32(b.Items.Count())
	}
	if b.Basis == ledger.NoBasis && !claim {
		b.Basis = basisOf(b)
	}
	return b
}

// basisOf returns the strongest basis that the content can carry.
func basisOf(b ledger.Body) ledger.Basis {
	switch {
	case !b.Root.IsZero():
		return ledger.BasisRoot
	case len(b.Items) > 0:
		return ledger.BasisItems
	}
	return ledger.BasisCount
}

// isClaim reports whether k is a word about the speaker's own work.
func isClaim(flow string, k ledger.Kind) bool {
	f := ledger.FlowByName(flow)
	if f == nil {
		return false
	}
	for _, h := range f.Hops {
		if h.Claim == k {
			return true
		}
	}
	return false
}
