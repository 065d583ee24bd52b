package story_test

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"todoke/cmd/todoke/story"
	"todoke/ledger"
	"todoke/ledger/rule"
	"todoke/ledger/stream"
	"todoke/producers"
)

// play plays the story on an embedded broker and returns the result and what a
// person sees.
func play(t *testing.T, fault string, seed uint64) (*story.Result, string) {
	t.Helper()
	s, err := story.Load("katsushika-2015")
	if err != nil {
		t.Fatal(err)
	}
	f, items, err := story.ParseFault(fault)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	key, err := producers.LocalKey(dir+"/keys", "operator:local", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	clock := s.NewClock()
	log, err := stream.Open(context.Background(), stream.Config{Dir: dir, Now: clock.Now, Rand: rand.Reader, Logger: zerolog.Nop(),
		Story: s.Incident, Opening: stream.Opening{Party: "operator:local", Key: key, Story: s.Incident, Pack: rule.Default().Text()}})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	var screen strings.Builder
	teller := story.NewTeller(&screen, "ja", s, func() {})
	teller.Begin(fault, seed)
	var events []ledger.Event
	p, err := story.Perform(context.Background(), story.Config{Story: s, Log: log, Clock: clock, Dir: dir, Seed: seed, Fault: f, Items: items,
		Seen: func(e ledger.Event) error { events = append(events, e); return teller.Seen(e) }})
	if err != nil {
		t.Fatal(err)
	}
	r := story.NewResult(s, p, seed, fault, rule.Default(), events)
	if err := teller.End(r); err != nil {
		t.Fatal(err)
	}
	return r, screen.String()
}

func TestFaults(t *testing.T) {
	for _, fault := range []string{"none", "import", "late", "partial:17,3000-3004", "content"} {
		t.Run(fault, func(t *testing.T) {
			r, screen := play(t, fault, 2015)
			t.Logf("%+v\n%s", r, screen)
		})
	}
}
