package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"todoke/ledger"
	"todoke/producers"
	"todoke/producers/intake"
)

// outboxName is the outbox of a gateway, in its folder.
const outboxName = "outbox.db"

// A gateway is a municipality's gateway with what stands behind it: reports are
// signed, kept in the outbox, and taken to the ledger at the end of the line.
type gateway struct {
	*intake.Gateway
	outbox   *producers.Outbox
	reporter *producers.Reporter
	line     *line

	stop  context.CancelFunc // ends delivering; nil before it has begun
	ended chan struct{}      // closed when delivering has ended
	ran   error              // what it ended with; to be read behind ended
}

// openGateway opens what stands behind the gateway in dir. Which ledger its events
// are for it learns from reached, which may be nil when the outbox knows.
func (a *app) openGateway(taken *intake.Gateway, dir string, reached *source, open func() (*source, error)) (*gateway, error) {
	g := &gateway{Gateway: taken, ended: make(chan struct{})}
	cfg := producers.OutboxConfig{File: filepath.Join(dir, outboxName), Party: taken.Party(), Now: time.Now, Rand: rand.Reader}
	if reached != nil {
		if reached.story != "" {
			return nil, ledger.ErrStory
		}
		cfg.Ledger = reached.ID()
	}
	var err error
	if g.outbox, err = producers.OpenOutbox(cfg); err != nil {
		return nil, err
	}
	if g.reporter, err = a.reporter(g.outbox); err != nil {
		return nil, errors.Join(err, g.close(0))
	}
	g.line = newLine(g.outbox.ID(), reached, open)
	return g, nil
}

// deliver begins to take to the ledger what is kept, until close.
func (g *gateway) deliver() {
	ctx, stop := context.WithCancel(context.Background())
	g.stop = stop
	go func() {
		defer close(g.ended)
		g.ran = g.outbox.Run(ctx, g.line)
	}()
}

// over reports whether nothing is delivered any more; close returns why.
func (g *gateway) over() bool {
	select {
	case <-g.ended:
		return true
	default:
		return false
	}
}

// guard ends when nothing can be delivered any more. Its error is the line's;
// the outbox's is returned by close.
func (g *gateway) guard(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-g.line.lost:
		return err
	case <-g.ended:
		return nil
	}
}

// waiting returns a context that is done after patience, or as soon as nothing is
// delivered any more.
func (g *gateway) waiting(ctx context.Context, patience time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	go func() {
		defer cancel()
		select {
		case <-g.ended:
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// flush waits until the ledger has answered for everything, for as long as patience, and
// says how much is kept here.
func (g *gateway) flush(ctx context.Context, patience time.Duration) int {
	ctx, cancel := g.waiting(ctx, patience)
	defer cancel()
	remaining, _ := g.outbox.Flush(ctx) // what remains is the answer
	return remaining
}

// close ends delivering and lets go of outbox and line; the intake.Gateway is
// the caller's. The error is also what delivering has ended with.
func (g *gateway) close(patience time.Duration) error {
	if g.stop != nil {
		g.flush(context.Background(), patience)
		g.stop()
		<-g.ended
	}
	if g.line != nil {
		g.line.close()
	}
	now, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := g.outbox.Close(now)
	return errors.Join(g.ran, err)
}

// hasOutbox reports whether the gateway in dir was ever connected.
func hasOutbox(dir string) (bool, error) {
	_, err := os.Lstat(filepath.Join(dir, outboxName))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// lockedGateway adds to the error of a gateway that another process has what to
// do about it.
func lockedGateway(err error) error {
	if errors.Is(err, ledger.ErrLocked) {
		return fmt.Errorf("%w; if that is intake --watch, put the file into its folder, or end it", err)
	}
	return err
}
