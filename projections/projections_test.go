package projections_test

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"todoke/ledger"
	"todoke/producers"
	"todoke/projections"
	"todoke/testenv"
)

const batch = "131229-20151005-0042"

// said returns a log in which a batch was sent, received, said to be imported,
// and registered in part.
func said(t *testing.T) (*testenv.Log, *testenv.Clock) {
	clock := testenv.NewClock()
	log := testenv.NewLog(testenv.Config{T: t, Now: clock.Now})
	towns := []ledger.Town{{Name: "白鳥一丁目", Items: ledger.Items{{First: 1, Last: 60}}, Count: 60},
		{Name: "白鳥二丁目", Items: ledger.Items{{First: 61, Last: 100}}, Count: 40}}
	for _, w := range []struct {
		party ledger.Party
		r     producers.Report
	}{
		{"municipality:131229", producers.Report{Kind: ledger.UploadCompleted, Count: 100, Root: ledger.Root{1}, Document: ledger.Document{Kind: "file"}, Towns: towns}},
		{"relay:2", producers.Report{Kind: ledger.UploadReceived, Count: 100, Root: ledger.Root{1}}},
		{"relay:2", producers.Report{Kind: ledger.ImportCompleted, Count: 100}},
		{"registry:jlis", producers.Report{Kind: ledger.ImportRegistered, Items: ledger.Items{{First: 1, Last: 55}}}},
		{"municipality:131229", producers.Report{Kind: ledger.ImportConfirmed, Items: ledger.Items{{First: 1, Last: 55}}, Root: ledger.Root{2}}},
	} {
		p, err := producers.New(producers.Config{Log: log, Party: w.party, Key: testenv.Key(t, string(w.party)), Now: clock.Now, Rand: rand.Reader})
		if err != nil {
			t.Fatal(err)
		}
		w.r.Batch = batch
		if _, err := p.Report(t.Context(), w.r); err != nil {
			t.Fatal(err)
		}
		clock.Advance(time.Hour)
	}
	return log, clock
}

func run(t *testing.T, log ledger.Reader, to projections.Point, views ...projections.View) ledger.Seq {
	t.Helper()
	last, err := projections.Run(t.Context(), log, to, views...)
	if err != nil {
		t.Fatal(err)
	}
	return last
}

func TestCustodySaysWhatIsSaidAndWhatIs(t *testing.T) {
	log, _ := said(t)
	var custody projections.Custody
	run(t, log, projections.Point{}, &custody)
	d, ok := custody.Detail("131229", batch, testenv.Start.Add(20*time.Hour))
	if !ok {
		t.Fatal("the batch is not there")
	}
	h := d.Hops[1]
	if h.Hop != "import" || h.Claimed != 100 || h.Acknowledged != 55 || h.Missing.String() != "56-100" || h.Status != projections.Waiting {
		t.Errorf("import is %+v", h)
	}
	if len(h.Towns) != 2 || h.Towns[0].Items.String() != "56-60" || h.Towns[1].Count != 40 {
		t.Errorf("towns are %+v", h.Towns)
	}
	if len(d.Custody) != 2 || d.Custody[0].Party != "relay:2" || d.Custody[1].Party != "registry:jlis" || d.Custody[1].Count != 55 {
		t.Errorf("custody is %+v", d.Custody)
	}
	if d.Holder != "registry:jlis" || d.Missing != 100 || d.Due == nil || !d.Due.Equal(testenv.Start.Add(26*time.Hour)) {
		t.Errorf("row is %+v, due %v", d.BatchRow, d.Due)
	}
	if _, ok := custody.Detail("131229", "131229-20151005-0001", testenv.Start); ok {
		t.Error("a batch that nobody spoke of is there")
	}
}

func TestStatusIsAQuestionOfTheClock(t *testing.T) {
	log, _ := said(t)
	var custody projections.Custody
	run(t, log, projections.Point{}, &custody)
	for _, c := range []struct {
		after time.Duration
		want  projections.Status
	}{
		{26 * time.Hour, projections.Waiting}, // the due time itself is in time
		{26*time.Hour + 1, projections.Late},
	} {
		if got := custody.Rows(testenv.Start.Add(c.after))[0].Status; got != c.want {
			t.Errorf("after %s: %s, want %s", c.after, got, c.want)
		}
	}
}

func TestThePastIsTheSameViewsFedWithLess(t *testing.T) {
	log, _ := said(t)
	for _, c := range []struct {
		to   projections.Point
		last ledger.Seq
		hop  string
	}{
		{projections.Point{Seq: 1}, 1, "upload"},
		{projections.Point{Seq: 99}, 5, "import"},
		{projections.Point{Time: testenv.Start.Add(2 * time.Hour)}, 3, "import"},
		{projections.Point{Time: testenv.Start.Add(2*time.Hour - 1)}, 2, "upload"},
	} {
		var custody projections.Custody
		if last := run(t, log, c.to, &custody); last != c.last {
			t.Errorf("%+v: read up to %d, want %d", c.to, last, c.last)
		}
		if rows := custody.Rows(testenv.Start); len(rows) != 1 || rows[0].Hop != c.hop {
			t.Errorf("%+v: %+v", c.to, rows)
		}
	}
}

func TestReplayRowsHoldTheWholeRecord(t *testing.T) {
	log, _ := said(t)
	var history projections.History
	run(t, log, projections.Point{}, &history)
	var again projections.Custody
	for _, row := range history.Events {
		text, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		var back projections.EventRow
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		e, err := ledger.Decode(back.Record())
		again.Apply(&e, err)
	}
	var straight projections.Custody
	run(t, log, projections.Point{}, &straight)
	one, _ := json.Marshal(straight.Rows(testenv.Start))
	two, _ := json.Marshal(again.Rows(testenv.Start))
	if string(one) != string(two) {
		t.Errorf("a fold of the printed events says\n%s\nof the events themselves\n%s", two, one)
	}
}

func TestWhatCannotBeReadIsShownAndCounted(t *testing.T) {
	log, _ := said(t)
	log.Inject(ledger.Record{Subject: "ledger.v1.131229." + batch + ".upload.completed", Body: []byte{0xc1}})
	var custody projections.Custody
	var history projections.History
	run(t, log, projections.Point{}, &custody, &history)
	if n := len(custody.State().Quarantine); n != 1 {
		t.Errorf("%d records in quarantine", n)
	}
	if row := history.Events[5]; row.Error == "" || row.Seq != 6 {
		t.Errorf("row is %+v", row)
	}
	if rows := custody.Rows(testenv.Start); rows[0].Events != 5 {
		t.Errorf("the batch counts %d events", rows[0].Events)
	}
}

func TestAGapEndsTheReplay(t *testing.T) {
	log, _ := said(t)
	log.Lose(3)
	last, err := projections.Run(t.Context(), log, projections.Point{}, &projections.History{})
	if !errors.Is(err, ledger.ErrGap) || last != 2 {
		t.Errorf("read up to %d: %v", last, err)
	}
}

func TestAlertsShrinkWithWhatHasCome(t *testing.T) {
	log, clock := said(t)
	var before projections.Custody
	run(t, log, projections.Point{}, &before)
	if n := before.Unraised(clock.Now()); n != 0 {
		t.Errorf("%d alerts are due before anything is", n)
	}
	clock.Advance(48 * time.Hour)
	due := before.Unraised(clock.Now())
	for _, d := range before.Judge(before.State().Batches()[0]).Decide(clock.Now()) {
		record := testenv.Sign(t, log.ID(), ledger.Draft{Author: "watchdog", Subject: d.Subject, DocumentKey: d.DocumentKey, Body: d.Body, Sent: clock.Now()})
		if _, err := log.Append(t.Context(), record); err != nil {
			t.Fatal(err)
		}
	}
	var raised projections.Custody
	run(t, log, projections.Point{}, &raised)
	if left := raised.Unraised(clock.Now()); due == 0 || left != 0 {
		t.Errorf("%d alerts were due, %d after they were raised", due, left)
	}
	part := ledger.Items{{First: 56, Last: 99}}
	for party, r := range map[ledger.Party]producers.Report{
		"registry:jlis":       {Kind: ledger.ImportRegistered, Items: part},
		"municipality:131229": {Kind: ledger.ImportConfirmed, Items: part, Root: ledger.Root{3}},
	} {
		p, err := producers.New(producers.Config{Log: log, Party: party, Key: testenv.Key(t, string(party)), Now: clock.Now, Rand: rand.Reader})
		if err != nil {
			t.Fatal(err)
		}
		r.Batch = batch
		if _, err := p.Report(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	var after projections.Custody
	run(t, log, projections.Point{}, &after)
	found := false
	for _, a := range after.Alerts() {
		if a.Hop != "import" {
			continue
		}
		if a.Side != ledger.AcknowledgementSide {
			continue
		}
		found = true
		if !a.Open || a.Items.String() != "56-100" || a.Missing.String() != "100" || a.Towns[0].Name != "白鳥二丁目" {
			t.Errorf("alert is %+v", a)
		}
	}
	if !found {
		t.Error("no alert about the import")
	}
}
