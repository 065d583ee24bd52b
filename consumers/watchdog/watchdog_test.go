package watchdog_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"todoke/consumers/watchdog"
	"todoke/ledger"
	"todoke/ledger/rule"
	"todoke/ledger/stream"
	"todoke/producers"
	"todoke/testenv"
)

const batch = "131229-20151005-0042"

// A scene is a log in memory with a clock, parties, and watchdogs.
type scene struct {
	*testing.T
	log   *testenv.Log
	clock *testenv.Clock
	lines bytes.Buffer

	damaged bool // the test put something into the ledger that has no place there
}

func newScene(t *testing.T) *scene {
	clock := testenv.NewClock()
	return &scene{T: t, clock: clock, log: testenv.NewLog(testenv.Config{T: t, Now: clock.Now})}
}

func (s *scene) dog() *watchdog.Watchdog {
	s.Helper()
	w, err := watchdog.New(watchdog.Config{Log: s.log, Party: "watchdog", Key: testenv.Key(s, "watchdog"),
		Now: s.clock.Now, Rand: rand.Reader, Logger: zerolog.New(&s.lines)})
	if err != nil {
		s.Fatal(err)
	}
	return w
}

// tick ticks and expects no error.
func (s *scene) tick(w *watchdog.Watchdog) {
	s.Helper()
	if err := w.Tick(s.Context()); err != nil {
		s.Fatal(err)
	}
}

// say appends a word of a party.
func (s *scene) say(party ledger.Party, r producers.Report) {
	s.Helper()
	say(s.T, s.log, party, s.clock.Now, r)
}

func say(t *testing.T, log producers.Appender, party ledger.Party, now func() time.Time, r producers.Report) {
	t.Helper()
	p, err := producers.New(producers.Config{Log: log, Party: party, Key: testenv.Key(t, string(party)), Now: now, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	if r.Batch == "" {
		r.Batch = batch
	}
	if _, err := p.Report(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

// upload is the beginning of every scene: 100 items, received by the relay.
func (s *scene) upload() {
	s.Helper()
	s.say("municipality:131229", producers.Report{Kind: ledger.UploadCompleted, Count: 100, Root: ledger.Root{1}, Document: ledger.Document{Kind: "file"}})
	s.say("relay:2", producers.Report{Kind: ledger.UploadReceived, Count: 100, Root: ledger.Root{1}})
}

func (s *scene) importCompleted() {
	s.say("relay:2", producers.Report{Kind: ledger.ImportCompleted, Count: 100})
}

// registered is the 登録 and the gateway's confirmation of it: relay and registry
// are one house.
func (s *scene) registered(items ledger.Items) {
	s.say("registry:jlis", producers.Report{Kind: ledger.ImportRegistered, Items: items})
	s.say("municipality:131229", producers.Report{Kind: ledger.ImportConfirmed, Items: items, Root: rootOf(items)})
}

// rootOf returns the root that the municipality's own manifest gives: the
// declared one for all items, some other for a part.
func rootOf(items ledger.Items) ledger.Root {
	if items.Count() == 100 {
		return ledger.Root{1}
	}
	return ledger.Root{3}
}

// alerts returns the alert events in the ledger, one a line.
func alerts(t *testing.T, log ledger.Reader) string {
	t.Helper()
	head, err := log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for r, err := range log.Read(t.Context(), 1, head) {
		if err != nil {
			t.Fatal(err)
		}
		e, err := ledger.Decode(r)
		if err != nil || e.Kind().Stage() != "alert" {
			continue
		}
		c := e.Content
		lines = append(lines, fmt.Sprintf("%s %s %s %s %s", e.Kind(), c.Hop, c.Side, c.Cause, c.Items))
	}
	return strings.Join(lines, "\n")
}

func (s *scene) wants(want string) {
	s.Helper()
	if got := alerts(s.T, s.log); got != want {
		s.Errorf("alerts are\n%s\nwant\n%s", got, want)
	}
	if !s.damaged {
		testenv.CheckLedger(s, s.log)
	}
}

const (
	late   = "alert.raised import acknowledgement absence 1-100"
	closed = "alert.closed import acknowledgement absence 1-100"
)

func TestAlertIsRaisedWhenTheDueTimeIsOverAndNotBefore(t *testing.T) {
	s := newScene(t)
	w := s.dog()
	s.upload()
	s.importCompleted()
	s.tick(w)
	if due, ok := w.Next(); !ok || !due.Equal(s.clock.Now().Add(24*time.Hour)) {
		t.Errorf("next is %s %t", due, ok)
	}
	s.clock.Advance(24 * time.Hour)
	s.tick(w)
	s.wants("") // a word at the due time itself is in time
	s.clock.Advance(1)
	s.tick(w)
	s.tick(w)
	s.wants(late)
	if n := strings.Count(s.lines.String(), `"message":"alert raised"`); n != 1 {
		t.Errorf("%d lines were logged:\n%s", n, s.lines.String())
	}
}

func TestAlertIsClosedByLateEvidenceForAllItsItems(t *testing.T) {
	s := newScene(t)
	w := s.dog()
	s.upload()
	s.importCompleted()
	s.clock.Advance(24*time.Hour + time.Second)
	s.tick(w)
	s.registered(ledger.Items{{First: 1, Last: 60}})
	s.tick(w)
	s.wants(late)
	s.clock.Advance(40 * time.Minute)
	s.registered(ledger.Items{{First: 61, Last: 100}})
	s.clock.Advance(3 * time.Hour) // the watchdog was down; that is not the registry's lateness
	s.tick(w)
	s.wants(late + "\n" + closed)
	if !strings.Contains(s.lines.String(), "alert closed by evidence") {
		t.Errorf("log is\n%s", s.lines.String())
	}
	a := w.State().Batch("131229", batch).Alerts[0]
	if got := a.LateBy(); got != 40*time.Minute+time.Second {
		t.Errorf("late by %s", got)
	}
}

func TestTwoWatchdogsRaiseOneAlert(t *testing.T) {
	s := newScene(t)
	one, two := s.dog(), s.dog()
	s.upload()
	s.importCompleted()
	s.tick(one)
	s.tick(two)
	s.clock.Advance(25 * time.Hour)
	s.tick(one)
	s.tick(two)
	s.tick(one)
	s.wants(late)
}

func TestAWatchdogThatStartsAnewNeitherMissesNorDoubles(t *testing.T) {
	s := newScene(t)
	s.upload()
	s.importCompleted()
	s.clock.Advance(25 * time.Hour) // nobody watched
	s.tick(s.dog())
	s.wants(late)
	s.clock.Advance(time.Hour)
	s.tick(s.dog())
	s.wants(late)
	s.registered(ledger.Items{{First: 1, Last: 100}})
	s.tick(s.dog())
	s.tick(s.dog())
	s.wants(late + "\n" + closed)
}

// between is a log into which something gets just before a decision.
type between struct {
	*testenv.Log
	first func()
}

func (l *between) Decide(ctx context.Context, head ledger.Seq, decision ...ledger.Record) (ledger.Receipt, error) {
	if f := l.first; f != nil {
		l.first = nil
		f()
	}
	return l.Log.Decide(ctx, head, decision...)
}

func TestAnAcknowledgementThatGetsInFirstMakesTheAlertDisappear(t *testing.T) {
	s := newScene(t)
	s.upload()
	s.importCompleted()
	s.clock.Advance(24*time.Hour + 1)
	log := &between{Log: s.log, first: func() { s.registered(ledger.Items{{First: 1, Last: 100}}) }}
	w, err := watchdog.New(watchdog.Config{Log: log, Party: "watchdog", Key: testenv.Key(t, "watchdog"),
		Now: s.clock.Now, Rand: rand.Reader, Logger: zerolog.New(&s.lines)})
	if err != nil {
		t.Fatal(err)
	}
	s.tick(w)
	if log.first != nil {
		t.Error("nothing was decided: the acknowledgement had nothing to get in before")
	}
	s.wants("")
}

// TestEveryOutcomeOfAnAppendGivesOneAlert: written or not, answered or not.
func TestEveryOutcomeOfAnAppendGivesOneAlert(t *testing.T) {
	for name, faults := range map[string][]testenv.Fault{
		"not written, unknown":  {testenv.NotWritten},
		"written, unknown":      {testenv.Written},
		"late":                  {testenv.Late},
		"unavailable":           {testenv.Unavailable, testenv.Unavailable},
		"conflict":              {testenv.Conflict},
		"all of them":           {testenv.Unavailable, testenv.NotWritten, testenv.Late, testenv.Written},
		"unknown many times":    {testenv.NotWritten, testenv.NotWritten, testenv.NotWritten},
		"written, then another": {testenv.Written, testenv.NotWritten},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			w := s.dog()
			s.upload()
			s.importCompleted()
			s.clock.Advance(25 * time.Hour)
			s.log.Arm(faults...)
			for range len(faults) + 2 {
				_ = w.Tick(t.Context()) // the next tick goes on
				s.clock.Advance(time.Second)
			}
			s.wants(late)
			s.registered(ledger.Items{{First: 1, Last: 40}})
			s.registered(ledger.Items{{First: 41, Last: 100}})
			for range len(faults) + 2 {
				_ = w.Tick(t.Context())
			}
			s.wants(late + "\n" + closed)
		})
	}
}

func TestAContradictionIsAlertedAtOnce(t *testing.T) {
	s := newScene(t)
	w := s.dog()
	s.upload()
	s.importCompleted()
	s.say("registry:jlis", producers.Report{Kind: ledger.ImportRegistered, Count: 100, Root: ledger.Root{2}})
	s.tick(w)
	s.clock.Advance(30 * time.Hour)
	s.tick(w)
	s.wants("alert.raised import acknowledgement contradiction 1-100")
}

func TestABatchThatCannotBeReadIsNotJudgedAndAlertedOnce(t *testing.T) {
	s := newScene(t)
	w := s.dog()
	s.upload()
	s.importCompleted()
	record := testenv.Claim(t, s.log.ID(), batch, "slip", ledger.AllItems(100))
	record.Header[ledger.HeaderKind] = []string{"upload.completed/2"}
	record.Header[ledger.HeaderTime] = []string{s.clock.Now().UTC().Format(ledger.TimeFormat)}
	s.log.Inject(record)
	s.clock.Advance(25 * time.Hour)
	s.tick(w)
	s.tick(w)
	s.damaged = true
	s.wants("alert.raised batch  unreadable ")
}

func TestGarbageInTheLedgerIsQuarantinedAndStopsNothing(t *testing.T) {
	s := newScene(t)
	w := s.dog()
	s.upload()
	s.damaged = true
	s.log.Inject(ledger.Record{Subject: "ledger.v1.131229.131229-20151005-0042.upload.completed", Body: []byte{0xff}})
	s.importCompleted()
	s.clock.Advance(25 * time.Hour)
	s.tick(w)
	s.wants(late)
	if n := len(w.State().Quarantine); n != 1 || !strings.Contains(s.lines.String(), "quarantined") {
		t.Errorf("%d in quarantine, log:\n%s", n, s.lines.String())
	}
}

// TestAClockThatWasSetBackHidesNothing: what the ledger has recorded has passed.
func TestAClockThatWasSetBackHidesNothing(t *testing.T) {
	s := newScene(t)
	s.upload()
	s.importCompleted()
	s.clock.Advance(48 * time.Hour)
	s.say("relay:2", producers.Report{Kind: ledger.ImportCompleted, Count: 100})
	s.clock.Advance(-47 * time.Hour)
	s.tick(s.dog())
	s.wants(late)
	if !strings.Contains(s.lines.String(), "the clock is behind the ledger") {
		t.Errorf("log is\n%s", s.lines.String())
	}
}

func TestALogThatTakesNothingAnyMoreEndsTheWatchdog(t *testing.T) {
	s := newScene(t)
	s.upload()
	s.importCompleted()
	s.clock.Advance(25 * time.Hour)
	s.log.Arm(testenv.Fenced)
	if err := s.dog().Run(t.Context()); !errors.Is(err, ledger.ErrFenced) {
		t.Errorf("the watchdog ended with %v", err)
	}
}

func TestAGapEndsTheWatchdog(t *testing.T) {
	s := newScene(t)
	s.upload()
	s.log.Lose(1)
	if err := s.dog().Run(t.Context()); err == nil {
		t.Error("a watchdog that cannot read went on")
	}
}

// TestThreeSecondsOnARealLedger: a rule of three seconds on the embedded broker,
// the real clock, and a running watchdog.
func TestThreeSecondsOnARealLedger(t *testing.T) {
	text := strings.Replace(string(rule.Default().Text()), "within: 24h, basis: root, grade: 2}\n  import:\n    claim: {within: 24h}\n    acknowledgement: {within: 24h", "within: 24h, basis: root, grade: 2}\n  import:\n    claim: {within: 24h}\n    acknowledgement: {within: 3s", 1)
	pack, err := rule.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if d, _ := pack.Deadline("import", ledger.AcknowledgementSide, time.Unix(0, 0)); !d.Due.Equal(time.Unix(3, 0)) {
		t.Fatalf("the rule is not three seconds: %s\n%s", d.Due, text)
	}
	dir := t.TempDir()
	log, err := stream.Open(t.Context(), stream.Config{Dir: filepath.Join(dir, "data"), Now: time.Now, Rand: rand.Reader, Logger: zerolog.Nop(),
		Party: "operator:local", Key: testenv.Key(t, "operator"), Opening: stream.Opening{Pack: pack.Text()}})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	w, err := watchdog.New(watchdog.Config{Log: log, Party: "watchdog", Key: testenv.Key(t, "watchdog"),
		Now: time.Now, Rand: rand.Reader, Logger: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()

	say(t, log, "municipality:131229", time.Now, producers.Report{Kind: ledger.UploadCompleted, Count: 100, Root: ledger.Root{1}, Document: ledger.Document{Kind: "file"}})
	say(t, log, "relay:2", time.Now, producers.Report{Kind: ledger.ImportCompleted, Count: 100})
	for r, err := range log.Follow(ctx, 1) {
		if err != nil {
			t.Fatal(err)
		}
		e, err := ledger.Decode(r)
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind() != ledger.AlertRaised {
			continue
		}
		late := e.Time.Sub(e.Content.Due)
		t.Logf("raised %s after the due time", late)
		if e.Content.Hop != "import" || e.Content.Items.String() != "1-100" || late < 0 || late > time.Second {
			t.Errorf("raised %s after the due time: %+v", late, e.Content)
		}
		break
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("watchdog ended with %v", err)
	}
	testenv.CheckLedger(t, log)
}
