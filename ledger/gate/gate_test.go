package gate_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"todoke/ledger"
	"todoke/ledger/gate"
	"todoke/testenv"
)

const batch = "131229-20151005-0042"

var items = ledger.Items{{First: 1, Last: 551}}

// serve runs a gate before a log and returns a party's connection, and a
// function that ends the gate and returns what it ended with.
func serve(t *testing.T, log ledger.Log) (*nats.Conn, func() error) {
	t.Helper()
	s, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- gate.Serve(ctx, connect(t, s), log) }()
	stop := sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { stop() })
	nc := connect(t, s)
	for {
		if _, err := nc.Request(gate.Whoami, nil, time.Minute); err == nil {
			return nc, stop
		} else if !errors.Is(err, nats.ErrNoResponders) {
			t.Fatal(err)
		}
	}
}

func connect(t *testing.T, s *server.Server) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// ask sends a record as a party and returns the receipt or the error.
func ask(t *testing.T, nc *nats.Conn, party string, r ledger.Record) (ledger.Receipt, error) {
	t.Helper()
	reply, err := nc.RequestMsg(&nats.Msg{
		Subject: gate.Prefix + party + r.Subject[len("ledger.v1"):], Header: nats.Header(r.Header), Data: r.Body,
	}, time.Minute)
	if err != nil {
		t.Fatalf("ask gate: %v", err)
	}
	if code := reply.Header.Get(micro.ErrorCodeHeader); code != "" {
		return ledger.Receipt{}, ledger.FromCode(code, reply.Header.Get(micro.ErrorHeader))
	}
	var receipt ledger.Receipt
	if err := receipt.UnmarshalJSON(reply.Data); err != nil {
		t.Fatalf("answer %q: %v", reply.Data, err)
	}
	return receipt, nil
}

func TestEventGoesInAndReceiptComesOut(t *testing.T) {
	log := testenv.NewLog(testenv.Config{T: t, ID: ledger.LedgerID{7}})
	nc, _ := serve(t, log)
	if m, err := nc.Request(gate.Whoami, nil, time.Minute); err != nil || string(m.Data) != log.ID().String() {
		t.Errorf("whoami: %v, %v", m, err)
	}
	claim := testenv.Claim(t, log.ID(), batch, "slip", items)
	for _, duplicate := range []bool{false, true} {
		receipt, err := ask(t, nc, "municipality:131229", claim)
		want := ledger.Receipt{Ledger: log.ID(), Incarnation: 1, Seq: 1, Time: testenv.Start, ID: receipt.ID, Duplicate: duplicate}
		if err != nil || receipt != want || receipt.ID.String() != claim.Header.Get(ledger.HeaderID) {
			t.Errorf("receipt is %+v, %v; want %+v", receipt, err, want)
		}
	}
	testenv.CheckLedger(t, log)
}

func TestOutcomesCrossTheGate(t *testing.T) {
	for _, c := range []struct {
		fault testenv.Fault
		want  error
	}{
		{testenv.NotWritten, ledger.ErrUnknown},
		{testenv.Written, ledger.ErrUnknown},
		{testenv.Unavailable, ledger.ErrUnavailable},
		{testenv.Fenced, ledger.ErrUnavailable}, // another gate will answer
	} {
		t.Run(c.fault.String(), func(t *testing.T) {
			log := testenv.NewLog(testenv.Config{T: t})
			log.Arm(c.fault)
			nc, _ := serve(t, log)
			_, err := ask(t, nc, "municipality:131229", testenv.Claim(t, log.ID(), batch, "slip", items))
			if !errors.Is(err, c.want) {
				t.Errorf("error is %v, want %v", err, c.want)
			}
		})
	}
}

func TestWhatMayNotComeInIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		party string
		spoil func(*ledger.Record)
		want  error
	}{
		"another party's event":   {"municipality:131211", func(*ledger.Record) {}, ledger.ErrScope},
		"nobody's event":          {"municipality:131229", func(r *ledger.Record) { delete(r.Header, ledger.HeaderParty) }, ledger.ErrScope},
		"another body":            {"municipality:131229", func(r *ledger.Record) { r.Body[20] ^= 1 }, ledger.ErrRefused},
		"no headers":              {"municipality:131229", func(r *ledger.Record) { r.Header = nil }, ledger.ErrScope},
		"a subject that is short": {"municipality:131229", func(r *ledger.Record) { r.Subject = "ledger.v1.131229" }, ledger.ErrMalformed},
		"a record time":           {"municipality:131229", func(r *ledger.Record) { r.Header[ledger.HeaderTime] = []string{"now"} }, ledger.ErrMalformed},
		"two signatures":          {"municipality:131229", func(r *ledger.Record) { r.Header[ledger.HeaderSig] = []string{"a", "b"} }, ledger.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			log := testenv.NewLog(testenv.Config{T: t})
			nc, _ := serve(t, log)
			r := testenv.Claim(t, log.ID(), batch, "slip", items)
			c.spoil(&r)
			if _, err := ask(t, nc, c.party, r); !errors.Is(err, c.want) || !errors.Is(err, ledger.ErrRefused) {
				t.Errorf("error is %v, want %v", err, c.want)
			}
			if head, _ := log.Head(t.Context()); head != 0 {
				t.Errorf("head is %d, want 0", head)
			}
		})
	}
}

// crowd is a log that counts how many appends are under way at once, and holds
// them until it is opened.
type crowd struct {
	*testenv.Log
	now, most atomic.Int64
	arrived   chan struct{} // one for each append that is held
	open      chan struct{}
}

func newCrowd(t *testing.T) *crowd {
	return &crowd{Log: testenv.NewLog(testenv.Config{T: t}), arrived: make(chan struct{}, 1000), open: make(chan struct{})}
}

func (c *crowd) Append(ctx context.Context, r ledger.Record) (ledger.Receipt, error) {
	c.most.Store(max(c.most.Load(), c.now.Add(1)))
	defer c.now.Add(-1)
	c.arrived <- struct{}{}
	select {
	case <-c.open:
		return c.Log.Append(ctx, r)
	case <-ctx.Done():
		return ledger.Receipt{}, ctx.Err()
	}
}

func TestRequestsWaitWhenThereAreMany(t *testing.T) {
	const requests = 600
	log := newCrowd(t)
	nc, _ := serve(t, log)
	var all sync.WaitGroup
	for i := range requests {
		r := testenv.Claim(t, log.ID(), batch, fmt.Sprint("slip ", i), items)
		all.Go(func() {
			if _, err := ask(t, nc, "municipality:131229", r); err != nil {
				t.Errorf("request %d: %v", i, err)
			}
		})
	}
	for range 256 {
		<-log.arrived
	}
	close(log.open)
	all.Wait()
	if most := log.most.Load(); most != 256 {
		t.Errorf("%d requests were under way at once, want 256", most)
	}
	if head, _ := log.Head(t.Context()); head != requests {
		t.Errorf("head is %d, want %d", head, requests)
	}
	testenv.CheckLedger(t, log)
}

func TestGateEndsWithItsContext(t *testing.T) {
	log := newCrowd(t)
	nc, stop := serve(t, log)
	r := testenv.Claim(t, log.ID(), batch, "slip", items)
	answered := make(chan error, 1)
	go func() {
		_, err := ask(t, nc, "municipality:131229", r)
		answered <- err
	}()
	<-log.arrived
	if err := stop(); err != nil {
		t.Errorf("the gate ended with %v", err)
	}
	if n := log.now.Load(); n != 0 {
		t.Errorf("%d appends are under way after the end", n)
	}
	if err := <-answered; !errors.Is(err, ledger.ErrUnknown) {
		t.Errorf("the request that was under way: error is %v, want ErrUnknown", err)
	}
}

func TestGateEndsWithItsConnection(t *testing.T) {
	s, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Shutdown)
	nc := connect(t, s)
	ended := make(chan error, 1)
	go func() { ended <- gate.Serve(t.Context(), nc, testenv.NewLog(testenv.Config{T: t})) }()
	for asker := connect(t, s); ; {
		if _, err := asker.Request(gate.Whoami, nil, time.Minute); err == nil {
			break
		}
	}
	nc.Close()
	if err := <-ended; !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("the gate ended with %v, want ErrUnavailable", err)
	}
}
