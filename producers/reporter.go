package producers

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"todoke/ledger"
)

// Bounds of the wait before the next attempt; see the package comment.
const (
	firstWait   = 100 * time.Millisecond
	longestWait = 5 * time.Second
)

// An Appender takes events into one ledger. [ledger.Log] is one; its append
// contract holds here too.
type Appender interface {
	// ID returns which ledger this is.
	ID() ledger.LedgerID
	// Append stores r as a fact; see [ledger.Log].
	Append(ctx context.Context, r ledger.Record) (ledger.Receipt, error)
}

// A Config says who reports, where to, and with what. Every field is needed.
type Config struct {
	Log   Appender
	Party ledger.Party
	Key   ledger.Signer
	Now   func() time.Time // the party's own clock; no deadline uses it
	Rand  io.Reader        // for salts, slips and waits: crypto/rand.Reader
}

// A Reporter speaks as one party. It is safe for use by several goroutines
// when Key and Rand are.
type Reporter struct {
	config Config
}

// New returns a reporter. It returns an error when a field of c is missing or
// the party is none.
func New(c Config) (*Reporter, error) {
	if c.Log == nil || c.Key == nil || c.Now == nil || c.Rand == nil {
		return nil, errors.New("make reporter: log, key, clock and randomness must be given")
	}
	if _, err := ledger.ParseParty(string(c.Party)); err != nil {
		return nil, fmt.Errorf("make reporter: %w", err)
	}
	return &Reporter{c}, nil
}

// Party returns who the reporter speaks as.
func (p *Reporter) Party() ledger.Party { return p.config.Party }

// EventID returns the id that the event of r has. It is the same for every
// report of this party with the same batch, kind and slip; r must have a slip.
// Its errors are [ledger.ErrMalformed] and [ledger.ErrMismatch].
func (p *Reporter) EventID(r Report) (ledger.ID, error) {
	if r.Slip == "" {
		return ledger.ID{}, fmt.Errorf("a report without a slip has no id yet: %w", ledger.ErrMalformed)
	}
	subject, err := r.subject()
	if err != nil {
		return ledger.ID{}, err
	}
	return ledger.NewID(p.config.Log.ID(), p.config.Party, subject, r.Slip), nil
}

// Report brings r into the ledger and returns the receipt. While the outcome
// of an attempt is unknown, the ledger is unavailable or another committer has
// just taken it over, it sends the same record again, until ctx is done. It
// returns [ledger.ErrUnknown] or the context's error when nobody knows whether the
// event was stored, [ledger.ErrUnavailable] when it certainly was not, and at once
// every [ledger.ErrRefused], [ledger.ErrStorageFull] and [ledger.ErrClock].
//
// Over an [Outbox] there are three more: [ErrKeptHere] when ctx is done before
// the ledger has answered, an [*OutboxFullError], and [ErrDamaged].
func (p *Reporter) Report(ctx context.Context, r Report) (ledger.Receipt, error) {
	record, err := p.Record(r)
	if err != nil {
		return ledger.Receipt{}, fmt.Errorf("report %s: %w", r.Kind, err)
	}
	receipt, err := p.deliver(ctx, record)
	if err != nil {
		return ledger.Receipt{}, fmt.Errorf("report %s of batch %s: %w", r.Kind, r.Batch, err)
	}
	return receipt, nil
}

// Record returns the signed record of r without sending it, for an [Outbox] or
// another that keeps it first. All that is random or of the moment is drawn
// here, so that every attempt sends the same bytes; a second call for the same
// report gives other bytes, and the same event only when r has a Slip. Its
// errors are an [ledger.ErrRefused], and those of the key and of Rand.
func (p *Reporter) Record(r Report) (ledger.Record, error) {
	subject, err := r.subject()
	if err != nil {
		return ledger.Record{}, err
	}
	var random [32]byte
	if _, err := io.ReadFull(p.config.Rand, random[:]); err != nil {
		return ledger.Record{}, fmt.Errorf("draw salt: %w", err)
	}
	d := ledger.Draft{
		Author: p.config.Party, Subject: subject, DocumentKey: r.Slip,
		Body: r.body(), Salt: [16]byte(random[:16]), Sent: p.config.Now(),
	}
	if d.DocumentKey == "" {
		d.DocumentKey = hex.EncodeToString(random[16:])
	}
	return ledger.New(p.config.Log.ID(), d, p.config.Key)
}

// deliver appends until there is an answer. An unknown outcome is never
// forgotten: an attempt that was certainly not written does not undo an
// earlier one of which nobody knows.
func (p *Reporter) deliver(ctx context.Context, record ledger.Record) (ledger.Receipt, error) {
	unknown := false
	for bound := firstWait; ; bound = min(2*bound, longestWait) {
		receipt, err := p.config.Log.Append(ctx, record)
		if err == nil || errors.Is(err, ledger.ErrRefused) {
			return receipt, err
		}
		unknown = unknown || errors.Is(err, ledger.ErrUnknown)
		if worthwhile(err) && pause(ctx, jitter(p.config.Rand, bound)) {
			continue
		}
		if unknown && !errors.Is(err, ledger.ErrUnknown) {
			err = fmt.Errorf("%v: %w", err, ledger.ErrUnknown)
		}
		return ledger.Receipt{}, err
	}
}

// worthwhile reports whether the same record may find an answer by itself. For room on
// the ledger's disk, and for its clock, somebody has to do something first; what an
// outbox keeps it sends itself.
func worthwhile(err error) bool {
	if errors.Is(err, ledger.ErrStorageFull) || errors.Is(err, ledger.ErrClock) || errors.Is(err, ErrKeptHere) {
		return false
	}
	return errors.Is(err, ledger.ErrUnknown) || errors.Is(err, ledger.ErrUnavailable) || errors.Is(err, ledger.ErrFenced)
}

// jitter returns a uniformly random duration below bound, or bound when there
// is no randomness to be had.
func jitter(random io.Reader, bound time.Duration) time.Duration {
	var b [8]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return bound
	}
	return time.Duration(binary.BigEndian.Uint64(b[:]) % uint64(bound))
}

// pause waits and reports whether ctx is still running.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}
