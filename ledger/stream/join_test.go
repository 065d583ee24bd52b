package stream_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"todoke/ledger"
	"todoke/ledger/stream"
	"todoke/testenv"
	"todoke/testenv/cluster"
)

// leaseBucket is what the product calls the bucket of the lease.
const leaseBucket = "TODOKE"

// A site is a cluster of three servers for several ledgers, one after the other.
type site struct {
	*cluster.Cluster
	js jetstream.JetStream // of the ledger's account, which may do everything there
}

// newSite starts three servers, which end with the test.
func newSite(t *testing.T, cfg cluster.Config) *site {
	t.Helper()
	if testing.Short() {
		t.Skip("starts three servers")
	}
	c := cluster.Start(t, cfg)
	nc, err := nats.Connect(c.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return &site{c, js}
}

// clear deletes the ledger and its lease, which no part of the product does.
func (s *site) clear(t *testing.T) {
	t.Helper()
	for name := range s.js.StreamNames(t.Context()).Name() {
		if err := s.js.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
}

// address returns where the servers are.
func (s *site) address() stream.Address {
	return stream.Address{URL: s.URL(), SystemURL: s.SystemURL(), Replicas: 3}
}

// join joins a ledger that the test closes.
func (s *site) join(t *testing.T, cfg stream.Config) *stream.Ledger {
	t.Helper()
	l, err := stream.Join(t.Context(), cfg, s.address())
	if err != nil {
		t.Fatalf("join: %v", err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// refuses fails the test unless nobody can join with cfg, for the wanted reason.
func (s *site) refuses(t *testing.T, cfg stream.Config, want error, named string) {
	t.Helper()
	l, err := stream.Join(t.Context(), cfg, s.address())
	if err == nil {
		l.Close()
	}
	if !errors.Is(err, want) || !strings.Contains(err.Error(), named) {
		t.Errorf("join: error is %v, want %v that names %s", err, want, named)
	}
}

// A standby is a Join that waits.
type standby struct {
	standing chan struct{} // closed when it waits for the lease
	joined   chan *stream.Ledger
}

// wait lets another process, as it were, wait for the lease, and returns when it
// does.
func (s *site) wait(t *testing.T, cfg stream.Config) *standby {
	t.Helper()
	b := &standby{standing: make(chan struct{}), joined: make(chan *stream.Ledger, 1)}
	cfg.Logger = zerolog.New(b)
	go func() {
		l, err := stream.Join(t.Context(), cfg, s.address())
		if err != nil && t.Context().Err() == nil {
			t.Errorf("join as a standby: %v", err)
		}
		b.joined <- l
	}()
	<-b.standing
	return b
}

// Write takes the one line that a standby logs.
func (b *standby) Write(line []byte) (int, error) {
	if strings.Contains(string(line), "standby") {
		close(b.standing)
	}
	return len(line), nil
}

// takeOver waits until the standby has joined.
func (b *standby) takeOver(t *testing.T) *stream.Ledger {
	t.Helper()
	l := <-b.joined
	if l == nil {
		t.FailNow()
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestLogOnACluster(t *testing.T) {
	s := newSite(t, cluster.Config{})
	testenv.RunLog(t, func(t *testing.T, now func() time.Time) testenv.Opened {
		if strings.HasSuffix(t.Name(), "so_many_events") {
			t.Skip("the bound is the committer's own, and to reach it takes ten seconds here")
		}
		s.clear(t)
		cfg := config(t, t.TempDir())
		cfg.Now = now
		l := s.join(t, cfg)
		return testenv.Opened{Log: l, Close: l.Close, Reopen: func(t *testing.T) ledger.Log {
			if err := l.Close(); err != nil {
				t.Fatalf("close: %v", err)
			}
			return s.join(t, cfg)
		}}
	})
}

func TestJoin(t *testing.T) {
	s := newSite(t, cluster.Config{})
	for name, test := range map[string]func(*site, *testing.T){
		"a standby takes over what is given up":                  (*site).givenUp,
		"two that have the lease cost one its life and no event": (*site).wiped,
		"a lease that was deleted is made again":                 (*site).deleted,
		"a folder of another ledger is refused":                  (*site).otherLedger,
		"a lost stream is a gap":                                 (*site).lost,
		"another configuration ends it":                          (*site).drift,
		"a deleted stream ends it":                               (*site).gone,
	} {
		t.Run(name, func(t *testing.T) {
			s.clear(t)
			test(s, t)
		})
	}
}

// say appends claims and returns their receipts.
func say(t *testing.T, l *stream.Ledger, slips ...string) (receipts []ledger.Receipt) {
	t.Helper()
	for _, slip := range slips {
		r, err := l.Append(t.Context(), testenv.Claim(t, l.ID(), batch, slip, items))
		if err != nil {
			t.Fatalf("append: %v", err)
		}
		receipts = append(receipts, r)
	}
	return receipts
}

// hear says the same again and fails the test unless the receipts are the same.
func hear(t *testing.T, l *stream.Ledger, slip string, want ledger.Receipt) {
	t.Helper()
	want.Duplicate = true
	if got := say(t, l, slip)[0]; got != want {
		t.Errorf("%s has the receipt %+v, want %+v", slip, got, want)
	}
}

func (s *site) givenUp(t *testing.T) {
	first := s.join(t, config(t, t.TempDir()))
	before := say(t, first, "first")
	b := s.wait(t, config(t, t.TempDir()))
	before = append(before, say(t, first, "second")...) // while the standby reads along
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := b.takeOver(t)
	hear(t, second, "first", before[0])
	hear(t, second, "second", before[1])
	if after := say(t, second, "third")[0]; after.Incarnation != before[1].Incarnation+1 || after.Seq != before[1].Seq+2 {
		t.Errorf("receipt %+v behind %+v: want the next incarnation, behind its start", after, before[1])
	}
	testenv.CheckLedger(t, second)
}

func (s *site) wiped(t *testing.T) {
	first := s.join(t, config(t, t.TempDir()))
	before := say(t, first, "first")[0]
	b := s.wait(t, config(t, t.TempDir()))
	lease, err := s.js.Stream(t.Context(), "KV_"+leaseBucket)
	if err != nil {
		t.Fatal(err)
	}
	var second *stream.Ledger
	for second == nil { // the first may take it again before the other one does
		if err := lease.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		select {
		case second = <-b.joined:
		case <-time.After(100 * time.Millisecond):
		}
	}
	defer second.Close()
	also := say(t, first, "second")[0] // it does not know, and nobody has written yet
	if err := second.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = first.Append(t.Context(), testenv.Claim(t, first.ID(), batch, "third", items))
	if !errors.Is(err, ledger.ErrFenced) {
		t.Errorf("append beside another committer: error is %v, want %v", err, ledger.ErrFenced)
	}
	if err := first.Run(t.Context()); !errors.Is(err, ledger.ErrFenced) {
		t.Errorf("it ends with %v, want %v", err, ledger.ErrFenced)
	}
	hear(t, second, "first", before)
	hear(t, second, "second", also)
	say(t, second, "third")
	testenv.CheckLedger(t, second)
}

func (s *site) deleted(t *testing.T) {
	first := s.join(t, config(t, t.TempDir()))
	before := say(t, first, "first")[0]
	b := s.wait(t, config(t, t.TempDir()))
	if err := s.js.DeleteKeyValue(t.Context(), leaseBucket); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := b.takeOver(t)
	hear(t, second, "first", before)
	say(t, second, "second")
	testenv.CheckLedger(t, second)
}

func (s *site) otherLedger(t *testing.T) {
	cfg := config(t, t.TempDir())
	l := s.join(t, cfg)
	closeLedger(t, l)
	s.clear(t)
	closeLedger(t, s.join(t, config(t, t.TempDir())))
	s.refuses(t, cfg, ledger.ErrOtherLedger, l.ID().String())
}

func (s *site) lost(t *testing.T) {
	cfg := config(t, t.TempDir())
	l := s.join(t, cfg)
	closeLedger(t, l)
	s.clear(t)
	s.refuses(t, cfg, ledger.ErrGap, l.ID().String())
}

func (s *site) drift(t *testing.T) {
	l := s.join(t, config(t, t.TempDir()))
	last := say(t, l, "first")[0].Seq
	log, err := s.js.Stream(t.Context(), stream.Name)
	if err != nil {
		t.Fatal(err)
	}
	changed := log.CachedInfo().Config
	changed.MaxMsgs = 1_000_000
	if _, err := s.js.UpdateStream(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	endsAs(t, l, ledger.ErrDrift, "max_msgs is 1e+06, want -1")
	s.refuses(t, config(t, t.TempDir()), ledger.ErrDrift, "max_msgs")
	if end := head(t, l); end != last {
		t.Errorf("the ledger ends at %d, want %d", end, last)
	}
}

func (s *site) gone(t *testing.T) {
	l := s.join(t, config(t, t.TempDir()))
	if err := s.js.DeleteStream(t.Context(), stream.Name); err != nil {
		t.Fatal(err)
	}
	endsAs(t, l, ledger.ErrDrift, "gone")
}

// endsAs waits until a ledger ends by itself, and fails the test unless it says
// why and appends nothing any more.
func endsAs(t *testing.T, l *stream.Ledger, want error, named string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.Run(ctx); !errors.Is(err, want) || !strings.Contains(err.Error(), named) {
		t.Errorf("it ends with %v, want %v that says %s", err, want, named)
	}
	if _, err := l.Append(t.Context(), testenv.Claim(t, l.ID(), batch, "too late", items)); !errors.Is(err, want) {
		t.Errorf("append afterwards: error is %v, want %v", err, want)
	}
}

func TestJoinLooksAtTheServers(t *testing.T) {
	s := newSite(t, cluster.Config{Adapt: func(i int, config string) string {
		if i == 1 {
			return strings.Replace(config, "sync_interval: always", "", 1)
		}
		return config
	}})
	s.refuses(t, config(t, t.TempDir()), ledger.ErrDrift, s.Name(1)+" acknowledges before it syncs")
	s.clear(t)
	l, err := stream.Join(t.Context(), config(t, t.TempDir()), stream.Address{URL: s.URL(), Replicas: 3})
	if err != nil {
		t.Fatalf("join unchecked: %v", err)
	}
	defer l.Close()
	if h, err := l.Holder(t.Context()); err != nil || !h.Unchecked {
		t.Errorf("the holder of the lease is %+v: %v, want it to say that nobody has checked", h, err)
	}
}
