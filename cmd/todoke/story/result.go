package story

import (
	"time"

	"todoke/ledger"
)

// A Result is what demo --json prints at the end.
type Result struct {
	Incident     string        `json:"incident"`
	Seed         uint64        `json:"seed"`
	Fault        string        `json:"fault"`
	Batches      int           `json:"batches"`
	Items        int           `json:"items"`
	Alerts       []ResultAlert `json:"alerts"`
	FalseAlerts  int           `json:"false_alerts"`
	MissedAlerts int           `json:"missed_alerts"`
	// TimeToDetect is from the claim of the first alert to the alert, in
	// seconds of the story; 0 without an alert.
	TimeToDetect     float64 `json:"time_to_detect_s"`
	RealTimeToDetect int     `json:"real_time_to_detect_days"`
}

// A ResultAlert is one alert as it was raised.
type ResultAlert struct {
	Batch        string       `json:"batch"`
	Hop          string       `json:"hop"`
	Side         string       `json:"side"`
	Cause        string       `json:"cause"`
	ClaimedBy    string       `json:"claimed_by"`
	OwedBy       string       `json:"owed_by"`
	Basis        string       `json:"basis"` // that the word owed must rest on
	Missing      int          `json:"missing"`
	MissingItems string       `json:"missing_items"`
	Towns        []ResultTown `json:"towns"`
	Holder       string       `json:"holder"`
	ClaimedAt    time.Time    `json:"claimed_at"`
	DueAt        time.Time    `json:"due_at"`
	RaisedAt     time.Time    `json:"raised_at"`
}

// A ResultTown is the missing items of one town.
type ResultTown struct {
	Name  string `json:"name"`
	Count uint32 `json:"count"`
	Items string `json:"items"`
}

// NewResult sums up a play from the events that it left in the ledger.
func NewResult(s *Story, p Play, seed uint64, fault string, rules ledger.Rules, events []ledger.Event) *Result {
	r := &Result{Incident: s.Incident, Seed: seed, Fault: fault, Batches: len(p.Batches), Items: p.Items,
		Alerts: []ResultAlert{}, RealTimeToDetect: s.RealDays}
	verdict := Judge(events, s.End)
	r.FalseAlerts, r.MissedAlerts = len(verdict.False), len(verdict.Missed)
	for _, e := range events {
		if e.Kind() != ledger.AlertRaised {
			continue
		}
		b := e.Content
		basis, _ := rules.Required(b.Hop)
		a := ResultAlert{Batch: e.Subject.Aggregate, Hop: b.Hop, Side: b.Side.String(), Cause: b.Cause.String(),
			ClaimedBy: b.ClaimedBy, OwedBy: b.OwedBy, Basis: basis.String(), Missing: int(b.Count),
			MissingItems: b.Items.String(), Towns: []ResultTown{}, Holder: b.Holder,
			ClaimedAt: b.ClaimedAt, DueAt: b.Due, RaisedAt: e.Time}
		for _, t := range b.Towns {
			a.Towns = append(a.Towns, ResultTown{t.Name, t.Count, t.Items.String()})
		}
		r.Alerts = append(r.Alerts, a)
	}
	if len(r.Alerts) > 0 {
		r.TimeToDetect = r.Alerts[0].RaisedAt.Sub(r.Alerts[0].ClaimedAt).Seconds()
	}
	return r
}
