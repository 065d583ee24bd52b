package stream_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
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

// A grown is a ledger in a folder that has lived: several incarnations, groups
// that were stored as atomic batches, and bytes that are no event.
type grown struct {
	cfg      stream.Config
	records  []ledger.Record // as they are stored
	claims   []ledger.Record // as their author sent them
	receipts []ledger.Receipt
}

// grow makes a ledger of about n events.
func grow(t *testing.T, n int) *grown {
	t.Helper()
	g := &grown{cfg: config(t, t.TempDir())}
	for round := range 3 {
		l := open(t, g.cfg)
		g.talk(t, l, n/3)
		disturb(t, l.Endpoint().URL, round)
		closeLedger(t, l)
	}
	l := open(t, g.cfg)
	g.talk(t, l, 3)
	g.records = readAll(t, l)
	closeLedger(t, l)
	return g
}

// talk appends claims, as many callers at once so that they form groups.
func (g *grown) talk(t *testing.T, l *stream.Ledger, n int) {
	t.Helper()
	type outcome struct {
		receipt ledger.Receipt
		err     error
	}
	outcomes := make(chan outcome, n)
	for range n {
		i := len(g.claims)
		record := testenv.Claim(t, l.ID(), fmt.Sprintf("131229-20151005-%04d", 1+i%100), fmt.Sprint("slip ", i), items)
		g.claims = append(g.claims, record)
		go func() {
			receipt, err := l.Append(context.Background(), record)
			outcomes <- outcome{receipt, err}
		}()
	}
	for range n {
		o := <-outcomes
		if o.err != nil {
			t.Fatal(o.err)
		}
		g.receipts = append(g.receipts, o.receipt)
	}
}

// disturb stores bytes that are no event, with the token of the ledger.
func disturb(t *testing.T, address string, round int) {
	t.Helper()
	nc, err := nats.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for _, m := range []*nats.Msg{
		{Subject: "ledger.v1.x"},
		{Subject: "ledger.v1.131229.b.import.completed", Data: []byte{0xff, 0, 0xc1}},
		{Subject: fmt.Sprint("ledger.v1.x.", round), Data: make([]byte, ledger.MaxBody), Header: nats.Header{"X": {"1", "2"}, "Todoke-Id": {""}}},
		{Subject: "ledger.v1.000000.ledger.ledger.started", Header: nats.Header{"Todoke-Kind": {"ledger.started/1"}, "Nats-Expected-Stream": {stream.Name}}},
	} {
		reply, err := nc.RequestMsg(m, 5*time.Second)
		if err != nil || strings.Contains(string(reply.Data), "error") {
			t.Fatalf("%v, %s", err, reply.Data)
		}
	}
}

func readAll(t *testing.T, r ledger.Reader) (all []ledger.Record) {
	t.Helper()
	end, err := r.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for record, err := range r.Read(t.Context(), 1, end) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, record)
	}
	return all
}

// quietly is a move that tells nobody.
func quietly(stream.Copy) {}

// move moves the ledger, to the end.
func (g *grown) move(t *testing.T, to stream.Address) stream.Copy {
	t.Helper()
	done, err := stream.Move(t.Context(), g.cfg, to, quietly)
	if err != nil {
		t.Fatalf("move: %v", err)
	}
	if end := ledger.Seq(len(g.records)); done.Head != end || done.Compared != end || done.Ledger != g.receipts[0].Ledger {
		t.Errorf("moved %+v, want all %d events", done, end)
	}
	return done
}

// check holds the ledger on the cluster against the one of the folder: every
// record, and what every author is told who sends again. It continues.
func (g *grown) check(t *testing.T, to stream.Address) {
	t.Helper()
	l, err := stream.Join(t.Context(), g.cfg, to)
	if err != nil {
		t.Fatalf("join what was moved: %v", err)
	}
	defer l.Close()
	if err := l.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := readAll(t, l)
	if len(now) != len(g.records)+1 {
		t.Fatalf("%d events, want the %d of before and the start", len(now), len(g.records))
	}
	for i, want := range g.records {
		have := now[i]
		if have.Seq != want.Seq || have.Subject != want.Subject || string(have.Body) != string(want.Body) ||
			!maps.EqualFunc(have.Header, want.Header, func(a, b []string) bool { return slices.Equal(a, b) }) {
			t.Fatalf("event %d is %+v, was %+v", want.Seq, have, want)
		}
	}
	at := make(map[ledger.ID]ledger.Receipt)
	for _, r := range g.receipts {
		r.Duplicate = true
		at[r.ID] = r
	}
	for i := 0; i < len(g.claims); i += 1 + len(g.claims)/50 {
		again, err := l.Append(t.Context(), g.claims[i])
		if err != nil || again != at[again.ID] {
			t.Errorf("sent again: %+v, %v, the receipt was %+v", again, err, at[again.ID])
		}
	}
	r, err := l.Append(t.Context(), testenv.Claim(t, l.ID(), batch, "after the move", items))
	if last := g.receipts[len(g.receipts)-1]; err != nil || r.Seq != ledger.Seq(len(now)+1) || r.Incarnation != last.Incarnation+1 {
		t.Errorf("next receipt: %+v, %v; the last in the folder was %+v", r, err, last)
	}
}

// copied returns the ledger in a folder of its own.
func (g *grown) copied(t *testing.T) *grown {
	t.Helper()
	other := *g
	other.cfg.Dir = filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(other.cfg.Dir, os.DirFS(g.cfg.Dir)); err != nil {
		t.Fatal(err)
	}
	return &other
}

// TestMove moves ledgers to a real cluster, one after the other.
func TestMove(t *testing.T) {
	events := 3000
	if testing.Short() {
		events = 1500
	}
	large, small := grow(t, events), grow(t, 30)
	c := cluster.Start(t, cluster.Config{})
	to := stream.Address{URL: c.URL(), SystemURL: c.SystemURL(), Replicas: 3}
	for _, test := range []struct {
		name string
		g    *grown
		run  func(*testing.T, *grown, *cluster.Cluster, stream.Address)
	}{
		{"every sequence and byte is kept", large, moveKeepsEverything},
		{"interrupted over and over", large, moveInterrupted},
		{"leader is killed", large, moveLeaderKilled},
		{"another ledger is there", small, moveToAnotherLedger},
		{"the copy was changed", large, moveOntoChanged},
		{"the folder has events that the cluster has not", small, moveTwoHeads},
		{"headers that the library does not write", small, moveUnwritable},
		{"after every step", small, moveSteps},
	} {
		t.Run(test.name, func(t *testing.T) {
			c.WaitReady()
			t.Cleanup(func() { wipe(t, c.URL()) })
			test.run(t, test.g.copied(t), c, to)
		})
	}
}

// wipe deletes everything on the cluster.
func wipe(t *testing.T, url string) {
	t.Helper()
	js := dial(t, url)
	for name := range js.StreamNames(context.Background()).Name() {
		if err := js.DeleteStream(context.Background(), name); err != nil {
			t.Fatal(err)
		}
	}
}

func dial(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func moveKeepsEverything(t *testing.T, g *grown, _ *cluster.Cluster, to stream.Address) {
	if done := g.move(t, to); int(done.Copied) != len(g.records) {
		t.Errorf("%d copied, want all of %d", done.Copied, len(g.records))
	}
	refused(t, g.cfg, ledger.ErrMoved, "--nats", "127.0.0.1")
	if err := refusal(stream.Open(t.Context(), g.cfg)); strings.Contains(err.Error(), "todoke:") {
		t.Errorf("the refusal holds a password: %v", err)
	}
	g.check(t, to)
	// What is served by now is compared again, up to where the folder ended.
	if done := g.move(t, to); done.Copied != 0 {
		t.Errorf("%d copied after the end", done.Copied)
	}
	elsewhere := to
	elsewhere.URL = strings.ReplaceAll(to.URL, "127.0.0.1", "localhost")
	if _, err := stream.Move(t.Context(), g.cfg, elsewhere, quietly); !errors.Is(err, ledger.ErrMoved) {
		t.Errorf("moved to other servers: %v", err)
	}
}

// refusal closes what opened all the same.
func refusal(l *stream.Ledger, err error) error {
	if err == nil {
		l.Close()
		return errors.New("it opened")
	}
	return err
}

// moveInterrupted ends a move wherever it happens to be, and goes on.
func moveInterrupted(t *testing.T, g *grown, _ *cluster.Cluster, to stream.Address) {
	random := mathrand.New(mathrand.NewPCG(2015, 10))
	for range 4 {
		ctx, stop := context.WithCancel(t.Context())
		left, copied := random.IntN(len(g.records)), ledger.Seq(0)
		_, err := stream.Move(ctx, g.cfg, to, func(c stream.Copy) {
			left -= 1 + int(c.Copied-copied)/2
			if copied = c.Copied; left < 0 {
				stop()
			}
		})
		stop()
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		g.isStillTheLedger(t, to)
	}
	g.move(t, to)
	g.check(t, to)
}

// isStillTheLedger checks that the folder has the ledger, and that nobody takes
// the copy for it.
func (g *grown) isStillTheLedger(t *testing.T, to stream.Address) {
	t.Helper()
	l, err := stream.Open(t.Context(), g.cfg)
	if err != nil {
		t.Fatalf("the folder: %v", err)
	}
	if end, err := l.Head(t.Context()); err != nil || int(end) != len(g.records) {
		t.Errorf("the folder ends at %d, want %d: %v", end, len(g.records), err)
	}
	closeLedger(t, l)
	g.copyIsRefused(t, to)
}

func (g *grown) copyIsRefused(t *testing.T, to stream.Address) {
	t.Helper()
	if err := refusal(stream.Join(t.Context(), g.cfg, to)); !errors.Is(err, ledger.ErrIncomplete) || !strings.Contains(err.Error(), "todoke move") {
		t.Errorf("join a copy that is not complete: %v", err)
	}
	if _, err := stream.Visit(t.Context(), to.URL); !errors.Is(err, ledger.ErrIncomplete) {
		t.Errorf("read a copy that is not complete: %v", err)
	}
}

func moveLeaderKilled(t *testing.T, g *grown, c *cluster.Cluster, to stream.Address) {
	killed := -1
	_, err := stream.Move(t.Context(), g.cfg, to, func(now stream.Copy) {
		if killed < 0 && now.Held >= 1000 {
			killed = c.Leader(stream.Name)
			c.Kill9(killed)
		}
	})
	if err != nil || killed < 0 {
		t.Fatalf("move: %v, killed %d", err, killed)
	}
	c.Restart(killed)
	c.WaitReady()
	g.check(t, to)
}

func moveToAnotherLedger(t *testing.T, g *grown, _ *cluster.Cluster, to stream.Address) {
	l, err := stream.Join(t.Context(), config(t, t.TempDir()), to)
	if err != nil {
		t.Fatal(err)
	}
	closeLedger(t, l)
	g.refuses(t, to, ledger.ErrOtherLedger, l.ID().String())
}

// refuses wants a move to fail and to leave the ledger in the folder.
func (g *grown) refuses(t *testing.T, to stream.Address, want error, words ...string) {
	t.Helper()
	_, err := stream.Move(t.Context(), g.cfg, to, quietly)
	if !errors.Is(err, want) {
		t.Fatalf("move: %v, want %v", err, want)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("move: error %q does not say %q", err, word)
		}
	}
	closeLedger(t, open(t, g.cfg))
}

// moveOntoChanged writes into a copy that is under way.
func moveOntoChanged(t *testing.T, g *grown, _ *cluster.Cluster, to stream.Address) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	_, err := stream.Move(ctx, g.cfg, to, func(stream.Copy) { stop() })
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	ack, err := dial(t, to.URL).Publish(t.Context(), "ledger.v1.x", nil)
	if err != nil {
		t.Fatal(err)
	}
	g.refuses(t, to, ledger.ErrOtherLedger, fmt.Sprintf("event %d ", ack.Sequence))
}

// moveTwoHeads moves a ledger whose folder is then taken from a backup.
func moveTwoHeads(t *testing.T, g *grown, _ *cluster.Cluster, to stream.Address) {
	g.move(t, to)
	if err := os.Remove(filepath.Join(g.cfg.Dir, "moved")); err != nil {
		t.Fatal(err)
	}
	l := open(t, g.cfg)
	g.talk(t, l, 1)
	closeLedger(t, l)
	g.refuses(t, to, ledger.ErrOtherLedger, fmt.Sprintf("up to %d,", len(g.records)))
	served, err := stream.Join(t.Context(), g.cfg, to)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		appendTo(t, served, testenv.Claim(t, served.ID(), batch, fmt.Sprint("on the cluster ", i), items))
	}
	closeLedger(t, served)
	g.refuses(t, to, ledger.ErrOtherLedger, fmt.Sprintf("event %d ", len(g.records)+1))
}

// moveUnwritable moves what somebody stored who is no client of this kind.
func moveUnwritable(t *testing.T, g *grown, _ *cluster.Cluster, to stream.Address) {
	l := open(t, g.cfg)
	u, err := url.Parse(l.Endpoint().URL)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const headers = "NATS/1.0\r\nX: spaces behind  \r\n\r\n"
	fmt.Fprintf(conn, "CONNECT {\"auth_token\":%q,\"headers\":true,\"verbose\":false,\"pedantic\":false}\r\n", u.User.Username())
	fmt.Fprintf(conn, "HPUB ledger.v1.x %d %d\r\n%s\r\nPING\r\n", len(headers), len(headers), headers)
	for lines := bufio.NewScanner(conn); lines.Scan() && lines.Text() != "PONG"; {
	}
	for r, err := range l.Follow(t.Context(), ledger.Seq(len(g.records)+1)) { // it is stored
		if err != nil || r.Header.Get("X") != "spaces behind  " {
			t.Fatalf("%+v, %v", r, err)
		}
		break
	}
	closeLedger(t, l)
	_, err = stream.Move(t.Context(), g.cfg, to, quietly)
	if want := fmt.Sprintf("event %d has headers", len(g.records)+1); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("move: %v, want %s", err, want)
	}
}

// moveSteps looks at what a crash at every step leaves.
func moveSteps(t *testing.T, g *grown, _ *cluster.Cluster, to stream.Address) {
	nowhere := g.cfg
	nowhere.Dir = filepath.Join(t.TempDir(), "nothing")
	if _, err := stream.Move(t.Context(), nowhere, to, quietly); !errors.Is(err, ledger.ErrNoLedger) {
		t.Errorf("move nothing: %v", err)
	}
	l := open(t, g.cfg)
	if _, err := stream.Move(t.Context(), g.cfg, to, quietly); !errors.Is(err, ledger.ErrLocked) {
		t.Errorf("move what is served: %v", err)
	}
	closeLedger(t, l)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	if _, err := stream.Move(ctx, g.cfg, to, func(c stream.Copy) {
		if c.Compared == c.Head { // everything is there, and the folder still has it
			stop()
		}
	}); !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted at the end: %v", err)
	}
	g.isStillTheLedger(t, to)
	g.move(t, to)
	mark(t, to.URL) // the file is written, the mark is not taken away
	refused(t, g.cfg, ledger.ErrMoved)
	g.copyIsRefused(t, to)
	g.move(t, to)
	g.check(t, to)
	wipe(t, to.URL)
	if _, err := stream.Move(t.Context(), g.cfg, to, quietly); !errors.Is(err, ledger.ErrGap) {
		t.Errorf("moved again to where it was lost: %v", err)
	}
}

// mark marks the stream as a copy that is not complete.
func mark(t *testing.T, url string) {
	t.Helper()
	js := dial(t, url)
	s, err := js.Stream(t.Context(), stream.Name)
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	c.Metadata["todoke-copy"] = "incomplete"
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}
