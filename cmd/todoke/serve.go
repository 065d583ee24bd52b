package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"todoke/consumers/watchdog"
	"todoke/ledger"
	"todoke/ledger/gate"
	"todoke/ledger/rule"
)

type serveCommand struct {
	Rules string `help:"Rule pack of a new ledger: full, centre, ward-only, or a file." default:"full" placeholder:"PROFILE|FILE"`
}

// Run opens the ledger, the gate and the watchdog, and ends when one of them
// does.
func (c *serveCommand) Run(a *app) error {
	pack, err := loadPack(c.Rules)
	if err != nil {
		return err
	}
	log, err := a.openStream(pack, true)
	if err != nil {
		return err
	}
	defer log.Close()
	if log.Story() != "" {
		return fmt.Errorf("serve %s: %w", a.Data, ledger.ErrStory)
	}
	key, err := a.key(ledger.Party(ledger.Watchdog))
	if err != nil {
		return err
	}
	dog, err := watchdog.New(watchdog.Config{Log: log, Party: ledger.Party(ledger.Watchdog), Key: key,
		Now: time.Now, Rand: rand.Reader, Logger: a.logger()})
	if err != nil {
		return err
	}
	logger := a.logger()
	logger.Info().Str("data", a.Data).Stringer("ledger", log.ID()).Str("url", log.Endpoint().Address()).Msg("ledger serves; end it with Ctrl-C")
	return together(a.ctx,
		func(ctx context.Context) error { return gate.Serve(ctx, log.Conn(), log) },
		dog.Run,
	)
}

// together runs services until ctx is done or the first of them ends, ends the
// others, and returns their errors.
func together(ctx context.Context, services ...func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	errs := make([]error, len(services))
	var all sync.WaitGroup
	for i, run := range services {
		all.Go(func() {
			defer stop()
			errs[i] = run(ctx)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// loadPack returns a profile by name, or the pack in a file.
func loadPack(name string) (*rule.Pack, error) {
	if pack, err := rule.Profile(name); err == nil {
		return pack, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, usagef("--rules %s: neither a profile (%v) nor a file that can be read: %v", name, rule.Profiles(), err)
	}
	pack, err := rule.Parse(text)
	if err != nil {
		return nil, usagef("--rules %s: %v", name, err)
	}
	return pack, nil
}
