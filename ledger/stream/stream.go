package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"todoke/ledger"
)

// Config says where a ledger is and what it is opened with.
type Config struct {
	Dir    string           // the ledger's folder
	Now    func() time.Time // the record time; an ordinary ledger's is the system clock
	Rand   io.Reader        // crypto/rand.Reader: ledger id, salts, token
	Logger zerolog.Logger   // what the broker has to say; the zero Logger is silent
	// Listen opens a port on the loopback interface and writes the endpoint
	// file, so that other processes of this machine find the ledger.
	Listen bool
	// Story is the story that the caller plays, "" for an ordinary ledger.
	// Appends need the ledger's own.
	Story string
	// Opening is what a new ledger begins with. Without a key none is made.
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
	*committer
	cfg    Config
	lock   *os.File
	server *server.Server
	token  string
	inside *nats.Conn // for services of this process
	close  func() error
}

// Open opens the ledger in cfg.Dir and makes one where there is none and cfg
// has an Opening. It returns
//
//   - [ledger.ErrLocked] when another process has the folder;
//   - [ledger.ErrNoLedger] when there is none and none may be made;
//   - [ledger.ErrDrift] when the stream is not configured as it must be;
//   - [ledger.ErrGap] when events that were there are not;
//   - [ledger.ErrOtherLedger] when the store is not the one that the folder
//     names, or when an ordinary ledger is to play a story.
func Open(ctx context.Context, cfg Config) (*Ledger, error) {
	if cfg.Now == nil || cfg.Rand == nil || cfg.Dir == "" {
		return nil, errors.New("open ledger: Dir, Now and Rand are required")
	}
	if named, err := readName(cfg.Dir); err != nil {
		return nil, err
	} else if named == "" && cfg.Opening.Key == nil {
		return nil, fmt.Errorf("%s: %w", cfg.Dir, ledger.ErrNoLedger)
	}
	lock, err := lockFolder(cfg.Dir)
	if err != nil {
		return nil, err
	}
	l := &Ledger{cfg: cfg, lock: lock}
	l.close = sync.OnceValue(l.shut)
	if err := l.open(ctx); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// open goes through the start in order. A crash at any step leaves a folder
// with which the next open goes on: the stream is made in one call, the opening
// events have ids of their own, so that they are never there twice, and the
// folder is named last.
func (l *Ledger) open(ctx context.Context) (err error) {
	named, err := readName(l.cfg.Dir)
	if err != nil {
		return err
	}
	if l.token, err = newToken(l.cfg.Rand); err != nil {
		return err
	}
	if l.server, err = startServer(l.cfg.Dir, l.token, l.cfg.Listen, l.cfg.Logger); err != nil {
		return err
	}
	if l.inside, err = connectInside(l.server, l.token); err != nil {
		return err
	}
	if named == "" {
		if err := makeStream(ctx, l.inside, l.cfg.Rand); err != nil {
			return err
		}
	}
	if l.Reader, err = l.newReader(ctx); errors.Is(err, ledger.ErrNoLedger) {
		return fmt.Errorf("ledger %s has lost its stream: %w", named, ledger.ErrGap)
	} else if err != nil {
		return err
	}
	if named != "" && named != l.id.String() {
		return fmt.Errorf("the folder is of ledger %s, its store of %s: %w", named, l.id, ledger.ErrOtherLedger)
	}
	if err := drift(ctx, l.inside, l.id); err != nil {
		return err
	}
	writer, err := l.newReader(ctx)
	if err != nil {
		return err
	}
	if l.committer, err = newCommitter(ctx, writer, l.cfg.Now); err != nil {
		writer.Close()
		return err
	}
	if named != "" && l.at < opening {
		return fmt.Errorf("ledger %s ends at %d, before it was open: %w", named, l.at, ledger.ErrGap)
	}
	return l.begin(ctx)
}

// newReader returns a reader on a connection of its own: what one reads never
// delays what another one waits for.
func (l *Ledger) newReader(ctx context.Context) (*Reader, error) {
	nc, err := connectInside(l.server, l.token)
	if err != nil {
		return nil, err
	}
	r, err := newReader(ctx, nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return r, nil
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

// opening is how many events a new ledger begins with.
const opening = 2

// begin writes the first events of a new ledger, names the folder, sets the
// story rules and announces the ledger.
func (l *Ledger) begin(ctx context.Context) error {
	if l.at < opening {
		if err := l.writeOpening(ctx); err != nil {
			return fmt.Errorf("open new ledger: %w", err)
		}
		l.story = l.cfg.Opening.Story
	}
	if err := writeName(l.cfg.Dir, l.id); err != nil {
		return err
	}
	if l.story == "" && l.cfg.Story != "" {
		return fmt.Errorf("ledger %s is an ordinary one and plays no story: %w", l.id, ledger.ErrOtherLedger)
	}
	l.readOnly = l.story != l.cfg.Story
	if l.cfg.Listen {
		return announce(l.cfg.Dir, l.Endpoint())
	}
	return nil
}

// writeOpening signs and appends the events of the opening. Those of an earlier
// attempt are there already and must say the same.
func (l *Ledger) writeOpening(ctx context.Context) error {
	o := l.cfg.Opening
	for _, d := range []ledger.Draft{
		{DocumentKey: "opened", Body: ledger.Body{Ledger: l.id, Story: o.Story},
			Subject: ledger.Subject{Municipality: ledger.National, Aggregate: "ledger", Kind: ledger.LedgerOpened}},
		{DocumentKey: "opening pack", Body: ledger.Body{Pack: o.Pack},
			Subject: ledger.Subject{Municipality: ledger.National, Aggregate: "rules", Kind: ledger.RulesPublished}},
	} {
		d.Author, d.Sent = o.Party, l.cfg.Now()
		if _, err := io.ReadFull(l.cfg.Rand, d.Salt[:]); err != nil {
			return fmt.Errorf("draw salt: %w", err)
		}
		r, err := ledger.New(l.id, d, o.Key)
		if err != nil {
			return err
		}
		if _, err := l.Append(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// Head implements [ledger.Reader] from the committer's memory. Events of a
// doubtful outcome are not counted until they have been read back.
func (l *Ledger) Head(ctx context.Context) (ledger.Seq, error) {
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case l.life.Err() != nil:
		return 0, context.Cause(l.life)
	}
	return ledger.Seq(l.head.Load()), nil
}

// Endpoint says how other processes reach this ledger. It is empty unless
// Config.Listen is set.
func (l *Ledger) Endpoint() Endpoint {
	if !l.cfg.Listen {
		return Endpoint{}
	}
	return endpointOf(l.server, l.token, l.id)
}

// Conn returns a connection inside this process for services, such as the gate.
// It closes with the ledger.
func (l *Ledger) Conn() *nats.Conn { return l.inside }

// Close lets the append that is under way end, stops the broker and gives the
// folder up. It may be called twice.
func (l *Ledger) Close() error { return l.close() }

func (l *Ledger) shut() error {
	if l.committer != nil {
		l.committer.reader.end(ledger.ErrClosed) // whoever waits for the turn hears it
		<-l.turn
		l.give()
		l.committer.reader.Close()
	}
	if l.Reader != nil {
		l.Reader.Close()
	}
	if l.inside != nil {
		l.inside.Close()
	}
	if l.server != nil {
		withdraw(l.cfg.Dir)
		l.server.Shutdown()
		l.server.WaitForShutdown()
	}
	return l.lock.Close()
}
