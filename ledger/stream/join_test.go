package stream_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"todoke/ledger"
	"todoke/ledger/stream"
	"todoke/testenv"
	"todoke/testenv/cluster"
)

// A site is a cluster of three servers for several ledgers, one after the other.
type site struct {
	*cluster.Cluster
	js jetstream.JetStream // of the ledger's account, which may do everything there
}

// newSite starts three servers, which end with the test.
func newSite(t *testing.T) *site {
	t.Helper()
	c := cluster.Start(t, cluster.Config{})
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

func TestLogOnACluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three servers")
	}
	s := newSite(t)
	testenv.RunLog(t, func(t *testing.T, now func() time.Time) testenv.Opened {
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

var _ = context.Background
var _ = errors.Is
var _ = strings.Contains
