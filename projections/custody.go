package projections

import (
	"time"

	"todoke/ledger"
	"todoke/ledger/rule"
)

// Custody is where the items of every batch provably are. The zero value is
// ready.
type Custody struct {
	state ledger.State
	rules rule.History
	// BadPacks counts rule packs in the ledger that could not be read.
	BadPacks int
}

// Apply implements [View].
func (c *Custody) Apply(e *ledger.Event, err error) {
	if err == nil && c.rules.Apply(*e) != nil {
		c.BadPacks++
	}
	c.state.ApplyDecoded(e, err)
}

// State returns what was said. The caller must not change it.
func (c *Custody) State() *ledger.State { return &c.state }

// Judge returns the judgement of a batch under the rules that it pinned.
func (c *Custody) Judge(b *ledger.Batch) *ledger.Judgement { return b.Judge(c.rules.Of(b)) }

// A Status says in one word how a batch or a hop stands.
type Status string

// The statuses.
const (
	Complete     Status = "complete"     // every watched word has come
	Waiting      Status = "waiting"      // a word is owed and not yet due
	Late         Status = "late"         // a word is owed and past due
	Contradicted Status = "contradicted" // a word came and contradicts another
	Unreadable   Status = "unreadable"   // not judged
	NotObserved  Status = "not-observed" // nobody here watches it
	NotReached   Status = "not-reached"  // nothing was said and nothing is owed yet
)

// A BatchRow is one line of the list of batches.
type BatchRow struct {
	Municipality string     `json:"municipality"`
	Batch        string     `json:"batch"`
	Flow         string     `json:"flow"`
	Rules        string     `json:"rules"`
	Items        int        `json:"items"`
	Hop          string     `json:"hop"`    // of the last word
	Status       Status     `json:"status"` // the worst of its hops
	Missing      int        `json:"missing"`
	Holder       string     `json:"holder"` // of the largest part
	Due          *time.Time `json:"due,omitempty"`
	Provisional  bool       `json:"provisional,omitempty"` // Due rests on a calendar that is not official yet
	OpenAlerts   int        `json:"open_alerts"`
	AnomalyCount int        `json:"anomaly_count"`
	Events       int        `json:"events"`
	First        ledger.Seq `json:"first_seq"`
	Last         ledger.Seq `json:"last_seq"`
}

// A BatchDetail is everything that is known of one batch.
type BatchDetail struct {
	BatchRow
	Root      ledger.Root  `json:"root"`
	Towns     []TownRow    `json:"towns"`
	Custody   []HolderRow  `json:"custody"`
	Hops      []HopRow     `json:"hops"`
	Anomalies []AnomalyRow `json:"anomalies"`
	Alerts    []AlertRow   `json:"alerts"`
}

// A HopRow is one hop: what is said, and what is.
type HopRow struct {
	Hop            string       `json:"hop"`
	From           string       `json:"from"`
	To             string       `json:"to"`
	Status         Status       `json:"status"`
	Claimed        int          `json:"claimed"` // says
	ClaimedBy      string       `json:"claimed_by,omitempty"`
	ClaimedAt      *time.Time   `json:"claimed_at,omitempty"`
	Acknowledged   int          `json:"acknowledged"` // is
	AcknowledgedBy string       `json:"acknowledged_by,omitempty"`
	InHouse        int          `json:"in_house_only"`
	Basis          ledger.Basis `json:"basis"`
	Grade          ledger.Grade `json:"grade"`
	Missing        ledger.Items `json:"missing_items"`
	MissingCount   int          `json:"missing"`
	Towns          []TownRow    `json:"towns"` // of Missing
	Owed           []OwedRow    `json:"owed"`
}

// An OwedRow is one obligation.
type OwedRow struct {
	Side        ledger.Side  `json:"side"`
	By          string       `json:"by"`
	Items       ledger.Items `json:"items"`
	Count       int          `json:"count"`
	Towns       []TownRow    `json:"towns"` // of Items
	Since       time.Time    `json:"since"`
	Due         time.Time    `json:"due"`
	Provisional bool         `json:"provisional,omitempty"`
	Status      Status       `json:"status"`
	Speaking    bool         `json:"speaking"` // it has said something since, but not this
	Holder      string       `json:"holder"`
}

// A TownRow is a group of items of one town.
type TownRow struct {
	Name  string       `json:"name"`
	Count int          `json:"count"`
	Items ledger.Items `json:"items"`
}

// A HolderRow says what one party provably holds.
type HolderRow struct {
	Party string       `json:"party"`
	Count int          `json:"count"`
	Items ledger.Items `json:"items"`
}

// An AnomalyRow is one contradiction.
type AnomalyRow struct {
	Code  ledger.AnomalyCode `json:"code"`
	Hop   string             `json:"hop"`
	By    string             `json:"by"`
	At    time.Time          `json:"at"`
	Said  ledger.Seq         `json:"said_seq"`
	Other ledger.Seq         `json:"other_seq,omitempty"`
	Items ledger.Items       `json:"items"`
	Have  uint32             `json:"have,omitempty"`
	Want  uint32             `json:"want,omitempty"`
}

// Rows returns a line for every batch, in the order of their first events, as
// it stands at now.
func (c *Custody) Rows(now time.Time) []BatchRow {
	rows := make([]BatchRow, 0, len(c.state.Batches()))
	for _, b := range c.state.Batches() {
		rows = append(rows, batchRow(c.Judge(b), now))
	}
	return rows
}

// Detail returns everything about one batch, and false when the ledger does not
// know it.
func (c *Custody) Detail(municipality, batch string, now time.Time) (BatchDetail, bool) {
	b := c.state.Batch(municipality, batch)
	if b == nil {
		return BatchDetail{}, false
	}
	j := c.Judge(b)
	d := BatchDetail{BatchRow: batchRow(j, now), Root: j.Root, Towns: townRows(b.Towns),
		Custody: []HolderRow{}, Hops: []HopRow{}, Anomalies: []AnomalyRow{}, Alerts: []AlertRow{}}
	for k, held := range j.Custody() {
		if len(held) > 0 && len(j.Hops) > 0 {
			d.Custody = append(d.Custody, HolderRow{j.Holder(k, held), held.Count(), held})
		}
	}
	for k := range j.Hops {
		d.Hops = append(d.Hops, hopRow(j, k, now))
	}
	for _, a := range j.Anomalies {
		d.Anomalies = append(d.Anomalies, AnomalyRow{a.Code, a.Hop, string(a.By), a.At, a.Said, a.Other, a.Items, a.Have, a.Want})
	}
	for i := range b.Alerts {
		d.Alerts = append(d.Alerts, alertRow(j, &b.Alerts[i]))
	}
	return d, true
}

func batchRow(j *ledger.Judgement, now time.Time) BatchRow {
	b := j.Batch
	row := BatchRow{Municipality: b.Municipality, Batch: b.ID, Flow: b.Flow.Name, Rules: j.Rules.Version(),
		Items: j.Items.Count(), Status: Complete, AnomalyCount: len(j.Anomalies),
		Events: b.Events, First: b.First, Last: b.Head}
	if n := len(b.Words); n > 0 {
		row.Hop = b.Words[n-1].Kind.Stage()
	}
	if b.Unreadable != 0 {
		row.Status = Unreadable
	}
	var missing ledger.Items
	for i := range j.Obligations {
		o := &j.Obligations[i]
		row.Status = worse(row.Status, owedStatus(o, now))
		missing = missing.Union(o.Items)
		if row.Due == nil || o.Due.Before(*row.Due) {
			row.Due, row.Provisional = &o.Due, o.Provisional
		}
	}
	row.Missing = missing.Count()
	most := 0
	for k, held := range j.Custody() {
		if n := held.Count(); n > most {
			most, row.Holder = n, j.Holder(k, held)
		}
	}
	for i := range b.Alerts {
		if b.Alerts[i].Open() {
			row.OpenAlerts++
		}
	}
	return row
}

func hopRow(j *ledger.Judgement, k int, now time.Time) HopRow {
	h := &j.Hops[k]
	row := HopRow{Hop: h.Hop.Stage, From: string(h.Hop.From), To: string(h.Hop.To), Status: NotReached,
		Claimed: h.Claimed.Count(), ClaimedBy: string(h.Claimant), ClaimedAt: moment(h.ClaimedAt),
		Acknowledged: h.Acknowledged.Count(), AcknowledgedBy: string(h.Acknowledger),
		InHouse: h.InHouse.Count(), Basis: h.Basis, Grade: h.Grade, Owed: []OwedRow{}}
	if len(h.Acknowledged) > 0 {
		row.Status = Complete
	}
	if !h.Observed {
		row.Status = NotObserved
	}
	for i := range j.Obligations {
		o := &j.Obligations[i]
		if o.Hop != h.Hop.Stage {
			continue
		}
		status := owedStatus(o, now)
		row.Status = worse(row.Status, status)
		row.Missing = row.Missing.Union(o.Items)
		row.Owed = append(row.Owed, OwedRow{Side: o.Side, By: o.OwedBy, Items: o.Items, Count: o.Items.Count(), Towns: townRows(j.Towns(o.Items)),
			Since: o.Since, Due: o.Due, Provisional: o.Provisional, Status: status, Speaking: o.Speaking, Holder: o.Holder})
	}
	row.MissingCount = row.Missing.Count()
	row.Towns = townRows(j.Towns(row.Missing))
	return row
}

func owedStatus(o *ledger.Obligation, now time.Time) Status {
	switch {
	case o.Contradiction != nil:
		return Contradicted
	case o.Late(now):
		return Late
	}
	return Waiting
}

// worse returns the status that an operator has to hear of first.
func worse(a, b Status) Status {
	for _, s := range []Status{Unreadable, Contradicted, Late, Waiting} {
		if a == s || b == s {
			return s
		}
	}
	return a
}

func townRows(towns []ledger.Town) []TownRow {
	rows := make([]TownRow, len(towns))
	for i, t := range towns {
		rows[i] = TownRow{t.Name, int(t.Count), t.Items}
	}
	return rows
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
