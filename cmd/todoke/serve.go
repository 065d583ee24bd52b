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
	Rules string `help:"Rule pack of a new ledger: full, centre, ward-only, or a file." default:"full" placeholder:"PROFILE|FILE"`
	clusterFlags
	AcceptClock        bool `help:"Believe the clock of this machine, whatever it says."`
	PrintClusterConfig bool `help:"Print configuration files for the servers named by --nats, and end."`
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
	if a.Nats != "" {
		return c.serveCluster(a, cfg)
	}
	log, err := stream.Open(a.ctx, cfg)
	if err != nil {
		return fmt.Errorf("open %s: %w", a.Data, err)
	}
	return c.serve(a, log)
}

// serveCluster serves the ledger of a cluster. When another process takes it
// over, this one waits for its turn again.
func (c *serveCommand) serveCluster(a *app, cfg stream.Config) error {
	at, err := c.address(a)
	if err != nil {
		return err
	}
	cfg.Logger = a.logger().Level(zerolog.InfoLevel)
	for served := false; ; served = true {
		log, err := join(a, cfg, at, served)
		if err != nil && a.ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("join the ledger of the cluster: %w", err)
		}
		if err = c.serve(a, log); !errors.Is(err, ledger.ErrFenced) {
			return err
		}
		cfg.Logger.Warn().Err(err).Msg("another process has taken over; standing by")
	}
}

const (
	// joinPatience is for how long a process that has not served yet tries to reach
	// the cluster. One that has goes on for ever.
	joinPatience = time.Minute
	joinAgain    = time.Second
)

// join joins the ledger of a cluster, and tries again while that is out of reach:
// for as long as it takes when this process has served it before.
func join(a *app, cfg stream.Config, at stream.Address, served bool) (*stream.Ledger, error) {
	begun := time.Now()
	for {
		log, err := stream.Join(a.ctx, cfg, at)
		patient := served || time.Since(begun) < joinPatience
		if !errors.Is(err, ledger.ErrUnavailable) || !patient {
			return log, err
		}
		cfg.Logger.Warn().Err(err).Msg("the cluster is out of reach; trying again")
		if !wait(a.ctx, joinAgain) {
			return nil, err
		}
	}
}

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
	dog, err := watchdog.New(watchdog.Config{Log: log, Party: ledger.Party(ledger.Watchdog), Key: key,
		Now: time.Now, Rand: rand.Reader, Logger: a.logger()})
	if err != nil {
		return err
	}
	if err := start(a, log); err != nil || a.ctx.Err() != nil {
		return err
	}
	c.announce(a, log)
	return together(a.ctx,
		func(ctx context.Context) error { return gate.Serve(ctx, log.Conn(), log) },
		dog.Run,
		log.Run,
	)
}

// start writes the start before anybody is served: what follows it is of this
// incarnation. A disk that is full keeps nobody from reading, and a cluster may have
// to elect a leader first.
func start(a *app, log *stream.Ledger) error {
	for {
		err := log.Start(a.ctx)
		switch {
		case err == nil, a.ctx.Err() != nil, errors.Is(err, ledger.ErrStorageFull):
			return nil
		case a.Nats == "" || !errors.Is(err, ledger.ErrUnavailable) || !wait(a.ctx, joinAgain):
			return fmt.Errorf("serve %s: %w", a.Data, err)
		}
	}
}

// announce logs that the ledger serves, and where.
func (c *serveCommand) announce(a *app, log *stream.Ledger) {
	logger := a.logger()
	said := logger.Info()
	if c.UncheckedSync {
		said = logger.Warn().Str("sync", "unchecked")
	}
	said.Str("data", a.Data).Stringer("ledger", log.ID())
	if a.Nats == "" {
		said.Str("url", log.Endpoint().Address())
	} else {
		said.Strs("servers", log.Conn().Servers())
	}
	said.Msg("ledger serves; end it with Ctrl-C")
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
