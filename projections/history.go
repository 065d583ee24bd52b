package projections

import (
	"todoke/ledger"
)

// History is what was said, in order, of the batches that it is asked about.
type History struct {
	// Of selects the events to keep; nil keeps all.
	Of     func(e *ledger.Event) bool
	Events []EventRow
}

// Apply implements [View].
func (h *History) Apply(e *ledger.Event, err error) {
	if h.Of == nil || h.Of(e) {
		h.Events = append(h.Events, NewEventRow(e, err))
	}
}
