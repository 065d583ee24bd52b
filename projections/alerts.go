package projections

import (
	"slices"
	"time"

	"todoke/ledger"
)

// An AlertRow is one alert.
type AlertRow struct {
	Municipality string       `json:"municipality"`
	Batch        string       `json:"batch"`
	Hop          string       `json:"hop"`
	Side         ledger.Side  `json:"side"`
	Cause        ledger.Cause `json:"cause"`
	Open         bool         `json:"open"`
	OwedBy       string       `json:"owed_by"`
	ClaimedBy    string       `json:"claimed_by"`
	Holder       string       `json:"holder"`
	Items        ledger.Items `json:"items"` // when it was raised
	Count        int          `json:"count"`
	Missing      ledger.Items `json:"missing_items"` // of Items, now
	MissingCount int          `json:"missing"`
	Towns        []TownRow    `json:"towns"`           // of Missing
	Since        *time.Time   `json:"since,omitempty"` // the word has been owed since; only while it is owed
	Speaking     bool         `json:"speaking"`        // it has said something since, but not this
	ClaimedAt    *time.Time   `json:"claimed_at,omitempty"`
	Due          time.Time    `json:"due"`
	RaisedAt     time.Time    `json:"raised_at"`
	Raised       ledger.Seq   `json:"raised_seq"`
	ClosedAt     *time.Time   `json:"closed_at,omitempty"`
	Closed       ledger.Seq   `json:"closed_seq,omitempty"`
	Evidence     []ledger.Seq `json:"evidence,omitempty"`
	LateByS      float64      `json:"late_by_s,omitempty"`
	Reopen       uint32       `json:"reopen"`
}

// Alerts returns every alert of every batch, the open ones first, each in the
// order of their due times.
func (c *Custody) Alerts() []AlertRow {
	rows := []AlertRow{}
	for _, b := range c.state.Batches() {
		if len(b.Alerts) == 0 {
			continue
		}
		j := c.Judge(b)
		for i := range b.Alerts {
			rows = append(rows, alertRow(j, &b.Alerts[i]))
		}
	}
	sortAlerts(rows)
	return rows
}

// soon is how long a watchdog may take with an alert that is due.
const soon = 10 * time.Second

// Unraised returns how many alerts are due at a time and were not raised: nobody
// watches, or whoever watches cannot write.
func (c *Custody) Unraised(now time.Time) (n int) {
	for _, b := range c.state.Batches() {
		for _, d := range c.Judge(b).Decide(now.Add(-soon)) {
			if d.Subject.Kind == ledger.AlertRaised {
				n++
			}
		}
	}
	return n
}

func alertRow(j *ledger.Judgement, a *ledger.Alert) AlertRow {
	row := AlertRow{Municipality: j.Batch.Municipality, Batch: j.Batch.ID, Hop: a.Hop, Side: a.Side, Cause: a.Cause,
		Open: a.Open(), OwedBy: a.OwedBy, ClaimedBy: a.ClaimedBy, Holder: a.Holder,
		Items: a.Items, Count: a.Items.Count(), ClaimedAt: moment(a.ClaimedAt), Due: a.Due,
		RaisedAt: a.RaisedAt, Raised: a.Raised, ClosedAt: moment(a.ClosedAt), Closed: a.Closed,
		Evidence: a.Evidence, LateByS: a.LateBy().Seconds(), Reopen: a.Reopen, Towns: []TownRow{}}
	if a.Open() {
		row.Missing = j.Missing(a)
		row.MissingCount = row.Missing.Count()
		row.Towns = townRows(j.Towns(row.Missing))
	}
	for i := range j.Obligations {
		if o := &j.Obligations[i]; o.Hop == a.Hop && o.Side == a.Side && o.Due.Equal(a.Due) {
			row.Since, row.Speaking = moment(o.Since), o.Speaking
		}
	}
	return row
}

func sortAlerts(rows []AlertRow) {
	slices.SortStableFunc(rows, func(a, b AlertRow) int {
		if a.Open != b.Open {
			if a.Open {
				return -1
			}
			return 1
		}
		return a.Due.Compare(b.Due)
	})
}
