package rule

import (
	"bytes"
	"fmt"

	"todoke/ledger"
)

// A History is which pack was in force at which sequence of a ledger. The zero
// value is that of a ledger in which none was published. It is for one
// goroutine.
type History struct{ published []published }

type published struct {
	seq  ledger.Seq
	pack *Pack
	text []byte // canonical
}

// Apply takes the next event of the ledger; events are given in the order of
// their sequences. It keeps the pack of a rules.published and passes over every
// other kind.
//
// It returns an error, and the pack before stays in force, when the pack cannot
// be read, has no table of holidays of its own, or has a version under which
// another text was published: a version names one text for ever.
func (h *History) Apply(e ledger.Event) error {
	if e.Kind() != ledger.RulesPublished {
		return nil
	}
	p, whole, err := parse(e.Content.Pack)
	if err != nil {
		return fmt.Errorf("rules published at %d: %w", e.Seq, err)
	}
	if !whole {
		return fmt.Errorf("rules published at %d: %s has no table of holidays: publish the text that Pack.Text gives", e.Seq, p.version)
	}
	next := published{e.Seq, p, p.Text()}
	for _, before := range h.published {
		if before.pack.version == p.version && !bytes.Equal(before.text, next.text) {
			return fmt.Errorf("rules published at %d: another text was published as %s at %d", e.Seq, p.version, before.seq)
		}
	}
	h.published = append(h.published, next)
	return nil
}

// At returns the pack in force at a sequence: the last one published at or
// before it, [Default] when there is none.
func (h *History) At(seq ledger.Seq) *Pack {
	for i := len(h.published) - 1; i >= 0; i-- {
		if h.published[i].seq <= seq {
			return h.published[i].pack
		}
	}
	return Default()
}

// Of returns the pack that a batch pinned: the last one for its flow that was
// published at or before its first event, [Default] when there is none.
func (h *History) Of(b *ledger.Batch) *Pack {
	for i := len(h.published) - 1; i >= 0; i-- {
		if p := h.published[i]; p.seq <= b.First && p.pack.Flow() == b.Flow {
			return p.pack
		}
	}
	return Default()
}
