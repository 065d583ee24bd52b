package intake

import (
	"context"
	"crypto/rand"
	"io"
	"iter"
	"maps"
	"sync"
	"testing"
	"time"

	"todoke/ledger"
	"todoke/producers"
)

// locked lets several goroutines read from one source of randomness.
type locked struct {
	mu sync.Mutex
	r  io.Reader
}

func (l *locked) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(p)
}

// memory is a ledger in memory: what Append admits is read again in order.
type memory struct {
	mu      sync.Mutex
	records []ledger.Record
	appends int // attempts, whatever came of them
	seqs    map[ledger.ID]ledger.Seq
	news    chan struct{} // closed when a record is added
}

func newMemory() *memory { return &memory{seqs: map[ledger.ID]ledger.Seq{}, news: make(chan struct{})} }

func (m *memory) ID() ledger.LedgerID { return ledger.LedgerID{3} }

func (m *memory) Append(_ context.Context, r ledger.Record) (ledger.Receipt, error) {
	e, err := ledger.Admit(m.ID(), r)
	if err != nil {
		return ledger.Receipt{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.appends++
	if seq, ok := m.seqs[e.ID()]; ok {
		if string(m.records[seq-1].Body) != string(r.Body) {
			return ledger.Receipt{}, ledger.ErrIDReused
		}
		return ledger.Receipt{Seq: seq, Duplicate: true}, nil
	}
	r.Seq, r.Header = ledger.Seq(len(m.records)+1), maps.Clone(r.Header)
	r.Header[ledger.HeaderTime] = []string{now.UTC().Format(ledger.TimeFormat)}
	m.records, m.seqs[e.ID()] = append(m.records, r), r.Seq
	close(m.news)
	m.news = make(chan struct{})
	return ledger.Receipt{Seq: r.Seq}, nil
}

func (m *memory) Head(context.Context) (ledger.Seq, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return ledger.Seq(len(m.records)), nil
}

func (m *memory) Follow(ctx context.Context, first ledger.Seq) iter.Seq2[ledger.Record, error] {
	return func(yield func(ledger.Record, error) bool) {
		for seq := first; ; seq++ {
			r, err := m.wait(ctx, seq)
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// wait returns the record at seq as soon as there is one.
func (m *memory) wait(ctx context.Context, seq ledger.Seq) (ledger.Record, error) {
	for {
		m.mu.Lock()
		records, news := m.records, m.news
		m.mu.Unlock()
		if int(seq) <= len(records) {
			return records[seq-1], nil
		}
		select {
		case <-ctx.Done():
			return ledger.Record{}, ctx.Err()
		case <-news:
		}
	}
}

// Read is Follow up to last.
func (m *memory) Read(ctx context.Context, first, last ledger.Seq) iter.Seq2[ledger.Record, error] {
	return func(yield func(ledger.Record, error) bool) {
		for r, err := range m.Follow(ctx, first) {
			if r.Seq > last || !yield(r, err) {
				return
			}
		}
	}
}

// reporter returns a reporter of a party with a new key.
func (m *memory) reporter(t testing.TB, party ledger.Party) *producers.Reporter {
	t.Helper()
	key, err := producers.LocalKey(t.TempDir(), party, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r, err := producers.New(producers.Config{Log: m, Party: party, Key: key, Now: time.Now, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// event returns what is stored at seq.
func (m *memory) event(t testing.TB, seq ledger.Seq) ledger.Event {
	t.Helper()
	e, err := ledger.Decode(m.records[seq-1])
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (m *memory) content(t testing.TB, seq ledger.Seq) ledger.Body {
	t.Helper()
	return m.event(t, seq).Content
}
