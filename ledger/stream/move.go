package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"todoke/ledger"
)

// Where the metadata of a stream say that it is a copy that is being made. No
// configuration with it is the required one, so that nobody reads or serves it.
const (
	copyKey    = "todoke-copy"
	incomplete = "incomplete"
)

// outage is for how long a move waits for a cluster that does not answer. The
// election of a leader takes 4 to 8 seconds.
const outage = time.Minute

// A Copy says how far a ledger has been copied to a cluster.
type Copy struct {
	Ledger   ledger.LedgerID
	Servers  string     // of the cluster, without secrets
	Head     ledger.Seq // where the ledger ends
	Copied   ledger.Seq // how many events this run has copied
	Held     ledger.Seq // up to where the copy is known to be
	Compared ledger.Seq // up to where both have been read and are the same
}

// Move takes the embedded ledger in cfg.Dir to a cluster: the same sequence,
// subject, own headers and body for every message, bytes that are no event
// included. The ledger id stays, so that every receipt holds, and [Join] goes on
// with the next incarnation. Nothing is appended. It tells how far it is.
//
//	                                    who takes events      after a crash here
//	lock, open, read the folder         nobody: we have it    the folder
//	make the stream, with a mark        nobody                the folder
//	copy behind the fence, in batches   nobody                the folder
//	read both whole and compare         nobody                the folder
//	write the file moved                nobody                nobody: move again
//	take the mark away                  the cluster           the cluster: move again says so
//
// A crash before the file leaves the folder as it was, and a copy that everybody
// refuses ([ledger.ErrIncomplete]). The file ends the ledger in the folder
// ([ledger.ErrMoved]); the cluster becomes the ledger when the mark goes. In this
// order there is a moment in which neither takes events, and none in which both
// do. The same call again goes on wherever it was: what the copy has is compared,
// not believed.
//
// The errors are those of [Open] and [Join], and
//
//   - [ledger.ErrLocked] when somebody serves the folder;
//   - [ledger.ErrOtherLedger] when the cluster has another ledger, or another
//     event than the folder at some sequence, which the sentence names;
//   - [ledger.ErrMoved] when the folder was moved to other servers;
//   - [ledger.ErrGap] when it was moved to these, and they have lost it;
//   - [ledger.ErrUnavailable] when the cluster has not answered for a minute.
func Move(ctx context.Context, cfg Config, to Address, tell func(Copy)) (Copy, error) {
	if cfg.Dir == "" || cfg.Now == nil || cfg.Rand == nil || to.URL == "" || to.Replicas < 1 || tell == nil {
		return Copy{}, errors.New("move ledger: Dir, Now, Rand, URL, Replicas and tell are required")
	}
	m := &mover{cluster: &Ledger{cfg: cfg, at: to}, tell: tell}
	if err := m.openSource(ctx, cfg); err != nil {
		return Copy{}, fmt.Errorf("open %s: %w", cfg.Dir, err)
	}
	defer m.source.Close()
	nc, err := connectOutside(to.URL)
	if err != nil {
		return Copy{}, err
	}
	defer nc.Close()
	err = m.move(ctx, nc)
	return m.state, err
}

// A mover is one run of Move.
type mover struct {
	source  *Ledger // open, and never written to
	cluster *Ledger // the ledger as Join will find it; never opened
	target  *Reader // of the copy
	moved   *moved  // what the folder says, nil before it was moved
	tell    func(Copy)

	state    Copy
	name     string // of this run's batches
	attempts uint64
}

// openSource takes the folder, and opens the ledger in it without appending to it.
func (m *mover) openSource(ctx context.Context, cfg Config) error {
	if named, err := readName(cfg.Dir); err != nil {
		return err
	} else if named == "" {
		return ledger.ErrNoLedger
	}
	lock, _, err := lockFolder(cfg.Dir)
	if err != nil {
		return err
	}
	cfg.Listen = false
	l := &Ledger{cfg: cfg, lock: lock}
	l.close = sync.OnceValue(l.shut)
	if err := m.take(ctx, l); err != nil {
		l.Close()
		return err
	}
	return nil
}

// take judges whether a folder that is ours may be moved, and opens its store.
func (m *mover) take(ctx context.Context, l *Ledger) (err error) {
	servers := withoutSecrets(m.cluster.at.URL)
	if m.moved, err = readMoved(l.cfg.Dir); err != nil {
		return err
	}
	if m.moved != nil && m.moved.Servers != servers {
		return m.moved.refuse()
	}
	if m.name, err = newToken(l.cfg.Rand); err != nil {
		return err
	}
	m.name = m.name[:8]
	if err := l.openStore(ctx); err != nil {
		return err
	}
	head, _ := l.head()
	if head < opening {
		return fmt.Errorf("ledger %s ends at %d, before it was open: %w", l.id, head, ledger.ErrGap)
	}
	m.source = l
	m.state = Copy{Ledger: l.id, Servers: servers, Head: head}
	return nil
}

// move goes through the steps in order.
func (m *mover) move(ctx context.Context, nc *nats.Conn) error {
	if err := m.persist(ctx, func(ctx context.Context) error { return m.openTarget(ctx, nc) }); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{m.copy, m.compareAll, m.inspect} {
		if err := m.persist(ctx, step); err != nil {
			return err
		}
	}
	if m.moved == nil {
		if err := writeMoved(m.source.cfg.Dir, m.note()); err != nil {
			return err
		}
	}
	if !m.target.incomplete() {
		return nil
	}
	return m.persist(ctx, m.complete)
}

// persist does a step until it is done. Each goes on where it was. While the
// cluster does not answer it is tried again.
func (m *mover) persist(ctx context.Context, step func(context.Context) error) error {
	patience := time.NewTimer(outage)
	defer patience.Stop()
	for {
		before := m.state.Held + m.state.Compared
		err := step(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.Is(err, ledger.ErrUnavailable) {
			return err
		}
		if m.state.Held+m.state.Compared > before {
			patience.Reset(outage)
		}
		again := time.NewTimer(longestWait)
		select {
		case <-ctx.Done():
		case <-again.C:
		case <-patience.C:
			return err
		}
		again.Stop()
	}
}

// openTarget finds the copy, and makes one where there is no ledger.
func (m *mover) openTarget(ctx context.Context, nc *nats.Conn) error {
	r, err := newCopyReader(ctx, nc)
	if errors.Is(err, ledger.ErrNoLedger) {
		if err := m.makeTarget(ctx, nc); err != nil {
			return err
		}
		r, err = newCopyReader(ctx, nc)
	}
	if err != nil {
		return err
	}
	if r.id != m.state.Ledger {
		return fmt.Errorf("the cluster at %s keeps ledger %s, the folder %s: %w", m.state.Servers, r.id, m.state.Ledger, ledger.ErrOtherLedger)
	}
	m.target = r
	return m.inspect(ctx)
}

func (m *mover) makeTarget(ctx context.Context, nc *nats.Conn) error {
	if m.moved != nil {
		return fmt.Errorf("ledger %s was moved to %s and is not there: %w", m.state.Ledger, m.state.Servers, ledger.ErrGap)
	}
	ctx, cancel := context.WithTimeout(ctx, makeTimeout)
	defer cancel()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	if _, err := js.CreateStream(ctx, m.required(true)); codeOf(err) != 0 {
		return fmt.Errorf("make the copy: %w", err)
	} else if err != nil {
		return fmt.Errorf("make the copy: %w: %w", ledger.ErrUnavailable, err)
	}
	return nil
}

// required is the configuration that the copy must have, while it is being made
// and after that.
func (m *mover) required(marked bool) jetstream.StreamConfig {
	c := m.cluster.required(m.state.Ledger)
	if marked {
		c.Metadata[copyKey] = incomplete
	}
	return c
}

// incomplete reports whether the stream was a copy that is being made, when it
// was found.
func (r *Reader) incomplete() bool { return r.stream.CachedInfo().Config.Metadata[copyKey] != "" }

// inspect asserts the configuration of the copy, and how its servers run.
func (m *mover) inspect(ctx context.Context) error {
	if err := drift(ctx, m.target.conn, m.required(m.target.incomplete())); err != nil {
		return err
	}
	return m.cluster.checkPeers(ctx, m.target)
}

// copy looks what the copy has, and sends it what it has not.
func (m *mover) copy(ctx context.Context) error {
	if err := m.look(ctx); err != nil {
		return err
	}
	var group []ledger.Record
	size := 0
	for r, err := range m.source.Read(ctx, m.state.Held+1, m.state.Head) {
		if err != nil {
			return fmt.Errorf("read the folder: %w", err)
		}
		if !writable(r.Header) {
			return fmt.Errorf("event %d has headers that cannot be written again as they are", r.Seq)
		}
		n := overhead + len(r.Body) + headerBytes(r.Header)
		if len(group) == maxGroup || len(group) > 0 && size+n > maxGroupBytes {
			if err := m.send(ctx, group); err != nil {
				return err
			}
			group, size = nil, 0
		}
		group, size = append(group, r), size+n
	}
	return m.send(ctx, group)
}

// headerBytes returns how long headers are. Those of foreign bytes may be longer
// than any event's.
func headerBytes(h ledger.Header) (n int) {
	for name, values := range h {
		for _, value := range values {
			n += len(name) + len(value)
		}
	}
	return n
}

// writable reports whether the library writes headers as it has read them. It
// trims values; nobody who stored them with this library has others.
func writable(h ledger.Header) bool {
	for name, values := range h {
		for _, value := range values {
			if value != textproto.TrimString(value) || strings.ContainsAny(value, "\r\n") {
				return false
			}
		}
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == ':' || r > '~' }) {
			return false
		}
	}
	return true
}

// look compares what the copy has beyond what is known of it: what an earlier run
// has sent, or this one without an answer.
func (m *mover) look(ctx context.Context) error {
	head, err := m.target.Head(ctx)
	switch {
	case err != nil:
		return err
	case head < m.state.Held:
		return fmt.Errorf("the copy ends at %d, and had %d before: %w", head, m.state.Held, ledger.ErrUnavailable)
	case head < m.state.Head && !m.target.incomplete():
		return fmt.Errorf("the cluster keeps the ledger up to %d, the folder up to %d: %w", head, m.state.Head, ledger.ErrOtherLedger)
	case head > m.state.Head && m.target.incomplete():
		return fmt.Errorf("the copy ends at %d, the folder at %d: %w", head, m.state.Head, ledger.ErrOtherLedger)
	}
	return m.compare(ctx, &m.state.Held, min(head, m.state.Head))
}

// compareAll reads all of the copy back.
func (m *mover) compareAll(ctx context.Context) error {
	return m.compare(ctx, &m.state.Compared, m.state.Head)
}

// compare reads the folder and the copy behind *at, up to last, and moves *at on
// for as long as they are the same.
func (m *mover) compare(ctx context.Context, at *ledger.Seq, last ledger.Seq) error {
	next, stop := iter.Pull2(m.target.Read(ctx, *at+1, last))
	defer stop()
	for want, err := range m.source.Read(ctx, *at+1, last) {
		if err != nil {
			return fmt.Errorf("read the folder: %w", err)
		}
		have, err, _ := next()
		if err != nil {
			// A server that lags behind the others has a gap for a moment.
			return fmt.Errorf("read the copy: %w: %w", ledger.ErrUnavailable, err)
		}
		if !same(want, have) {
			return fmt.Errorf("event %d on the cluster is not that of the folder: %w", want.Seq, ledger.ErrOtherLedger)
		}
		*at = want.Seq
		m.tell(m.state)
	}
	return nil
}

// same compares all that belongs to a ledger.
func same(a, b ledger.Record) bool {
	return a.Seq == b.Seq && a.Subject == b.Subject && bytes.Equal(a.Body, b.Body) &&
		maps.EqualFunc(a.Header, b.Header, func(a, b []string) bool { return slices.Equal(a, b) })
}

// send stores records behind what the copy has. Where an attempt of before got
// there after all, the fence keeps this one out, and it is looked at.
func (m *mover) send(ctx context.Context, group []ledger.Record) error {
	if len(group) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	m.attempts++
	if err := publish(ctx, m.target.conn, group, m.state.Held, m.name+strconv.FormatUint(m.attempts, 36)); err != nil {
		return fmt.Errorf("copy from %d: %w: %w", m.state.Held+1, ledger.ErrUnavailable, err)
	}
	m.state.Held += ledger.Seq(len(group))
	m.state.Copied += ledger.Seq(len(group))
	m.tell(m.state)
	return nil
}

// complete takes the mark away.
func (m *mover) complete(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, makeTimeout)
	defer cancel()
	if _, err := m.target.js.UpdateStream(short, m.required(false)); err != nil {
		return fmt.Errorf("complete the copy: %w: %w", ledger.ErrUnavailable, err)
	}
	return drift(ctx, m.target.conn, m.required(false))
}
