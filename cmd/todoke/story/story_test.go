package story_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"todoke/cmd/todoke/story"
	"todoke/ledger"
	"todoke/ledger/rule"
	"todoke/ledger/stream"
	"todoke/producers"
	"todoke/testenv"
)

// open opens a story ledger on an embedded broker.
func open(t *testing.T, dir string, s *story.Story, clock *story.Clock) *stream.Ledger {
	t.Helper()
	key, err := producers.LocalKey(filepath.Join(dir, "keys"), "operator:local", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	log, err := stream.Open(context.Background(), stream.Config{Dir: dir, Now: clock.Now, Rand: rand.Reader, Logger: zerolog.Nop(),
		Party: "operator:local", Key: key, Story: s.Incident, Opening: stream.Opening{Story: s.Incident, Pack: rule.Default().Text()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	return log
}

// play plays the story with a fault and returns its result, its events, and
// what a person sees.
func play(t *testing.T, cfg story.Config, fault string) (*story.Result, []ledger.Event, string) {
	t.Helper()
	var err error
	if cfg.Fault, cfg.Items, err = story.ParseFault(fault); err != nil {
		t.Fatal(err)
	}
	var screen strings.Builder
	teller := story.NewTeller(&screen, "ja", cfg.Story, func() {})
	teller.Begin(fault, cfg.Seed)
	var events []ledger.Event
	cfg.Seen = func(e ledger.Event) error { events = append(events, e); return teller.Seen(e) }
	p, err := story.Perform(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := story.NewResult(cfg.Story, p, cfg.Seed, fault, rule.Default(), events)
	if err := teller.End(r); err != nil {
		t.Fatal(err)
	}
	return r, events, screen.String()
}

func load(t *testing.T) *story.Story {
	t.Helper()
	s, err := story.Load("katsushika-2015")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestFaultsOnTheBroker plays every fault on the embedded broker, with the real
// number of households.
func TestFaultsOnTheBroker(t *testing.T) {
	shiratori := "白鳥一丁目 551 1-551 白鳥二丁目 1464 552-2015 白鳥三丁目 1439 2016-3454 白鳥四丁目 1774 3455-5228 "
	for _, c := range []struct {
		fault string
		alert string // hop, side, cause, count, items, towns
	}{
		{"none", ""},
		{"late", ""},
		{"import", "import acknowledgement absence 5228 1-5228 " + shiratori},
		{"partial:17,3000-3004", "import acknowledgement absence 6 17,3000-3004 白鳥一丁目 1 17 白鳥三丁目 5 3000-3004 "},
		{"content", "import acknowledgement contradiction 5228 1-5228 " + shiratori},
	} {
		t.Run(c.fault, func(t *testing.T) {
			s := load(t)
			dir, clock := t.TempDir(), s.NewClock()
			log := open(t, dir, s, clock)
			r, events, screen := play(t, story.Config{Story: s, Log: log, Clock: clock, Dir: dir, Seed: 2015}, c.fault)
			testenv.CheckLedger(t, log)
			if r.FalseAlerts != 0 || r.MissedAlerts != 0 {
				t.Errorf("%d false and %d missed alerts: %+v", r.FalseAlerts, r.MissedAlerts, story.Judge(events, s.End))
			}
			if r.Batches != 5 || r.Items != 9328 {
				t.Errorf("%d batches of %d items", r.Batches, r.Items)
			}
			var got string
			for _, a := range r.Alerts {
				got += fmt.Sprintf("%s %s %s %d %s ", a.Hop, a.Side, a.Cause, a.Missing, a.MissingItems)
				for _, town := range a.Towns {
					got += fmt.Sprintf("%s %d %s ", town.Name, town.Count, town.Items)
				}
			}
			if got != c.alert {
				t.Errorf("alerts are\n%s\nwant\n%s\n%s", got, c.alert, screen)
			}
			checkAlertTime(t, r)
		})
	}
}

// checkAlertTime: an absence is alerted at the first tick after its due time, a
// contradiction at once.
func checkAlertTime(t *testing.T, r *story.Result) {
	t.Helper()
	for _, a := range r.Alerts {
		if a.Cause == "absence" && !a.RaisedAt.Equal(a.DueAt.Truncate(story.Tick).Add(story.Tick)) {
			t.Errorf("due at %s, raised at %s", a.DueAt, a.RaisedAt)
		}
		if a.Cause == "contradiction" && !a.RaisedAt.Before(a.DueAt.Add(-12*time.Hour)) {
			t.Errorf("due at %s, raised at %s: not at once", a.DueAt, a.RaisedAt)
		}
		if a.ClaimedBy != "relay:2" || a.Holder != "relay:2" || !strings.HasPrefix(a.OwedBy, "registry") || a.Basis != "root" {
			t.Errorf("alert is %+v", a)
		}
	}
}

// TestAThousandGoodStoriesRaiseNothing: every seed has other delays, names and
// orders of arrival.
func TestAThousandGoodStoriesRaiseNothing(t *testing.T) {
	stories, shares := 1000, 8
	if testing.Short() {
		stories = 40
	}
	for share := range shares {
		t.Run(fmt.Sprint("share ", share), func(t *testing.T) {
			t.Parallel()
			s := load(t)
			for seed := share; seed < stories; seed += shares {
				fault := []string{"none", "late"}[seed/shares%2]
				r, events, screen := playInMemory(t, s, fault, uint64(seed))
				if len(r.Alerts) != 0 || r.FalseAlerts+r.MissedAlerts != 0 {
					t.Fatalf("seed %d: %+v\n%+v\n%s", seed, r, story.Judge(events, s.End), screen)
				}
			}
		})
	}
}

// TestFaultsOfManySeedsRaiseWhatTheNaiveModelSays.
func TestFaultsOfManySeedsRaiseWhatTheNaiveModelSays(t *testing.T) {
	s := load(t)
	for seed := range 60 {
		fault := []string{"import", "content", "partial:1,7-9,20"}[seed%3]
		r, events, screen := playInMemory(t, s, fault, uint64(seed))
		if len(r.Alerts) != 1 || r.FalseAlerts+r.MissedAlerts != 0 {
			t.Fatalf("seed %d: %+v\n%+v\n%s", seed, r, story.Judge(events, s.End), screen)
		}
	}
}

// playInMemory plays a story with few households on a log in memory.
func playInMemory(t *testing.T, s *story.Story, fault string, seed uint64) (*story.Result, []ledger.Event, string) {
	t.Helper()
	clock := s.NewClock()
	log := testenv.NewLog(testenv.Config{T: t, Now: clock.Now})
	return play(t, story.Config{Story: s, Log: log, Clock: clock, Dir: memory(t), Seed: seed, Shrink: 100}, fault)
}

// memory returns a scratch folder, in memory where the system has such: what
// these stories are about is not the disk.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "todoke-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestTheNaiveModelSeesWhatIsMissing: a verdict can be bad.
func TestTheNaiveModelSeesWhatIsMissing(t *testing.T) {
	s := load(t)
	_, events, _ := playInMemory(t, s, "import", 1)
	var without, twice []ledger.Event
	for _, e := range events {
		twice = append(twice, e)
		if e.Kind() == ledger.AlertRaised {
			e.Content.Side = ledger.ClaimSide
			twice = append(twice, e)
			continue
		}
		without = append(without, e)
	}
	if v := story.Judge(without, s.End); len(v.Missed) != 1 || len(v.False) != 0 {
		t.Errorf("without its alert: %+v", v)
	}
	if v := story.Judge(twice, s.End); len(v.Missed) != 0 || len(v.False) != 1 {
		t.Errorf("with one alert too many: %+v", v)
	}
}

// TestASeedGivesTheSameStory, down to the bytes of every event.
func TestASeedGivesTheSameStory(t *testing.T) {
	s := load(t)
	_, one, screen := playInMemory(t, s, "import", 7)
	_, two, again := playInMemory(t, s, "import", 7)
	if screen != again || len(one) != len(two) {
		t.Fatalf("one play prints\n%s\nanother\n%s", screen, again)
	}
	for i := range one {
		if string(one[i].Body) != string(two[i].Body) || fmt.Sprint(one[i].Header) != fmt.Sprint(two[i].Header) {
			t.Fatalf("event %d differs:\n%v\n%v", i+1, one[i], two[i])
		}
	}
}

func TestStoryFilesNameTheirMistakes(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"incident", "line 1"},
		{"batch a 131228 x cp932 1 t=1", "line 1: batch"},
		{"batch a 131229 x sjis 1 t=1", "line 1: batch"},
		{"batch a 131229 x cp932 1 t=none", "no number of households"},
		{"2015-10-05 09:00 nobody relay:2 upload.received", "no batch"},
		{"incident x", "needs incident"},
	} {
		if _, err := story.Parse(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
	}
}
