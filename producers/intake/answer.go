package intake

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"todoke/ledger"
	"todoke/producers"
)

// What a gateway objects to in a 登録.
const (
	ReasonNotSent = "対象外の通 (registered items that were never sent)"
	ReasonCount   = "件数不一致 (registered count differs from what was sent)"
	ReasonContent = "内容不一致 (registered root differs from what was sent)"
)

// Answer holds a 登録 against what the gateway sent: over exactly the items
// that the event names, or all when it names none, it computes count and root
// from the stored commitments. The report is import.confirmed when they are
// what the event says, with the basis that the event itself has, and
// import.disputed with the gateway's own count and root when not. Its slip is
// the event's id, so that one event has one answer.
//
// It is false for every event that is not the 登録 of a batch of this gateway,
// and for a bare number below what was sent, which may mean a part: whether it
// does is known from the claims, and the ledger's own judgement holds it
// against them. The error is [ErrDamaged] when the stored commitments do not give the stored
// root, or the disk's: then nothing is confirmed and nobody is accused.
func (g *Gateway) Answer(e ledger.Event) (producers.Report, bool, error) {
	if !g.concerns(e) {
		return producers.Report{}, false, nil
	}
	m, err := g.Manifest(e.Subject.Aggregate)
	if err != nil {
		return producers.Report{}, false, fmt.Errorf("answer 登録 of batch %s: %w", e.Subject.Aggregate, err)
	}
	named := e.Content.Items
	if len(named) == 0 && e.Content.Root.IsZero() && e.Content.Count < m.Count {
		return producers.Report{}, false, nil
	}
	sent := ledger.AllItems(int(m.Count))
	if len(named) == 0 {
		named = sent
	}
	own := named.Intersect(sent)
	if len(own) == 0 {
		own = sent
	}
	root, err := g.rootOver(m, own)
	if err != nil {
		return producers.Report{}, false, fmt.Errorf("answer 登録 of batch %s: %w", m.Batch, err)
	}
	r := producers.Report{
		Batch: m.Batch, Flow: e.Content.Flow, Slip: e.ID().String(),
		Items: own, Count: uint32(own.Count()), Root: root, Basis: ledger.BasisRoot,
	}
	return judged(r, e.Content, len(named.Minus(sent)) > 0), true, nil
}

// judged turns what the gateway holds into its answer to what was said.
func judged(own producers.Report, said ledger.Body, beyond bool) producers.Report {
	own.Kind = ledger.ImportDisputed
	switch {
	case beyond:
		own.Reason = ReasonNotSent
	case said.Count != own.Count:
		own.Reason = ReasonCount
	case !said.Root.IsZero() && said.Root != own.Root:
		own.Reason = ReasonContent
	default:
		own.Kind = ledger.ImportConfirmed
	}
	if own.Kind == ledger.ImportConfirmed && said.Root.IsZero() {
		// Nothing was said about content, so none is confirmed.
		own.Root, own.Basis = ledger.Root{}, ledger.BasisCount
		if len(said.Items) > 0 {
			own.Basis = ledger.BasisItems
		}
	}
	return own
}

// concerns reports whether e is the 登録 of a batch of this gateway.
func (g *Gateway) concerns(e ledger.Event) bool {
	return e.Kind() == ledger.ImportRegistered &&
		e.Subject.Municipality == g.config.Municipality && g.has(e.Subject.Aggregate)
}

// rootOver computes the root over some items of a batch from its commitments,
// and over all of them to know that they can be relied on.
func (g *Gateway) rootOver(m Manifest, items ledger.Items) (ledger.Root, error) {
	f, err := os.Open(g.folder.path(m.Batch, commitmentsFile))
	if err != nil {
		return ledger.Root{}, damaged(m.Batch, err)
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, chunk)
	var all, some ledger.RootBuilder
	for n := uint32(1); n <= m.Count; n++ {
		var c ledger.Commitment
		if _, err := io.ReadFull(in, c[:]); err != nil {
			return ledger.Root{}, damaged(m.Batch, err)
		}
		all.Add(c)
		if len(items) > 0 && n >= items[0].First {
			some.Add(c)
			if n == items[0].Last {
				items = items[1:]
			}
		}
	}
	if all.Root() != m.Root {
		return ledger.Root{}, damaged(m.Batch, errors.New("the commitments do not give the manifest's root"))
	}
	return some.Root(), nil
}
