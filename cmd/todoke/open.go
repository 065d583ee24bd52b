package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"

	"todoke/ledger"
	"todoke/ledger/rule"
	"todoke/ledger/stream"
	"todoke/producers"
)

// operator is who opens a ledger and publishes its rules on this machine.
const operator = ledger.Party("operator:local")

// key returns the local key of a party, made on first use.
func (a *app) key(party ledger.Party) (nkeys.KeyPair, error) {
	return producers.LocalKey(filepath.Join(a.Data, "keys"), party, rand.Reader)
}

// operatorKey returns the key that signs what the ledger says of itself. Unless
// fresh, a folder in which nothing was ever made is left as it is.
func (a *app) operatorKey(fresh bool) (nkeys.KeyPair, error) {
	if _, err := os.Stat(a.Data); err != nil && !fresh {
		return nil, fmt.Errorf("%s: %w", a.Data, ledger.ErrNoLedger)
	}
	return a.key(operator)
}

// lockWait is how long a short command waits for another one that has the
// folder.
const lockWait = 10 * time.Second

// openStream opens the folder's ledger in this process. Where there is none it
// makes one with the given rules, or returns ErrNoLedger when pack is nil. With
// listen, other processes find it.
func (a *app) openStream(pack *rule.Pack, listen bool) (*stream.Ledger, error) {
	cfg, err := a.streamConfig(pack)
	if err != nil {
		return nil, err
	}
	cfg.Listen = listen
	l, err := stream.Open(a.ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", a.Data, err)
	}
	return l, nil
}

// streamConfig is what a ledger is opened with, and made with unless pack is nil.
func (a *app) streamConfig(pack *rule.Pack) (stream.Config, error) {
	begun := time.Now()
	elapsed := func() time.Duration { return time.Since(begun) }
	cfg := stream.Config{Dir: a.Data, Now: time.Now, Elapsed: elapsed, Rand: rand.Reader, Logger: a.logger().Level(zerolog.WarnLevel), Party: operator}
	if pack != nil {
		cfg.Opening = stream.Opening{Pack: pack.Text()}
	}
	key, err := a.operatorKey(pack != nil)
	cfg.Key = key
	return cfg, err
}

// waitForLock tries again for a while as long as err, and what open returns, is
// that another process has the folder.
func (a *app) waitForLock(err error, open func() error) error {
	for end := time.Now().Add(lockWait); errors.Is(err, ledger.ErrLocked) && time.Now().Before(end) && a.ctx.Err() == nil; err = open() {
		time.Sleep(lockWait / 100)
	}
	return err
}

// A source is a ledger to read from and append to: a running server's, or the
// folder's own.
type source struct {
	ledger.Reader
	producers.Appender
	story string
	close func()
}

// ID returns which ledger it is.
func (s *source) ID() ledger.LedgerID { return s.Appender.ID() }

// now is the time at which a reader judges: the clock's, or in a story that of
// its last event, since its clock has long stopped.
func (s *source) now(last time.Time) time.Time {
	if s.story != "" {
		return last
	}
	return time.Now()
}

// open opens the ledger, and makes one with the given rules where there is none,
// unless pack is nil. A live store is never opened: when a server runs on the
// folder, it is asked instead, through its gate for appends; when another short
// command has the folder, its turn is waited for.
func (a *app) open(pack *rule.Pack) (*source, error) {
	var s *source
	open := func() (err error) { s, err = a.tryOpen(pack); return err }
	err := a.waitForLock(open(), open)
	return s, err
}

func (a *app) tryOpen(pack *rule.Pack) (*source, error) {
	if a.Nats != "" {
		return a.visit()
	}
	if endpoint, err := stream.ReadEndpoint(a.Data); err == nil {
		return a.attach(endpoint)
	}
	l, err := a.openStream(pack, false)
	if err != nil {
		return nil, err
	}
	return &source{l, l, l.Story(), func() { l.Close() }}, nil
}

// visit reaches the ledger on a cluster, through the gate of whoever serves it.
func (a *app) visit() (*source, error) {
	r, err := stream.Visit(a.ctx, a.Nats)
	if err != nil {
		return nil, err
	}
	if h, err := r.Holder(a.ctx); err == nil && h.Unchecked {
		fmt.Fprintln(a.err, a.say("todoke: 注意: サーバーの同期は未確認（--unchecked-sync）", "todoke: note: nobody checks that the servers sync what they acknowledge (--unchecked-sync)"))
	}
	g := &distantGate{url: a.Nats, id: r.ID()}
	return &source{r, g, r.Story(), func() { g.close(); r.Close() }}, nil
}

// A distantGate is the gate of a cluster, asked for when something is appended
// first: to read, nobody has to serve.
type distantGate struct {
	url string
	id  ledger.LedgerID

	mu     sync.Mutex
	client *producers.Client
}

// ID implements producers.Appender.
func (g *distantGate) ID() ledger.LedgerID { return g.id }

// Append implements producers.Appender.
func (g *distantGate) Append(ctx context.Context, r ledger.Record) (ledger.Receipt, error) {
	client, err := g.reach(ctx)
	if err != nil {
		return ledger.Receipt{}, err
	}
	return client.Append(ctx, r)
}

func (g *distantGate) reach(ctx context.Context) (*producers.Client, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.client != nil {
		return g.client, nil
	}
	c, err := producers.Dial(ctx, g.url)
	if err != nil {
		return nil, fmt.Errorf("no todoke serve answers on this cluster: %w", err)
	}
	if c.ID() != g.id {
		c.Close()
		return nil, fmt.Errorf("the gate serves ledger %s, the stream is of %s: %w", c.ID(), g.id, ledger.ErrOtherLedger)
	}
	g.client = c
	return c, nil
}

func (g *distantGate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.client != nil {
		g.client.Close()
	}
}

func (a *app) attach(endpoint stream.Endpoint) (*source, error) {
	r, err := stream.Attach(a.ctx, endpoint)
	if err != nil {
		return nil, fmt.Errorf("reach the server of %s: %w", a.Data, err)
	}
	c, err := producers.Dial(a.ctx, endpoint.URL)
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("reach the server of %s: %w", a.Data, err)
	}
	return &source{r, c, r.Story(), func() { c.Close(); r.Close() }}, nil
}

// existing opens the ledger of a command that makes none.
func (a *app) existing() (*source, error) {
	s, err := a.open(nil)
	if errors.Is(err, ledger.ErrNoLedger) {
		err = fmt.Errorf("%w; todoke serve, intake or demo --keep makes one, --data names another", err)
	}
	return s, err
}

// reporter returns a reporter for --party.
func (a *app) reporter(log producers.Appender) (*producers.Reporter, error) {
	party, err := a.party()
	if err != nil {
		return nil, err
	}
	key, err := a.key(party)
	if err != nil {
		return nil, err
	}
	return producers.New(producers.Config{Log: log, Party: party, Key: key, Now: time.Now, Rand: rand.Reader})
}

// party returns who speaks, from --party.
func (a *app) party() (ledger.Party, error) {
	if a.Party == "" {
		return "", usagef("say who speaks with --party, as in --party municipality:131229")
	}
	party, err := ledger.ParseParty(a.Party)
	if err != nil {
		return "", usagef("%v", err)
	}
	return party, nil
}
