package ledger

import "time"

// JST is the zone in which screens print times and calendars count days. It is
// fixed: Japan has no daylight saving, and no table of zones is needed.
var JST = time.FixedZone("JST", 9*60*60)

// Rules are what one version of a rule pack says. They are data to the fold:
// ledger/rule reads them from the pack that the ledger itself holds.
type Rules interface {
	// Version names the pack, as default/1.
	Version() string

	// Observed reports whether this installation watches a side of a hop.
	Observed(stage string, side Side) bool

	// Deadline returns when the word that a side of a hop owes is due, when
	// it has been owed since from. Observed is false when this installation
	// does not watch that side: nothing is then owed and nothing alerts.
	Deadline(stage string, side Side, from time.Time) (due Deadline, observed bool)

	// Required returns the weakest basis and the lowest grade that an
	// acknowledgement at this stage needs to move custody.
	Required(stage string) (Basis, Grade)

	// Organisation returns the house that a party belongs to. Two parties of
	// one house cannot vouch for each other.
	Organisation(p Party) string
}

// A Deadline is a moment by which a word is due. A word at that very moment is
// in time.
type Deadline struct {
	Due time.Time
	// Provisional is set when the calendar is not official up to Due:
	// 暦未確定.
	Provisional bool
}
