package projections

import (
	"time"

	"todoke/ledger"
)

// An EventRow is one event as it is printed. With Header and Body it is the
// whole record: nothing that is stored is missing from it.
type EventRow struct {
	Seq          ledger.Seq    `json:"seq"`
	Time         *time.Time    `json:"time,omitempty"` // record time
	Sent         *time.Time    `json:"sent,omitempty"` // the author's clock
	Kind         string        `json:"kind,omitempty"`
	Municipality string        `json:"municipality,omitempty"`
	Aggregate    string        `json:"aggregate,omitempty"`
	Author       string        `json:"author,omitempty"`
	Speaker      string        `json:"speaker,omitempty"` // only of a transcription
	ID           string        `json:"id,omitempty"`
	Content      *ContentRow   `json:"content,omitempty"`
	Subject      string        `json:"subject"`
	Header       ledger.Header `json:"header"`
	Body         []byte        `json:"body"`            // msgpack, in base64
	Error        string        `json:"error,omitempty"` // why it could not be read
}

// A ContentRow is the content of an event with the names of its fields.
type ContentRow struct {
	Flow      string       `json:"flow,omitempty"`
	Items     ledger.Items `json:"items,omitempty"`
	Count     uint32       `json:"count,omitempty"`
	Root      string       `json:"root,omitempty"`
	Basis     ledger.Basis `json:"basis,omitempty"`
	Grade     ledger.Grade `json:"grade,omitempty"`
	Document  string       `json:"document,omitempty"`
	Towns     []TownRow    `json:"towns,omitempty"`
	Posting   string       `json:"posting,omitempty"`
	Reason    string       `json:"reason,omitempty"`
	Hop       string       `json:"hop,omitempty"`
	Side      ledger.Side  `json:"side,omitempty"`
	Due       *time.Time   `json:"due,omitempty"`
	Reopen    uint32       `json:"reopen,omitempty"`
	Cause     ledger.Cause `json:"cause,omitempty"`
	OwedBy    string       `json:"owed_by,omitempty"`
	ClaimedBy string       `json:"claimed_by,omitempty"`
	ClaimedAt *time.Time   `json:"claimed_at,omitempty"`
	Holder    string       `json:"holder,omitempty"`
	Evidence  []ledger.Seq `json:"evidence,omitempty"`
	Ledger    string       `json:"ledger,omitempty"`
	Story     string       `json:"story,omitempty"`
	Pack      string       `json:"pack,omitempty"`
}

// NewEventRow returns the row of an event; err is what [ledger.Decode] said of
// it.
func NewEventRow(e *ledger.Event, err error) EventRow {
	row := EventRow{Seq: e.Seq, Subject: e.Record.Subject, Header: e.Header, Body: e.Body}
	if err != nil {
		row.Error = err.Error()
		return row
	}
	row.Time, row.Sent = moment(e.Time), moment(e.Sent())
	row.Kind, row.Municipality, row.Aggregate = e.Kind().String(), e.Subject.Municipality, e.Subject.Aggregate
	row.Author, row.Speaker, row.ID = string(e.Author), string(e.Content.Speaker), e.ID().String()
	row.Content = contentRow(&e.Content)
	return row
}

func contentRow(b *ledger.Body) *ContentRow {
	row := &ContentRow{
		Flow: b.Flow, Items: b.Items, Count: b.Count, Root: b.Root.String(), Basis: b.Basis, Grade: b.Grade,
		Document: b.Document.Kind, Posting: b.Posting, Reason: b.Reason, Hop: b.Hop, Side: b.Side,
		Due: moment(b.Due), Reopen: b.Reopen, Cause: b.Cause, OwedBy: b.OwedBy, ClaimedBy: b.ClaimedBy,
		ClaimedAt: moment(b.ClaimedAt), Holder: b.Holder, Evidence: b.Evidence, Story: b.Story, Pack: string(b.Pack),
	}
	if len(b.Towns) > 0 {
		row.Towns = townRows(b.Towns)
	}
	if b.Ledger != (ledger.LedgerID{}) {
		row.Ledger = b.Ledger.String()
	}
	return row
}

// Record returns the record that the row was made of.
func (row *EventRow) Record() ledger.Record {
	return ledger.Record{Seq: row.Seq, Subject: row.Subject, Header: row.Header, Body: row.Body}
}
