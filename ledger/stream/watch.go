package stream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"todoke/ledger"
)

const (
	// inspection is how often a running ledger looks after its stream.
	inspection = time.Second
	// peerInspection is how often the servers of a cluster are asked how they
	// run: one may come back with another configuration.
	peerInspection = 10 * time.Second
	// signOfLife is how often it says that it is alive, so that the next start
	// knows since when it was not.
	signOfLife = 5 * time.Second
)

// Run looks after the ledger until ctx is done, and returns nil then. It returns
// why the ledger can never append again: [ledger.ErrFenced] when another committer
// has taken over, [ledger.ErrDrift] when the stream's configuration was changed,
// an [ledger.ErrUnavailable] when the disk or the connection failed for good.
func (l *Ledger) Run(ctx context.Context) error {
	inspect, peers, live := time.NewTicker(inspection), time.NewTicker(peerInspection), time.NewTicker(signOfLife)
	defer inspect.Stop()
	defer peers.Stop()
	defer live.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-l.lost.Done():
			return fmt.Errorf("ledger %s takes no more events: %w", l.id, context.Cause(l.lost))
		case <-l.life.Done():
			return fmt.Errorf("ledger %s: %w", l.id, context.Cause(l.life))
		case <-inspect.C:
			err = drift(ctx, l.inside, l.required(l.id))
			l.tellRoom()
		case <-peers.C:
			err = l.checkPeers(ctx, l.Reader)
		case now := <-live.C:
			err = l.signLife(now)
		}
		if errors.Is(err, ledger.ErrDrift) {
			l.lose(fmt.Errorf("%w: %w", ledger.ErrUnavailable, err))
		}
	}
}

// tellRoom says once when the disk is full, and once when it is not any more.
func (l *Ledger) tellRoom() {
	err := l.disk.room(0)
	full := errors.Is(err, ledger.ErrStorageFull)
	switch {
	case full && !l.full:
		l.cfg.Logger.Error().Err(err).Msg("nothing is appended; reading goes on")
	case l.full && !full:
		l.cfg.Logger.Warn().Msg("there is room on the disk again; appending goes on")
	}
	l.full = full
}

// signLife sets the time of the lock file. That it cannot be set, as on a full
// disk, changes nothing but what the next start can tell.
func (l *Ledger) signLife(now time.Time) error {
	return os.Chtimes(l.lock.Name(), now, now)
}
