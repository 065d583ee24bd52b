package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"todoke/ledger"
)

// Config says where a ledger is and what it is opened with.
type Config struct {
	Dir    string
	Now    func() time.Time // the record time; an ordinary ledger's is the system clock
	Rand   io.Reader        // crypto/rand.Reader: ledger id, salts, token
	Logger zerolog.Logger   // what the broker has to say
	// Listen opens a port on the loopback interface and writes the endpoint
	// file, so that other processes of this machine find the ledger.
	Listen bool
	// Story is the story that the caller plays, "" for an ordinary ledger.
	// Appends need the ledger's own.
	Story string
	// Opening is what a new ledger begins with.
	Opening Opening
}

// An Opening is what the first events of a new ledger say.
type Opening struct {
	Party ledger.Party // operator:local
	Key   ledger.Signer
	Story string
	Pack  []byte // the rule pack, as text
}

// A Ledger is an embedded broker with the ledger's stream and its only
// committer. It is a [ledger.Log], safe for use by several goroutines.
type Ledger struct {
	*Reader
	committer
	cfg    Config
	lock   *os.File
	server *server.Server
	token  string
}

var _ ledger.Log = (*Ledger)(nil)

// Open opens the ledger in cfg.Dir and makes one where there is none. It
// returns [ledger.ErrLocked] when another process has the folder,
// [ledger.ErrDrift] when the stream is not configured as it must be,
// [ledger.ErrGap] when a sequence is missing, and [ledger.ErrOtherLedger] when
// an ordinary ledger is to play a story.
func Open(ctx context.Context, cfg Config) (*Ledger, error) {
	if cfg.Now == nil || cfg.Rand == nil || cfg.Dir == "" {
		return nil, errors.New("open ledger: Dir, Now and Rand are required")
	}
	lock, err := lockFolder(cfg.Dir)
	if err != nil {
		return nil, err
	}
	l := &Ledger{cfg: cfg, lock: lock}
	if err := l.open(ctx); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// open goes through the start in order. A crash at any step leaves a folder
// with which the next open goes on: the stream is made in one call, and the
// opening events have ids of their own, so that they are never there twice.
func (l *Ledger) open(ctx context.Context) (err error) {
	if l.token, err = newToken(l.cfg.Rand); err != nil {
		return err
	}
	if l.server, err = startServer(l.cfg.Dir, l.token, l.cfg.Listen, l.cfg.Logger); err != nil {
		return err
	}
	nc, err := connectInside(l.server, l.token)
	if err != nil {
		return err
	}
	l.Reader = &Reader{conn: nc}
	if err := makeStream(ctx, nc, l.cfg.Rand); err != nil {
		return err
	}
	if l.Reader, err = newReader(ctx, nc); err != nil {
		return err
	}
	if err := drift(l.stream.CachedInfo().Config, l.id); err != nil {
		return err
	}
	l.committer = committer{reader: l.Reader, now: l.cfg.Now, aggregates: make(map[string]aggregate), ids: make(map[ledger.ID]ledger.Seq)}
	if err := l.committer.rebuild(ctx); err != nil {
		return err
	}
	if err := l.begin(ctx); err != nil {
		return err
	}
	if l.cfg.Listen {
		return announce(l.cfg.Dir, l.Endpoint())
	}
	return nil
}

// makeStream creates the stream when the store has none.
func makeStream(ctx context.Context, nc *nats.Conn, random io.Reader) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	if _, err := js.Stream(ctx, Name); !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	var id ledger.LedgerID
	if _, err := io.ReadFull(random, id[:]); err != nil {
		return fmt.Errorf("draw ledger id: %w", err)
	}
	if _, err := js.CreateStream(ctx, required(id)); err != nil {
		return fmt.Errorf("make stream: %w", err)
	}
	return nil
}

// begin writes the first two events of a new ledger and sets the story rules.
func (l *Ledger) begin(ctx context.Context) error {
	if l.at < 2 {
		o := l.cfg.Opening
		l.story = o.Story
		events := []ledger.Draft{
			{DocumentKey: "opened", Body: ledger.Body{Ledger: l.id, Story: o.Story},
				Subject: ledger.Subject{Municipality: ledger.National, Aggregate: "ledger", Kind: ledger.LedgerOpened}},
			{DocumentKey: "opening pack", Body: ledger.Body{Pack: o.Pack},
				Subject: ledger.Subject{Municipality: ledger.National, Aggregate: "rules", Kind: ledger.RulesPublished}},
		}
		for _, d := range events {
			if err := l.write(ctx, d); err != nil {
				return fmt.Errorf("open new ledger: %w", err)
			}
		}
	}
	switch {
	case l.story == l.cfg.Story:
		return nil
	case l.story == "":
		return fmt.Errorf("ledger %s is an ordinary one and plays no story: %w", l.id, ledger.ErrOtherLedger)
	}
	l.readOnly = true
	return nil
}

// write signs and appends one of the opening events.
func (l *Ledger) write(ctx context.Context, d ledger.Draft) error {
	d.Author, d.Sent = l.cfg.Opening.Party, l.cfg.Now()
	if _, err := io.ReadFull(l.cfg.Rand, d.Salt[:]); err != nil {
		return fmt.Errorf("draw salt: %w", err)
	}
	if l.cfg.Opening.Key == nil {
		return errors.New("a key for the opening is required")
	}
	r, err := ledger.New(l.id, d, l.cfg.Opening.Key)
	if err != nil {
		return err
	}
	_, err = l.Append(ctx, r)
	return err
}

// Head implements [ledger.Reader] from the committer's memory.
func (l *Ledger) Head(ctx context.Context) (ledger.Seq, error) { return l.known(ctx) }

// Endpoint says how other processes reach this ledger. It is empty unless
// Config.Listen is set.
func (l *Ledger) Endpoint() Endpoint {
	if !l.cfg.Listen {
		return Endpoint{}
	}
	return endpointOf(l.server, l.token)
}

// Conn returns the connection inside this process, for the gate. It closes with
// the ledger.
func (l *Ledger) Conn() *nats.Conn { return l.conn }

// Close ends the committer, stops the broker and gives the folder up. It may be
// called twice.
func (l *Ledger) Close() error {
	l.committer.end()
	if l.cfg.Listen {
		os.Remove(filepath.Join(l.cfg.Dir, endpointName))
	}
	if l.Reader != nil && l.conn != nil {
		l.conn.Close()
	}
	if l.server != nil {
		l.server.Shutdown()
		l.server.WaitForShutdown()
	}
	return l.lock.Close()
}
