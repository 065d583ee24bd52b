package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"todoke/ledger"
	"todoke/ledger/stream"
	"todoke/testenv/cluster"
)

// A client publishes numbered messages and knows which were acknowledged, where.
type client struct {
	t      *testing.T
	c      *cluster.Cluster
	js     jetstream.JetStream
	sent   int
	stored map[uint64]string
}

// dial returns a client with a stream on all servers.
func dial(t *testing.T, c *cluster.Cluster) *client {
	t.Helper()
	js := connect(t, c.URL())
	// Servers that have met a moment ago may need an election to make a stream.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name: stream.Name, Subjects: []string{"test"}, Replicas: 3, Storage: jetstream.FileStorage,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &client{t: t, c: c, js: js, stored: make(map[uint64]string)}
}

func connect(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.Timeout(time.Second),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // what matters comes back from a call
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// try publishes one message through js.
func (p *client) try(js jetstream.JetStream) error {
	p.sent++
	text := fmt.Sprint("message ", p.sent)
	ack, err := js.Publish(p.t.Context(), "test", []byte(text))
	if err == nil {
		p.stored[ack.Sequence] = text
	}
	return err
}

// publish sends messages until n have been acknowledged.
func (p *client) publish(n int) {
	p.t.Helper()
	var err error
	for end := time.Now().Add(30 * time.Second); n > 0; {
		if err = p.try(p.js); err == nil {
			n--
		}
		if time.Now().After(end) {
			p.t.Fatalf("publish %d more: %v", n, err)
		}
	}
}

// check reads every acknowledged message back where it was stored.
func (p *client) check() {
	p.t.Helper()
	p.c.WaitReady()
	p.c.Leader(stream.Name)
	s, err := p.js.Stream(p.t.Context(), stream.Name)
	for end := time.Now().Add(30 * time.Second); err != nil && time.Now().Before(end); {
		s, err = p.js.Stream(p.t.Context(), stream.Name)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	for seq, text := range p.stored {
		m, err := s.GetMsg(p.t.Context(), seq)
		// Any server answers, one that was away may still lag behind.
		for end := time.Now().Add(30 * time.Second); err != nil && time.Now().Before(end); {
			m, err = s.GetMsg(p.t.Context(), seq)
		}
		if err != nil || string(m.Data) != text {
			p.t.Errorf("sequence %d holds %v, want %s: %v", seq, m, text, err)
		}
	}
	info, err := s.Info(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	state := info.State
	if state.Msgs < uint64(len(p.stored)) || state.Msgs > uint64(p.sent) {
		p.t.Errorf("%d messages, %d of %d acknowledged", state.Msgs, len(p.stored), p.sent)
	}
}

func TestCluster(t *testing.T) {
	program := cluster.Build(t)
	for _, c := range []struct {
		name    string
		proxied bool
		test    func(*testing.T, cluster.Config)
	}{
		{"forms", false, forms},
		{"leader is killed", false, leaderIsKilled},
		{"leader is paused", false, leaderIsPaused},
		{"leader is cut off", true, leaderIsCutOff},
		{"leader is not heard", true, leaderIsNotHeard},
		{"partition that comes and goes", true, partitionThatComesAndGoes},
		{"partition into three", true, partitionIntoThree},
		{"all are killed", false, allAreKilled},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // most of it is waiting for elections
			c.test(t, cluster.Config{Program: program, Proxied: c.proxied})
		})
		if testing.Short() {
			break // the servers are other processes, which no race detector sees
		}
	}
}

func forms(t *testing.T, cfg cluster.Config) {
	began := time.Now()
	c := cluster.Start(t, cfg)
	t.Log("ready after", time.Since(began).Round(time.Millisecond))
	p := dial(t, c)
	p.publish(10)
	p.check()

	peers, err := stream.Peers(t.Context(), c.SystemURL())
	if err != nil || len(peers) != 3 {
		t.Fatalf("peers %v: %v", peers, err)
	}
	hosts := []string{c.Name(0), c.Name(1), c.Name(2)}
	if err := stream.CheckPeers(peers, hosts); err != nil {
		t.Error(err)
	}
	c.Kill9(1)
	if peers, err = stream.Peers(t.Context(), c.SystemURL()); err != nil || len(peers) != 2 {
		t.Fatalf("peers after one was killed %v: %v", peers, err)
	}
	if err := stream.CheckPeers(peers, hosts); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("one is down: %v", err)
	}
	if peers, err := stream.Peers(t.Context(), c.URL()); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("asked as the ledger's user: %v, %v", peers, err)
	}
}

func leaderIsKilled(t *testing.T, cfg cluster.Config) {
	c := cluster.Start(t, cfg)
	p := dial(t, c)
	p.publish(10)
	old := c.Leader(stream.Name)
	c.Kill9(old)
	began := time.Now()
	p.publish(1)
	t.Log("stores again after", time.Since(began).Round(time.Millisecond))
	c.Leader(stream.Name, old)
	c.Restart(old)
	p.publish(10)
	p.check()
}

func leaderIsPaused(t *testing.T, cfg cluster.Config) {
	c := cluster.Start(t, cfg)
	p := dial(t, c)
	old := c.Leader(stream.Name)
	c.Stop(old)
	c.Leader(stream.Name, old)
	p.js = connect(t, c.NodeURL((old+1)%3)) // the old connection may be to the paused one
	p.publish(10)
	c.Continue(old)
	p.publish(10)
	p.check()
}

func leaderIsCutOff(t *testing.T, cfg cluster.Config) {
	c := cluster.Start(t, cfg)
	p := dial(t, c)
	p.publish(10)
	old := c.Leader(stream.Name)
	c.Partition([]int{old})
	if err := p.try(connect(t, c.NodeURL(old))); err == nil {
		t.Error("the minority has stored a message")
	}
	c.Leader(stream.Name, old)
	p.js = connect(t, c.NodeURL((old+1)%3))
	p.publish(10)
	c.Heal()
	p.publish(10)
	p.check()
}

// leaderIsNotHeard lets the leader hear and not speak. Nothing can be stored
// until the others have elected one that is heard.
func leaderIsNotHeard(t *testing.T, cfg cluster.Config) {
	c := cluster.Start(t, cfg)
	p := dial(t, c)
	mute := c.Leader(stream.Name)
	p.js = connect(t, c.NodeURL((mute+1)%3))
	c.OneWay(mute, (mute+1)%3)
	c.OneWay(mute, (mute+2)%3)
	c.Leader(stream.Name, mute)
	p.publish(10)
	c.Heal()
	p.check()
}

func partitionThatComesAndGoes(t *testing.T, cfg cluster.Config) {
	c := cluster.Start(t, cfg)
	p := dial(t, c)
	p.js = connect(t, c.NodeURL(c.Leader(stream.Name)))
	for round := range 9 {
		c.Partition([]int{round % 3})
		_ = p.try(p.js) // it may be the leader that is alone
		c.Heal()
		p.publish(1)
	}
	p.check()
}

func partitionIntoThree(t *testing.T, cfg cluster.Config) {
	c := cluster.Start(t, cfg)
	p := dial(t, c)
	c.Partition([]int{0}, []int{1}, []int{2})
	for i := range 3 {
		if err := p.try(connect(t, c.NodeURL(i))); err == nil {
			t.Errorf("%s has stored a message alone", c.Name(i))
		}
	}
	c.Heal()
	p.publish(1)
	p.check()
}

func allAreKilled(t *testing.T, cfg cluster.Config) {
	c := cluster.Start(t, cfg)
	p := dial(t, c)
	p.publish(100)
	for i := range 3 {
		c.Kill9(i)
	}
	for i := range 3 {
		c.Restart(i)
	}
	p.check()
}
