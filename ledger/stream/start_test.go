package stream_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"todoke/ledger"
	"todoke/ledger/stream"
	"todoke/testenv"
)

// starts returns the starts that a ledger records.
func starts(t *testing.T, r ledger.Reader) (bodies []ledger.Body) {
	t.Helper()
	for e := range decoded(t, r) {
		if e.Kind() == ledger.LedgerStarted {
			bodies = append(bodies, e.Content)
		}
	}
	return bodies
}

// decoded yields every event.
func decoded(t *testing.T, r ledger.Reader) func(func(ledger.Event) bool) {
	t.Helper()
	head, err := r.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return func(yield func(ledger.Event) bool) {
		for record, err := range r.Read(t.Context(), 1, head) {
			if err != nil {
				t.Fatal(err)
			}
			if e, err := ledger.Decode(record); err != nil || !yield(e) {
				return
			}
		}
	}
}

func TestEachStartThatAppendsIsAnIncarnation(t *testing.T) {
	clock := testenv.NewClock()
	cfg := config(t, t.TempDir())
	cfg.Now = clock.Now
	l := open(t, cfg)
	first := appendTo(t, l, claim(t, l, "first"))
	closeLedger(t, l)

	l = open(t, cfg) // reads, and writes nothing
	if h := head(t, l); h != first.Seq || first.Incarnation != 1 {
		t.Errorf("head is %d behind %+v", h, first)
	}
	closeLedger(t, l)

	clock.Advance(time.Hour)
	l = open(t, cfg)
	again := appendTo(t, l, claim(t, l, "first"))
	second := appendTo(t, l, claim(t, l, "second"))
	if !again.Duplicate || again.Incarnation != 1 || second.Incarnation != 2 || second.Seq != first.Seq+2 {
		t.Errorf("receipts are %+v and %+v", again, second)
	}
	closeLedger(t, l)

	clock.Advance(time.Hour)
	l = open(t, cfg)
	for range 2 {
		if err := l.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	have := starts(t, l)
	want := []ledger.Body{
		{Municipality: ledger.National, Aggregate: "ledger-2", Incarnation: 2, Previous: 1, Head: first.Seq, Since: first.Time},
		{Municipality: ledger.National, Aggregate: "ledger-3", Incarnation: 3, Previous: 2, Head: second.Seq, Since: second.Time},
	}
	if len(have) != len(want) {
		t.Fatalf("%d starts, want %d", len(have), len(want))
	}
	for i := range want {
		if b := have[i]; b.Incarnation != want[i].Incarnation || b.Previous != want[i].Previous || b.Head != want[i].Head ||
			!b.Since.Equal(want[i].Since) || b.Aggregate != want[i].Aggregate {
			t.Errorf("start %d is\n%+v, want\n%+v", i, b, want[i])
		}
	}
	testenv.CheckLedger(t, l)
}

// TestSignOfLifeSaysSinceWhenNobodyWasThere: a ledger that was idle was not down.
func TestSignOfLifeSaysSinceWhenNobodyWasThere(t *testing.T) {
	clock := testenv.NewClock()
	cfg := config(t, t.TempDir())
	cfg.Now = clock.Now
	l := open(t, cfg)
	closeLedger(t, l)
	alive := testenv.Start.Add(time.Hour)
	if err := os.Chtimes(filepath.Join(cfg.Dir, "lock"), alive, alive); err != nil {
		t.Fatal(err)
	}
	clock.Advance(90 * time.Minute)
	l = open(t, cfg)
	appendTo(t, l, claim(t, l, "slip"))
	if have := starts(t, l); len(have) != 1 || !have[0].Since.Equal(alive) {
		t.Errorf("starts are %+v, want one since %s", have, alive)
	}
}

func TestHistoryIsTheEventsOfOneAggregate(t *testing.T) {
	l := open(t, config(t, t.TempDir()))
	for _, slip := range []string{"a", "b", "c"} {
		appendTo(t, l, claim(t, l, slip))
		appendTo(t, l, testenv.Claim(t, l.ID(), "131229-20151005-0043", slip, items))
	}
	var have []ledger.Seq
	for r, err := range l.History(t.Context(), "131229", batch) {
		if err != nil {
			t.Fatal(err)
		}
		have = append(have, r.Seq)
	}
	if !slices.Equal(have, []ledger.Seq{3, 5, 7}) {
		t.Errorf("history is at %v, want 3, 5 and 7", have)
	}
	for range l.History(t.Context(), "131229", "131229-20151005-0044") {
		t.Error("an empty batch has a history")
	}
}

func TestAttemptToUseAnIDAgainIsRecordedOnce(t *testing.T) {
	l := open(t, config(t, t.TempDir()))
	appendTo(t, l, claim(t, l, "slip"))
	for n := range ledger.Seq(3) {
		_, err := l.Append(t.Context(), testenv.Claim(t, l.ID(), batch, "slip", ledger.Items{{First: 1, Last: uint32(n + 1)}}))
		if !errors.Is(err, ledger.ErrIDReused) {
			t.Fatalf("error is %v, want ErrIDReused", err)
		}
	}
	var have []ledger.Body
	for e := range decoded(t, l) {
		if e.Kind() == ledger.AccessRecorded {
			have = append(have, e.Content)
		}
	}
	if len(have) != 1 || have[0].Who != "municipality:131229" || have[0].Reason != "id-reused" || have[0].Aggregate != "access-20151005" {
		t.Errorf("recorded is %+v", have)
	}
	testenv.CheckLedger(t, l)
}

// TestChangedStreamStopsTheLedger changes the stream while it is served.
func TestChangedStreamStopsTheLedger(t *testing.T) {
	l := open(t, config(t, t.TempDir()))
	ended := make(chan error, 1)
	go func() { ended <- l.Run(t.Context()) }()
	update(t, l, maxMsgs(1000))
	if err := <-ended; !errors.Is(err, ledger.ErrDrift) {
		t.Fatalf("error is %v, want ErrDrift", err)
	}
	if _, err := l.Append(t.Context(), claim(t, l, "slip")); !errors.Is(err, ledger.ErrDrift) {
		t.Errorf("append: error is %v, want ErrDrift", err)
	}
	update(t, l, maxMsgs(-1))
	if _, err := l.Append(t.Context(), claim(t, l, "slip")); !errors.Is(err, ledger.ErrDrift) {
		t.Errorf("append after it was changed back: error is %v, want ErrDrift", err)
	}
	testenv.CheckLedger(t, l)
}

func TestStoreOfANewerVersionIsRefused(t *testing.T) {
	cfg := config(t, t.TempDir())
	l := open(t, cfg)
	update(t, l, newer)
	closeLedger(t, l)
	refused(t, cfg, ledger.ErrNewer, "format 2")
}

func maxMsgs(n int64) func(*jetstream.StreamConfig) {
	return func(c *jetstream.StreamConfig) { c.MaxMsgs = n }
}

func newer(c *jetstream.StreamConfig) { c.Metadata["todoke-format"] = "2" }

// TestUnfinishedStoreIsMadeAnew: a crash between two files of the stream leaves a
// store that the broker serves once and does not find again.
func TestUnfinishedStoreIsMadeAnew(t *testing.T) {
	cfg := config(t, t.TempDir())
	good := cfg
	cfg.Party = "nobody" // ends the making after the stream
	refused(t, cfg, ledger.ErrRefused)
	sums, err := filepath.Glob(filepath.Join(cfg.Dir, "jetstream", "*", "streams", stream.Name, "meta.sum"))
	if err != nil || len(sums) != 1 {
		t.Fatalf("sums are %v, %v", sums, err)
	}
	if err := os.Remove(sums[0]); err != nil {
		t.Fatal(err)
	}
	l := open(t, good)
	receipt := appendTo(t, l, claim(t, l, "slip"))
	closeLedger(t, l)
	l = open(t, good)
	if again := appendTo(t, l, claim(t, l, "slip")); !again.Duplicate || again.Seq != receipt.Seq {
		t.Errorf("receipt is %+v, it was %+v", again, receipt)
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, "making")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still being made: %v", err)
	}
	testenv.CheckLedger(t, l)
}
