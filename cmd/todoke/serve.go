package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"todoke/consumers/watchdog"
	"todoke/ledger"
	"todoke/ledger/gate"
	"todoke/ledger/rule"
	"todoke/ledger/stream"
)

type serveCommand struct {
	Rules              string `help:"Rule pack of a new ledger: full, centre, ward-only, or a file." default:"full" placeholder:"PROFILE|FILE"`
	Replicas           int    `help:"With --nats: how many servers keep the ledger." default:"3"`
	NatsSystem         string `help:"With --nats: the same servers with a user of the system account, to check that they sync what they acknowledge." env:"TODOKE_NATS_SYSTEM" placeholder:"URL"`
	UncheckedSync      bool   `help:"With --nats: go without that check; every command says so."`
	AcceptClock        bool   `help:"Believe the clock of this machine, whatever it says."`
	PrintClusterConfig bool   `help:"Print configuration files for the servers named by --nats, and end."`
}

// Run serves the ledger of a folder, or that of a cluster, until it is told to
// end.
func (c *serveCommand) Run(a *app) error {
	if c.PrintClusterConfig {
		return c.printCluster(a)
	}
	pack, err := loadPack(c.Rules)
	if err != nil {
		return err
	}
	cfg, err := a.streamConfig(pack)
	if err != nil {
		return err
	}
	cfg.Listen, cfg.AcceptClock = true, c.AcceptClock
	if a.Nats == "" {
		log, err := stream.Open(a.ctx, cfg)
		if err != nil {
			return fmt.Errorf("open %s: %w", a.Data, err)
		}
		return c.serve(a, log)
	}
	if (c.NatsSystem == "") != c.UncheckedSync {
		return usagef("--nats wants one of --nats-system, to check that the servers sync what they acknowledge, and --unchecked-sync")
	}
	cfg.Logger = a.logger().Level(zerolog.InfoLevel)
	at := stream.Address{URL: a.Nats, SystemURL: c.NatsSystem, Replicas: c.Replicas}
	begun := time.Now()
	for served := false; ; served = true {
		log, err := stream.Join(a.ctx, cfg, at)
		for ; (served || time.Since(begun) < joinPatience) && errors.Is(err, ledger.ErrUnavailable) && wait(a.ctx, joinAgain); log, err = stream.Join(a.ctx, cfg, at) {
			cfg.Logger.Warn().Err(err).Msg("the cluster is out of reach; trying again")
		}
		if a.ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("join the ledger of the cluster: %w", err)
		}
		// Another process has taken over: this one waits for its turn again.
		if err := c.serve(a, log); !errors.Is(err, ledger.ErrFenced) {
			return err
		}
	}
}

const (
	// joinPatience is for how long a process that has not served yet tries to reach
	// the cluster. One that has goes on for ever.
	joinPatience = time.Minute
	joinAgain    = time.Second
)

// serve runs the gate and the watchdog on an open ledger, and ends when one of
// them does.
func (c *serveCommand) serve(a *app, log *stream.Ledger) error {
	defer log.Close()
	if log.Story() != "" {
		return fmt.Errorf("serve %s: %w", a.Data, ledger.ErrStory)
	}
	key, err := a.key(ledger.Party(ledger.Watchdog))
	if err != nil {
		return err
	}
	logger := a.logger()
	dog, err := watchdog.New(watchdog.Config{Log: log, Party: ledger.Party(ledger.Watchdog), Key: key,
		Now: time.Now, Rand: rand.Reader, Logger: logger})
	if err != nil {
		return err
	}
	// Written before anybody is served: what follows it is of this incarnation. A
	// disk that is full keeps nobody from reading.
	if err := log.Start(a.ctx); a.ctx.Err() != nil {
		return nil
	} else if err != nil && !errors.Is(err, ledger.ErrStorageFull) {
		return fmt.Errorf("serve %s: %w", a.Data, err)
	}
	said := logger.Info().Str("data", a.Data).Stringer("ledger", log.ID())
	if c.UncheckedSync {
		said = logger.Warn().Str("sync", "unchecked").Str("data", a.Data).Stringer("ledger", log.ID())
	}
	said.Str("url", log.Endpoint().Address()).Msg("ledger serves; end it with Ctrl-C")
	return together(a.ctx,
		func(ctx context.Context) error { return gate.Serve(ctx, log.Conn(), log) },
		dog.Run,
		log.Run,
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
