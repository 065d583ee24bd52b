package story

import (
	"fmt"
	"strings"

	"todoke/ledger"
)

// A Fault is what goes wrong with the faulty batch: one of the constants.
type Fault string

// The faults.
const (
	NoFault       Fault = "none"
	ImportFault   Fault = "import"  // 終了 with nothing behind it
	PartialFault  Fault = "partial" // some items are not moved
	LateFault     Fault = "late"    // the notice is late, but in time
	ContentFault  Fault = "content" // right count, wrong content
	partialPrefix       = "partial:"
)

// ParseFault reads none, import, partial:ITEMS, late or content. Items are those
// that are not moved.
func ParseFault(s string) (Fault, ledger.Items, error) {
	if text, ok := strings.CutPrefix(s, partialPrefix); ok {
		items, err := ledger.ParseItems(text)
		if err != nil || len(items) == 0 {
			return "", nil, fmt.Errorf("fault %q: want partial:ITEMS, as in partial:17,3000-3004", s)
		}
		return PartialFault, items, nil
	}
	switch f := Fault(s); f {
	case NoFault, ImportFault, LateFault, ContentFault:
		return f, nil, nil
	}
	return "", nil, fmt.Errorf("fault %q: want none, import, partial:ITEMS, late or content", s)
}
