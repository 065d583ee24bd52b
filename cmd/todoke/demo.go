package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"todoke/cmd/todoke/story"
	"todoke/ledger"
	"todoke/ledger/rule"
	"todoke/ledger/stream"
	"todoke/producers"
)

type demoCommand struct {
	Incident string  `arg:"" help:"Which incident: katsushika-2015."`
	Seed     uint64  `help:"Chooses names, delays and keys." default:"2015"`
	Fault    string  `help:"none, import, partial:ITEMS, late or content." default:"import"`
	Pace     float64 `help:"Seconds that the story takes; 0 is as fast as it can. Default: 30 on a terminal, else 0." default:"-1"`
	Keep     string  `help:"Keep the ledger in this folder, for the other commands." placeholder:"DIR"`
}

// Run plays the story on an embedded broker with a store of its own.
func (c *demoCommand) Run(a *app) error {
	s, err := story.Load(c.Incident)
	if err != nil {
		return usagef("%v", err)
	}
	fault, items, err := story.ParseFault(c.Fault)
	if err != nil {
		return usagef("%v", err)
	}
	if n := s.Households(); items.Max() > uint32(n) {
		return usagef("--fault %s: the batch has the items 1-%d", c.Fault, n)
	}
	dir, cleanup, err := c.folder()
	if err != nil {
		return err
	}
	defer cleanup()
	clock := s.NewClock()
	log, err := c.open(a, dir, s, clock)
	if err != nil {
		return err
	}
	defer log.Close()

	teller := story.NewTeller(c.screen(a), a.Lang, s, c.pause(a, len(s.Steps)))
	teller.Begin(c.Fault, c.Seed)
	var events []ledger.Event
	play, err := story.Perform(a.ctx, story.Config{Story: s, Log: log, Clock: clock, Dir: dir,
		Seed: c.Seed, Fault: fault, Items: items, Seen: func(e ledger.Event) error {
			events = append(events, e)
			return teller.Seen(e)
		}})
	if err != nil {
		return fmt.Errorf("play %s: %w", c.Incident, err)
	}
	result := story.NewResult(s, play, c.Seed, c.Fault, rule.Default(), events)
	if err := teller.End(result); err != nil {
		return err
	}
	if a.JSON {
		if err := a.printJSON(result); err != nil {
			return err
		}
	} else if c.Keep != "" {
		fmt.Fprintf(a.out, a.say("\n台帳は %[1]s にあります。todoke --data %[1]s alerts など\n", "\nThe ledger is in %[1]s; look at it with: todoke --data %[1]s alerts\n"), dir)
	}
	if result.FalseAlerts+result.MissedAlerts > 0 {
		return fmt.Errorf("%d false and %d missed alerts: %w", result.FalseAlerts, result.MissedAlerts, errBadNews)
	}
	return nil
}

// folder returns where the ledger is kept, and what clears it away.
func (c *demoCommand) folder() (dir string, cleanup func(), err error) {
	if c.Keep == "" {
		dir, err = os.MkdirTemp("", "todoke-demo-")
		return dir, func() { os.RemoveAll(dir) }, err
	}
	entries, err := os.ReadDir(c.Keep)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", nil, err
	}
	if len(entries) > 0 {
		return "", nil, usagef("--keep %s: the folder is not empty; a story begins with a new ledger", c.Keep)
	}
	return c.Keep, func() {}, nil
}

func (c *demoCommand) open(a *app, dir string, s *story.Story, clock *story.Clock) (*stream.Ledger, error) {
	key, err := producers.LocalKey(filepath.Join(dir, "keys"), operator, rand.Reader)
	if err != nil {
		return nil, err
	}
	return stream.Open(a.ctx, stream.Config{Dir: dir, Now: clock.Now, Rand: rand.Reader, Logger: a.logger().Level(zerolog.WarnLevel), Story: s.Incident,
		Party: operator, Key: key, Opening: stream.Opening{Story: s.Incident, Pack: rule.Default().Text()}})
}

// screen is where the story is told: nowhere with --json, which prints one
// object.
func (c *demoCommand) screen(a *app) io.Writer {
	if a.JSON {
		return io.Discard
	}
	return a.out
}

// pause returns what waits between two lines.
func (c *demoCommand) pause(a *app, lines int) func() {
	pace := c.Pace
	if pace < 0 {
		pace = 0
		if a.terminal && !a.JSON {
			pace = 30
		}
	}
	wait := time.Duration(pace / float64(lines) * float64(time.Second))
	return func() {
		select {
		case <-a.ctx.Done():
		case <-time.After(wait):
		}
	}
}
