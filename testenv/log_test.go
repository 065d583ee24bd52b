package testenv_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"todoke/ledger"
	"todoke/testenv"
)

const batch = "131229-20151005-0042"

var items = ledger.Items{{First: 1, Last: 551}}

func TestMemoryLog(t *testing.T) {
	testenv.RunLog(t, func(t *testing.T, now func() time.Time) testenv.Opened {
		log := testenv.NewLog(testenv.Config{T: t, ID: ledger.LedgerID{1}, Now: now})
		return testenv.Opened{Log: log, Close: log.Close}
	})
}

// TestFaults sends a record into a fault and then again, as the contract
// allows, and looks where it ended.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name      string
		fault     testenv.Fault
		decision  bool
		first     error
		second    error
		duplicate bool
	}{
		{name: "not written", fault: testenv.NotWritten, first: ledger.ErrUnknown},
		{name: "written", fault: testenv.Written, first: ledger.ErrUnknown, duplicate: true},
		{name: "late", fault: testenv.Late, first: ledger.ErrUnknown, duplicate: true},
		{name: "unavailable", fault: testenv.Unavailable, first: ledger.ErrUnavailable},
		{name: "conflict of a decision", fault: testenv.Conflict, decision: true, first: ledger.ErrConflict},
		{name: "conflict passes a fact by", fault: testenv.Conflict, duplicate: true},
		{name: "fenced for ever", fault: testenv.Fenced, first: ledger.ErrFenced, second: ledger.ErrFenced},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := testenv.NewLog(testenv.Config{T: t})
			log.Arm(c.fault)
			send := func() (ledger.Receipt, error) {
				return log.Append(t.Context(), testenv.Claim(t, log.ID(), batch, "slip", items))
			}
			if c.decision {
				send = func() (ledger.Receipt, error) {
					return log.Decide(t.Context(), 0, testenv.Alert(t, log.ID(), batch, "slip", items))
				}
			}
			if _, err := send(); !errors.Is(err, c.first) {
				t.Fatalf("first attempt: %v, want %v", err, c.first)
			}
			receipt, err := send()
			if !errors.Is(err, c.second) || receipt.Duplicate != c.duplicate {
				t.Errorf("second attempt: %+v, %v; want duplicate %v, %v", receipt, err, c.duplicate, c.second)
			}
			if head, err := log.Head(t.Context()); err != nil || c.second == nil && head != 1 {
				t.Errorf("head is %d, %v; want 1", head, err)
			}
			testenv.CheckLedger(t, log)
		})
	}
}

func TestLateAttemptLosesItsPlaceToAnother(t *testing.T) {
	log := testenv.NewLog(testenv.Config{T: t})
	log.Arm(testenv.Late, testenv.Late)
	for _, slip := range []string{"a", "b", "c"} {
		_, _ = log.Append(t.Context(), testenv.Claim(t, log.ID(), batch, slip, items))
	}
	var have []string
	for r := range log.Read(t.Context(), 1, 2) {
		have = append(have, r.Header.Get(ledger.HeaderSalt))
	}
	a, c := testenv.Claim(t, log.ID(), batch, "a", items), testenv.Claim(t, log.ID(), batch, "b", items)
	if len(have) != 2 || have[0] != a.Header.Get(ledger.HeaderSalt) || have[1] != c.Header.Get(ledger.HeaderSalt) {
		t.Errorf("stored are %v: the first late attempt lands before the second, the second before the third", have)
	}
	testenv.CheckLedger(t, log)
}

// recorder is a testing.TB that remembers what was said to it.
type recorder struct {
	testing.TB
	said []string
}

func (r *recorder) Helper()                  {}
func (r *recorder) Context() context.Context { return context.Background() }
func (r *recorder) Error(args ...any)        { r.said = append(r.said, args[0].(error).Error()) }
func (r *recorder) Errorf(format string, _ ...any) {
	r.said = append(r.said, format)
}

func TestCallersAreScolded(t *testing.T) {
	for name, c := range map[string]struct {
		misbehave func(*testenv.Log) error
		said      string
	}{
		"for another body under an id in doubt": {func(log *testenv.Log) error {
			log.Arm(testenv.NotWritten)
			_, _ = log.Append(t.Context(), testenv.Claim(t, log.ID(), batch, "slip", items))
			_, err := log.Append(t.Context(), testenv.Claim(t, log.ID(), batch, "slip", ledger.Items{{First: 1, Last: 2}}))
			return err
		}, "another body"},
		"for a decision on an event that does not exist": {func(log *testenv.Log) error {
			_, err := log.Decide(t.Context(), 7, testenv.Alert(t, log.ID(), batch, "slip", items))
			return err
		}, "was decided on sequence 7"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{TB: t}
			err := c.misbehave(testenv.NewLog(testenv.Config{T: r}))
			if err == nil || len(r.said) != 1 || !strings.Contains(r.said[0], c.said) {
				t.Errorf("error is %v, the test heard %q", err, r.said)
			}
		})
	}
}

func TestCheckLedgerFindsDamage(t *testing.T) {
	start := func(l *testenv.Log, incarnation, previous uint64, head ledger.Seq) {
		if _, err := l.Append(t.Context(), started(t, l.ID(), incarnation, previous, head)); err != nil {
			t.Fatal(err)
		}
	}
	for name, damage := range map[string]func(*testenv.Log){
		"a lost record":                     func(l *testenv.Log) { l.Lose(2) },
		"a lost last record":                func(l *testenv.Log) { l.Lose(4) },
		"an incarnation left out":           func(l *testenv.Log) { start(l, 4, 3, 4) },
		"an incarnation twice":              func(l *testenv.Log) { start(l, 2, 2, 4) },
		"a start after an older one":        func(l *testenv.Log) { start(l, 3, 1, 4) },
		"a start that found an older head":  func(l *testenv.Log) { start(l, 3, 2, 3) },
		"a start that lost what was behind": func(l *testenv.Log) { start(l, 3, 2, 5) },
		"a changed body":                    func(l *testenv.Log) { l.Corrupt(2, func(r *ledger.Record) { r.Body[10] ^= 1 }) },
		"a changed header": func(l *testenv.Log) {
			l.Corrupt(2, func(r *ledger.Record) { r.Header[ledger.HeaderSalt][0] = strings.Repeat("0", 32) })
		},
		"bytes that are no event": func(l *testenv.Log) { l.Inject(ledger.Record{Subject: "ledger.v1.131229.x.y.z", Body: []byte("?")}) },
		"a record time that goes back": func(l *testenv.Log) {
			l.Corrupt(3, func(r *ledger.Record) {
				r.Header[ledger.HeaderTime][0] = testenv.Start.Add(-1).Format(ledger.TimeFormat)
			})
		},
		"an event twice": func(l *testenv.Log) {
			for r := range l.Read(t.Context(), 2, 2) {
				l.Inject(r)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			log := testenv.NewLog(testenv.Config{T: t})
			for _, slip := range []string{"a", "b", "c"} {
				if _, err := log.Append(t.Context(), testenv.Claim(t, log.ID(), batch, slip, items)); err != nil {
					t.Fatal(err)
				}
			}
			start(log, 2, 1, 3)
			testenv.CheckLedger(t, log)
			damage(log)
			r := &recorder{TB: t}
			testenv.CheckLedger(r, log)
			if len(r.said) == 0 {
				t.Error("the check found nothing")
			}
		})
	}
}

// started returns ledger.started.
func started(t *testing.T, id ledger.LedgerID, incarnation, previous uint64, head ledger.Seq) ledger.Record {
	t.Helper()
	return testenv.Sign(t, id, ledger.Draft{
		Author:      "operator:local",
		Subject:     ledger.Subject{Municipality: ledger.National, Aggregate: ledger.StartAggregate(incarnation), Kind: ledger.LedgerStarted},
		DocumentKey: fmt.Sprint(incarnation, previous, head),
		Body:        ledger.Body{Incarnation: incarnation, Previous: previous, Head: head, Since: testenv.Start},
	})
}
