package testenv

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"maps"
	"sync"
	"testing"
	"time"

	"todoke/ledger"
)

// A Config says what a log in memory is made with. The zero Config will do.
type Config struct {
	ID  ledger.LedgerID
	Now func() time.Time // the committer's clock; nil: a [Clock] that stands at [Start]
	T   testing.TB       // is marked as failed when a caller breaks the contract; may be nil
	// Admit says what may enter; nil: [ledger.Admit]. A caller that has verified
	// the very bytes already may leave out the signature.
	Admit func(ledger.LedgerID, ledger.Record) (ledger.Event, error)
}

// A Log is a [ledger.Log] in memory, safe for use by several goroutines.
type Log struct {
	cfg Config

	mu         sync.Mutex
	records    []ledger.Record // the one with sequence n stands at n-1
	lost       map[ledger.Seq]bool
	ids        map[ledger.ID]ledger.Seq
	aggregates map[string]aggregate
	last       time.Time
	faults     []Fault
	late       []attempt
	doubt      map[ledger.ID]doubt // what authors were told ErrUnknown about
	fenced     bool
	starts     []ledger.Seq // how many records there were when each later committer took over
	closed     bool
	news       chan struct{} // closed, and made anew, whenever a reader may go on
}

type aggregate struct {
	head   ledger.Seq
	events int
}

// An attempt is an event on its way in.
type attempt struct {
	events  []ledger.Event // one fact, or those of one decision
	decided *ledger.Seq    // the head that a decision was made on, nil for a fact
	fence   int            // how many records there were; it only ever lands behind them
}

// NewLog returns an empty log.
func NewLog(cfg Config) *Log {
	if cfg.Now == nil {
		cfg.Now = NewClock().Now
	}
	if cfg.Admit == nil {
		cfg.Admit = ledger.Admit
	}
	return &Log{
		cfg:        cfg,
		lost:       make(map[ledger.Seq]bool),
		ids:        make(map[ledger.ID]ledger.Seq),
		aggregates: make(map[string]aggregate),
		doubt:      make(map[ledger.ID]doubt),
		news:       make(chan struct{}),
	}
}

// ID implements [ledger.Log].
func (l *Log) ID() ledger.LedgerID { return l.cfg.ID }

// Append implements [ledger.Log].
func (l *Log) Append(ctx context.Context, r ledger.Record) (ledger.Receipt, error) {
	return l.commit(ctx, nil, r)
}

// Decide implements [ledger.Log].
func (l *Log) Decide(ctx context.Context, head ledger.Seq, decision ...ledger.Record) (ledger.Receipt, error) {
	return l.commit(ctx, &head, decision...)
}

// Close ends the log. Whoever reads or appends gets [ledger.ErrClosed].
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.wake()
	return nil
}

func (l *Log) commit(ctx context.Context, decided *ledger.Seq, records ...ledger.Record) (ledger.Receipt, error) {
	events := make([]ledger.Event, len(records))
	for i, r := range records {
		e, err := l.cfg.Admit(l.cfg.ID, r)
		if err != nil {
			return ledger.Receipt{}, err
		}
		events[i] = e
	}
	if err := ledger.OneDecision(events); err != nil {
		return ledger.Receipt{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return ledger.Receipt{}, err
	}
	if l.closed {
		return ledger.Receipt{}, ledger.ErrClosed
	}
	l.land()
	if err := l.judge(events, decided); err != nil {
		return ledger.Receipt{}, err
	}
	return l.suffer(attempt{events, decided, len(l.records)})
}

// try stores the events of an attempt, or says why not.
func (l *Log) try(a attempt) (ledger.Receipt, error) {
	known := 0
	for i := range a.events {
		if _, is := l.ids[a.events[i].ID()]; is {
			known++
		}
	}
	if known == len(a.events) {
		return l.again(a)
	}
	key := a.events[0].Subject.AggregateKey()
	has := l.aggregates[key]
	switch {
	case known > 0:
		return ledger.Receipt{}, fmt.Errorf("%d of %d events of the decision are stored: %w", known, len(a.events), ledger.ErrConflict)
	case a.decided != nil && *a.decided != has.head:
		return ledger.Receipt{}, fmt.Errorf("decided on %d, %s is at %d: %w", *a.decided, key, has.head, ledger.ErrConflict)
	case ledger.Full(has.events+len(a.events), a.decided != nil):
		return ledger.Receipt{}, fmt.Errorf("%s: %w", key, ledger.ErrFull)
	}
	if now := l.cfg.Now(); now.After(l.last) {
		l.last = now
	}
	var last ledger.Seq
	for i := range a.events {
		r := clone(a.events[i].Record)
		r.Header[ledger.HeaderTime] = []string{l.last.UTC().Format(ledger.TimeFormat)}
		r.Broker = l.last
		last = l.put(r)
	}
	return l.receipt(l.records[last-1], false), nil
}

// again answers for events whose ids are stored: the first bytes win.
func (l *Log) again(a attempt) (receipt ledger.Receipt, err error) {
	for i := range a.events {
		r := a.events[i].Record
		stored := l.records[l.ids[a.events[i].ID()]-1]
		same := stored.Subject == r.Subject && bytes.Equal(stored.Body, r.Body) &&
			stored.Header.Get(ledger.HeaderParty) == r.Header.Get(ledger.HeaderParty)
		if !same {
			return ledger.Receipt{}, fmt.Errorf("event %s is at %d: %w", r.Header.Get(ledger.HeaderID), stored.Seq, ledger.ErrIDReused)
		}
		receipt = l.receipt(stored, true)
	}
	return receipt, nil
}

func (l *Log) receipt(r ledger.Record, duplicate bool) ledger.Receipt {
	id, _ := ledger.ParseID(r.Header.Get(ledger.HeaderID))
	at, _ := time.Parse(ledger.TimeFormat, r.Header.Get(ledger.HeaderTime))
	return ledger.Receipt{Ledger: l.cfg.ID, Incarnation: l.incarnation(r.Seq), Seq: r.Seq, Time: at, ID: id, Duplicate: duplicate}
}

// put stores a record as it is and wakes those who follow.
func (l *Log) put(r ledger.Record) ledger.Seq {
	r.Seq = ledger.Seq(len(l.records) + 1)
	l.records = append(l.records, r)
	if id, err := ledger.ParseID(r.Header.Get(ledger.HeaderID)); err == nil {
		l.ids[id] = r.Seq
	}
	if s, err := ledger.ParseSubject(r.Subject); err == nil {
		l.aggregates[s.AggregateKey()] = aggregate{r.Seq, l.aggregates[s.AggregateKey()].events + 1}
	}
	l.wake()
	return r.Seq
}

func (l *Log) wake() {
	close(l.news)
	l.news = make(chan struct{})
}

// Head implements [ledger.Reader].
func (l *Log) Head(ctx context.Context) (ledger.Seq, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, ledger.ErrClosed
	}
	return ledger.Seq(len(l.records)), ctx.Err()
}

// Read implements [ledger.Reader].
func (l *Log) Read(ctx context.Context, first, last ledger.Seq) iter.Seq2[ledger.Record, error] {
	return func(yield func(ledger.Record, error) bool) {
		for seq := max(first, 1); seq <= last; seq++ {
			r, news, err := l.at(ctx, seq)
			if news != nil {
				err = fmt.Errorf("event %d is above the head: %w", seq, ledger.ErrGap)
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// Follow implements [ledger.Reader].
func (l *Log) Follow(ctx context.Context, first ledger.Seq) iter.Seq2[ledger.Record, error] {
	return func(yield func(ledger.Record, error) bool) {
		for seq := max(first, 1); ; {
			r, news, err := l.at(ctx, seq)
			if news != nil {
				select {
				case <-news:
				case <-ctx.Done():
				}
				continue
			}
			if !yield(r, err) || err != nil {
				return
			}
			seq++
		}
	}
}

// at returns a copy of the record at seq, or a channel that is closed with the
// next news when it is not there yet.
func (l *Log) at(ctx context.Context, seq ledger.Seq) (ledger.Record, <-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return ledger.Record{}, nil, ctx.Err()
	case l.closed:
		return ledger.Record{}, nil, ledger.ErrClosed
	case l.lost[seq]:
		return ledger.Record{}, nil, fmt.Errorf("event %d: %w", seq, ledger.ErrGap)
	case seq > ledger.Seq(len(l.records)):
		return ledger.Record{}, l.news, nil
	}
	return clone(l.records[seq-1]), nil, nil
}

// clone returns a copy that shares nothing with r.
func clone(r ledger.Record) ledger.Record {
	r.Body = bytes.Clone(r.Body)
	r.Header = maps.Clone(r.Header)
	if r.Header == nil {
		r.Header = make(ledger.Header)
	}
	for name, values := range r.Header {
		r.Header[name] = append([]string(nil), values...)
	}
	return r
}
