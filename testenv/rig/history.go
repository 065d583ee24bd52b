package rig

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"todoke/ledger"
	"todoke/ledger/stream"
	"todoke/projections"
	"todoke/testenv"
)

// A history is what a ledger holds.
type history struct {
	at      map[ledger.ID]ledger.Seq
	starts  []ledger.Seq // incarnation n began at starts[n-1]
	raised  []ledger.Event
	acked   map[string]ledger.Seq // the first upload.received, by batch
	batches map[string]int        // events by batch
}

// open opens the ledger in this process, to be read. Nobody serves it.
func (h *house) open() *stream.Ledger {
	h.Helper()
	l, err := stream.Open(h.Context(), stream.Config{Dir: h.data, Now: time.Now, Rand: rand.Reader,
		Party: "operator:local", Key: testenv.Key(h, "operator:local")})
	if err != nil {
		h.Fatalf("open what is left: %v", err)
	}
	return l
}

// check looks at the ledger, which nobody serves: that it is sound, that every
// receipt is true, and that the program reads it as this process does. It returns
// what is there.
func (h *house) check() history {
	h.Helper()
	h.compareBatches()
	l := h.open()
	defer l.Close()
	testenv.CheckLedger(h, l)
	found := h.read(l)
	h.checkReceipts(found)
	return found
}

// checkReceipts looks that everything that has a receipt is where that says.
func (h *house) checkReceipts(found history) {
	h.Helper()
	for _, r := range h.receipts {
		if at, n := found.at[r.ID], found.incarnation(r.Seq); at != r.Seq || n != r.Incarnation {
			h.Errorf("event %s has a receipt for (%d, %d) and is at (%d, %d)", r.ID, r.Incarnation, r.Seq, n, at)
		}
	}
}

// compareBatches holds what todoke batches says against a fold of what todoke
// replay says.
func (h *house) compareBatches() {
	h.Helper()
	var custody projections.Custody
	var last ledger.Event
	for _, line := range h.ask("--json", "replay") {
		var row projections.EventRow
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			h.Fatalf("replay says %s: %v", line, err)
		}
		e, err := ledger.Decode(row.Record())
		if err != nil {
			h.Fatalf("event %d of replay: %v", row.Seq, err)
		}
		custody.Apply(&e, nil)
		last = e
	}
	var want []string
	for _, row := range custody.Rows(last.Time) {
		line, err := json.Marshal(row)
		if err != nil {
			h.Fatal(err)
		}
		want = append(want, string(line))
	}
	if got := h.ask("--json", "batches", "--at", fmt.Sprint(last.Seq)); !slices.Equal(got, want) {
		h.Errorf("batches says\n%s\na fold of replay says\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// read reads all that a ledger holds.
func (h *house) read(l ledger.Reader) history {
	h.Helper()
	head, err := l.Head(h.Context())
	if err != nil {
		h.Fatal(err)
	}
	found := history{at: make(map[ledger.ID]ledger.Seq), acked: make(map[string]ledger.Seq), batches: make(map[string]int)}
	for r, err := range l.Read(h.Context(), 1, head) {
		if err != nil {
			h.Fatal(err)
		}
		e, err := ledger.Decode(r)
		if err != nil {
			h.Fatal(err)
		}
		found.at[e.ID()] = r.Seq
		found.batches[e.Subject.Aggregate]++
		switch e.Kind() {
		case ledger.LedgerOpened, ledger.LedgerStarted:
			found.starts = append(found.starts, r.Seq)
		case ledger.AlertRaised:
			e.Record = r
			found.raised = append(found.raised, e)
		case ledger.UploadReceived:
			if found.acked[e.Subject.Aggregate] == 0 {
				found.acked[e.Subject.Aggregate] = r.Seq
			}
		}
	}
	return found
}

// checkAlerts looks that no alert is there twice, or was raised before its time,
// or after the word that it misses.
func (h *house) checkAlerts(found history) {
	h.Helper()
	type missed struct {
		batch, hop string
		side       ledger.Side
	}
	times := make(map[missed]int)
	for _, e := range found.raised {
		b, batch := e.Content, e.Subject.Aggregate
		if times[missed{batch, b.Hop, b.Side}]++; times[missed{batch, b.Hop, b.Side}] > 1 {
			h.Errorf("event %d raises the alert of %s, %s, a second time", e.Record.Seq, batch, b.Hop)
		}
		if e.Time.Before(b.Due) {
			h.Errorf("event %d, recorded at %s, raises an alert that is due at %s", e.Record.Seq, e.Time, b.Due)
		}
		if at := found.acked[batch]; at != 0 && at < e.Record.Seq {
			h.Errorf("event %d misses the word that stands at %d", e.Record.Seq, at)
		}
	}
}

// incarnation returns which start the event at seq belongs to.
func (f *history) incarnation(seq ledger.Seq) uint64 {
	n, exact := slices.BinarySearch(f.starts, seq)
	if exact {
		n++
	}
	return uint64(n)
}

// alerted reports whether an alert was raised for the batch.
func (f *history) alerted(batch string) bool {
	for _, e := range f.raised {
		if e.Subject.Aggregate == batch {
			return true
		}
	}
	return false
}
