package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
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
	Dir string           // the ledger's folder
	Now func() time.Time // the record time; an ordinary ledger's is the system clock
	// Elapsed is the time since some moment, whatever the clock was set to
	// meanwhile. With it the clock is watched: see the package comment. nil for
	// virtual clocks.
	Elapsed func() time.Duration
	Rand    io.Reader      // crypto/rand.Reader: ledger id, salts, token
	Logger  zerolog.Logger // what the broker has to say; the zero Logger is silent
	// Party and Key sign what the ledger says of itself: that it was opened,
	// that it was started, whom it refused.
	Party ledger.Party // operator:local
	Key   ledger.Signer
	// Listen opens a port on the loopback interface and writes the endpoint
	// file, so that other processes of this machine find the ledger.
	Listen bool
	// Story is the story that the caller plays, "" for an ordinary ledger.
	// Appends need the ledger's own.
	Story string
	// AcceptClock believes the clock at the start, whatever it says.
	AcceptClock bool
	// Opening is what a new ledger begins with. Without a pack none is made.
	Opening Opening
}

// An Opening is what the first events of a new ledger say.
type Opening struct {
	Story string
	Pack  []byte // the rule pack, as text
}

// A Ledger is a broker's stream and its only committer. It is a [ledger.Log],
// safe for use by several goroutines.
type Ledger struct {
	*Reader
	*committer
	cfg     Config
	lock    *os.File
	alive   time.Time  // the last sign of life of the incarnation before
	inside  *nats.Conn // for services of this process
	running bool       // the committer serves
	close   func() error

	// Of an embedded ledger.
	server *server.Server
	disk   *disk
	full   bool // as Run has said
	token  string

	// Of a ledger on a cluster.
	at      Address
	release func() // gives the lease up
	missing string // what was said last of servers that do not answer
}

// Open opens the ledger in cfg.Dir and makes one where there is none and cfg
// has an Opening. It returns
//
//   - [ledger.ErrLocked] when another process has the folder;
//   - [ledger.ErrNoLedger] when there is none and none may be made;
//   - [ledger.ErrMoved] when [Move] has taken the ledger to a cluster;
//   - [ledger.ErrDrift] when the stream is not configured as it must be;
//   - [ledger.ErrGap] when events that were there are not;
//   - [ledger.ErrOtherLedger] when the store is not the one that the folder
//     names, or when an ordinary ledger is to play a story.
func Open(ctx context.Context, cfg Config) (*Ledger, error) {
	if cfg.Now == nil || cfg.Rand == nil || cfg.Dir == "" || cfg.Key == nil {
		return nil, errors.New("open ledger: Dir, Now, Rand, Party and Key are required")
	}
	if named, err := readName(cfg.Dir); err != nil {
		return nil, err
	} else if named == "" && cfg.Opening.Pack == nil {
		return nil, fmt.Errorf("%s: %w", cfg.Dir, ledger.ErrNoLedger)
	}
	lock, alive, err := lockFolder(cfg.Dir)
	if err != nil {
		return nil, err
	}
	l := &Ledger{cfg: cfg, lock: lock, alive: alive}
	l.close = sync.OnceValue(l.shut)
	if err := l.open(ctx); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// open goes through the start in order. A crash at any step leaves a folder
// with which the next open goes on: the folder is named last, and the store of a
// ledger that was not made to its end is made anew.
func (l *Ledger) open(ctx context.Context) error {
	// Asked once the folder is ours: a move ends with the lock in its hands.
	if err := notMoved(l.cfg.Dir); err != nil {
		return err
	}
	if err := l.openStore(ctx); err != nil {
		return err
	}
	return l.begin(ctx)
}

// openStore starts the broker and reads the stream. It appends nothing.
func (l *Ledger) openStore(ctx context.Context) (err error) {
	named, err := readName(l.cfg.Dir)
	if err != nil {
		return err
	}
	at := seat{}
	if l.cfg.Listen {
		if at, err = lastSeat(l.cfg.Dir, l.cfg.Rand); err != nil {
			return err
		}
	} else if at.Token, err = newToken(l.cfg.Rand); err != nil {
		return err
	}
	l.token = at.Token
	if named == "" {
		if err := beginMaking(l.cfg.Dir); err != nil {
			return err
		}
	}
	l.disk = &disk{dir: l.cfg.Dir, free: free, said: &brokerLog{to: l.cfg.Logger}}
	if err := l.disk.begin(); err != nil {
		return err
	}
	if l.server, err = startServer(l.cfg.Dir, l.token, at.Port, l.disk.said); err != nil {
		return err
	}
	l.disk.server = l.server
	if l.inside, err = l.connect(); err != nil {
		return err
	}
	if named == "" {
		if err := l.makeStream(ctx); err != nil {
			return err
		}
	}
	return l.openStream(ctx)
}

// connect opens a connection to the broker.
func (l *Ledger) connect() (*nats.Conn, error) {
	if l.server != nil {
		return connectInside(l.server, l.token)
	}
	return connectOutside(l.at.URL)
}

// openStream finds the stream, asserts that it is this ledger's and configured as
// it must be, and reads all of it.
func (l *Ledger) openStream(ctx context.Context) error {
	named, err := readName(l.cfg.Dir)
	if err != nil {
		return err
	}
	reader, err := l.newReader(ctx)
	if errors.Is(err, ledger.ErrNoLedger) && named != "" {
		return fmt.Errorf("ledger %s has lost its stream: %w", named, ledger.ErrGap)
	} else if err != nil {
		return err
	}
	if err := l.assert(ctx, reader, named); err != nil {
		reader.Close()
		return err
	}
	writer, err := l.newReader(ctx)
	if err != nil {
		reader.Close()
		return err
	}
	least := leastSingle
	if l.server == nil {
		// Asking again is harmless, and a leader may have gone without a word.
		least, writer.patience = leastCluster, clusterPatience
	}
	c, err := newCommitter(ctx, writer, clock{now: l.cfg.Now, elapsed: l.cfg.Elapsed, accept: l.cfg.AcceptClock}, l.disk, least)
	if err != nil {
		reader.Close()
		writer.Close()
		return err
	}
	l.Reader, l.committer = reader, c
	return nil
}

// assert refuses a stream that is not the one that the folder names, or not
// configured as it must be.
func (l *Ledger) assert(ctx context.Context, r *Reader, named string) error {
	if named != "" && named != r.id.String() {
		return fmt.Errorf("the folder is of ledger %s, its store of %s: %w", named, r.id, ledger.ErrOtherLedger)
	}
	if err := drift(ctx, l.inside, l.required(r.id)); err != nil {
		return err
	}
	return l.checkPeers(ctx, r)
}

// required is the configuration that the stream must have here.
func (l *Ledger) required(id ledger.LedgerID) jetstream.StreamConfig {
	return required(id, max(l.at.Replicas, 1))
}

// newReader returns a reader on a connection of its own: what one reads never
// delays what another one waits for.
func (l *Ledger) newReader(ctx context.Context) (*Reader, error) {
	nc, err := l.connect()
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

// makeStream creates the stream when there is none.
func (l *Ledger) makeStream(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, makeTimeout)
	defer cancel()
	js, err := jetstream.New(l.inside)
	if err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	if _, err := js.Stream(ctx, Name); !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	var id ledger.LedgerID
	if _, err := io.ReadFull(l.cfg.Rand, id[:]); err != nil {
		return fmt.Errorf("draw ledger id: %w", err)
	}
	if _, err := js.CreateStream(ctx, l.required(id)); err != nil {
		return fmt.Errorf("make stream: %w", err)
	}
	return nil
}

// opening is how many events a new ledger begins with.
const opening = 2

// begin lets the committer serve. It writes the first events of a new ledger,
// names the folder, sets the story rules and announces the ledger.
func (l *Ledger) begin(ctx context.Context) error {
	head, _ := l.head()
	named, err := readName(l.cfg.Dir)
	if err != nil {
		return err
	}
	fresh := head < opening
	if fresh {
		l.story = l.cfg.Opening.Story
	}
	switch {
	case fresh && named != "":
		return fmt.Errorf("ledger %s ends at %d, before it was open: %w", named, head, ledger.ErrGap)
	case fresh && l.cfg.Opening.Pack == nil:
		return fmt.Errorf("ledger %s was not made to its end: %w", l.id, ledger.ErrNoLedger)
	case l.story == "" && l.cfg.Story != "":
		return fmt.Errorf("ledger %s is an ordinary one and plays no story: %w", l.id, ledger.ErrOtherLedger)
	}
	l.readOnly = l.story != l.cfg.Story
	l.started = fresh // the opening is the start of the first incarnation
	l.committer.starter = l.starter()
	l.running = true
	go l.run()
	if fresh {
		if err := l.writeOpening(ctx); err != nil {
			return fmt.Errorf("open new ledger: %w", err)
		}
	}
	if err := writeName(l.cfg.Dir, l.id); err != nil {
		return err
	}
	if err := endMaking(l.cfg.Dir); err != nil {
		return err
	}
	if l.cfg.Listen && l.server != nil {
		if err := keepSeat(l.cfg.Dir, l.token, l.server); err != nil {
			return err
		}
		return announce(l.cfg.Dir, l.Endpoint())
	}
	return nil
}

func (l *Ledger) starter() starter {
	return starter{party: l.cfg.Party, key: l.cfg.Key, rand: l.cfg.Rand, alive: l.alive}
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
		d.Author, d.Sent = l.cfg.Party, l.cfg.Now()
		r, err := l.starter().record(l.id, d)
		if err != nil {
			return err
		}
		if _, err := l.Append(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// Head implements [ledger.Reader]: from the committer's memory, and on a cluster,
// where another committer may have taken over, from the broker too.
func (l *Ledger) Head(ctx context.Context) (ledger.Seq, error) {
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case l.life.Err() != nil:
		return 0, context.Cause(l.life)
	}
	head, _ := l.head()
	if l.server != nil {
		return head, nil
	}
	stored, err := l.Reader.Head(ctx)
	return max(head, stored), err
}

// History yields the records of one aggregate in order, from where the committer
// knows them to be: what the gate shows a party of its batch. It ends as
// [Reader.Read] does.
func (l *Ledger) History(ctx context.Context, municipality, aggregate string) iter.Seq2[ledger.Record, error] {
	key := ledger.Subject{Municipality: municipality, Aggregate: aggregate}.AggregateKey()
	return func(yield func(ledger.Record, error) bool) {
		for _, seq := range l.sequences(key) {
			r, err := l.get(ctx, seq)
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// Append implements [ledger.Log]. An attempt to use an event id again for another
// event is recorded, once for each author, municipality and hour: the id is bound
// to its author, so that only that author's key, or its holder, can have tried. Of
// decisions nothing is recorded: two watchdogs may differ under one alert's id.
func (l *Ledger) Append(ctx context.Context, r ledger.Record) (ledger.Receipt, error) {
	receipt, err := l.committer.Append(ctx, r)
	if errors.Is(err, ledger.ErrIDReused) {
		if noted := l.noteReuse(ctx, r); noted != nil {
			err = fmt.Errorf("%w (and this could not be recorded: %v)", err, noted)
		}
	}
	return receipt, err
}

func (l *Ledger) noteReuse(ctx context.Context, r ledger.Record) error {
	subject, err := ledger.ParseSubject(r.Subject)
	if err != nil {
		return err
	}
	who, hour := ledger.Party(r.Header.Get(ledger.HeaderParty)), l.cfg.Now().UTC().Truncate(time.Hour)
	d := ledger.Draft{
		Author: l.cfg.Party, Sent: l.cfg.Now(), DocumentKey: fmt.Sprint("id-reused ", who, " ", hour.Format(time.RFC3339)),
		Subject: ledger.Subject{Municipality: subject.Municipality, Aggregate: ledger.AccessAggregate(hour), Kind: ledger.AccessRecorded},
		Body:    ledger.Body{Who: who, Since: hour, Reason: ledger.Code(ledger.ErrIDReused)},
	}
	record, err := l.starter().record(l.id, d)
	if err != nil {
		return err
	}
	_, err = l.committer.Append(ctx, record)
	return err
}

// Endpoint says how other processes reach this ledger. It is empty unless
// Config.Listen is set.
func (l *Ledger) Endpoint() Endpoint {
	if !l.cfg.Listen || l.server == nil {
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
		l.committer.reader.end(ledger.ErrClosed) // whoever waits hears it
		if l.running {
			<-l.ended
		}
		l.committer.reader.Close()
	}
	if l.release != nil {
		l.release()
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
