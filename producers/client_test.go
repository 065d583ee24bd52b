package producers

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"todoke/ledger"
	"todoke/ledger/gate"
	"todoke/testenv"
)

// A house is a broker with a gate before a log in memory, which can be left and
// entered again at the same address.
type house struct {
	t      *testing.T
	log    *testenv.Log
	port   int
	server *server.Server
	stop   func() // ends the gate
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, log: testenv.NewLog(testenv.Config{T: t, ID: ledger.LedgerID{9}}), port: server.RANDOM_PORT}
	h.enter()
	h.port = h.server.Addr().(*net.TCPAddr).Port
	t.Cleanup(func() { h.leave() })
	return h
}

func (h *house) url() string { return "nats://127.0.0.1:" + strconv.Itoa(h.port) }

func (h *house) enter() {
	h.t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: h.port, NoSigs: true, NoLog: true, MaxPayload: 600 << 10})
	if err != nil {
		h.t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		h.t.Fatal("broker is not ready")
	}
	h.server = s
	h.open()
}

// open starts the gate.
func (h *house) open() {
	h.t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(h.server))
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := gate.Serve(ctx, nc, h.log); err != nil {
			h.t.Errorf("gate: %v", err)
		}
		nc.Close()
	}()
	h.stop = sync.OnceFunc(func() { cancel(); <-ended })
}

func (h *house) leave() {
	h.stop()
	h.server.Shutdown()
	h.server.WaitForShutdown()
}

func (h *house) dial() *Client {
	h.t.Helper()
	c, err := Dial(h.t.Context(), h.url())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	return c
}

func (h *house) claim(slip string) ledger.Record {
	h.t.Helper()
	return testenv.Claim(h.t, h.log.ID(), batch, slip, ledger.Items{{First: 1, Last: 551}})
}

func TestClientAppends(t *testing.T) {
	h := newHouse(t)
	c := h.dial()
	if c.ID() != h.log.ID() {
		t.Errorf("ledger is %s, want %s", c.ID(), h.log.ID())
	}
	for _, duplicate := range []bool{false, true} {
		receipt, err := c.Append(t.Context(), h.claim("slip"))
		if err != nil || receipt.Seq != 1 || receipt.Duplicate != duplicate || receipt.Ledger != h.log.ID() || !receipt.Time.Equal(testenv.Start) {
			t.Errorf("append: %+v, %v", receipt, err)
		}
	}
	testenv.CheckLedger(t, h.log)
}

func TestClientKeepsOutcomesApart(t *testing.T) {
	for name, c := range map[string]struct {
		before func(*house)
		spoil  func(*ledger.Record)
		want   error
	}{
		"written, and the answer says unknown":     {before: func(h *house) { h.log.Arm(testenv.Written) }, want: ledger.ErrUnknown},
		"not written, and the answer says unknown": {before: func(h *house) { h.log.Arm(testenv.NotWritten) }, want: ledger.ErrUnknown},
		"ledger unavailable":                       {before: func(h *house) { h.log.Arm(testenv.Unavailable) }, want: ledger.ErrUnavailable},
		"no gate":                                  {before: func(h *house) { h.stop() }, want: ledger.ErrUnavailable},
		"refused":                                  {spoil: func(r *ledger.Record) { r.Body[20] ^= 1 }, want: ledger.ErrRefused},
		"too large for the broker":                 {spoil: func(r *ledger.Record) { r.Body = make([]byte, 700<<10) }, want: ledger.ErrTooLarge},
		"too large for the ledger":                 {spoil: func(r *ledger.Record) { r.Body = make([]byte, 550<<10) }, want: ledger.ErrTooLarge},
		"no party":                                 {spoil: func(r *ledger.Record) { delete(r.Header, ledger.HeaderParty) }, want: ledger.ErrMalformed},
		"a subject with a space":                   {spoil: func(r *ledger.Record) { r.Subject = "ledger.v1.a b" }, want: ledger.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			client := h.dial()
			if c.before != nil {
				c.before(h)
			}
			r := h.claim("slip")
			if c.spoil != nil {
				c.spoil(&r)
			}
			if _, err := client.Append(t.Context(), r); !errors.Is(err, c.want) {
				t.Errorf("error is %v, want %v", err, c.want)
			}
		})
	}
}

// TestClientComesBack ends the broker under a client and starts it again.
func TestClientComesBack(t *testing.T) {
	h := newHouse(t)
	reconnected := make(chan struct{}, 1)
	c := h.dial()
	c.conn.SetReconnectHandler(func(*nats.Conn) { reconnected <- struct{}{} })
	lost := make(chan struct{}, 1)
	c.conn.SetDisconnectErrHandler(func(*nats.Conn, error) { lost <- struct{}{} })
	h.leave()
	<-lost
	if _, err := c.Append(t.Context(), h.claim("slip")); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("while the broker is away: error is %v, want ErrUnavailable", err)
	}
	h.enter()
	<-reconnected
	reporter := deliverer(t, c)
	if receipt, err := reporter.deliver(t.Context(), h.claim("slip")); err != nil || receipt.Seq != 1 {
		t.Errorf("after it came back: %+v, %v", receipt, err)
	}
	testenv.CheckLedger(t, h.log)
}

// deliverer returns a reporter, whose part is to send again what was not
// written; a gate may take a moment longer than its broker.
func deliverer(t *testing.T, c *Client) *Reporter {
	t.Helper()
	r, err := New(Config{Log: c, Party: "municipality:131229", Key: testenv.Key(t, "municipality:131229"), Now: testenv.NewClock().Now, Rand: zeros{}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// zeros makes every wait the shortest.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestClientThatIsClosedWhileItWaits(t *testing.T) {
	h := newHouse(t)
	c := h.dial()
	h.stop()
	// Somebody who receives the request and never answers.
	silent, err := nats.Connect(h.url())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	received := make(chan struct{})
	if _, err := silent.Subscribe(gate.Prefix+">", func(*nats.Msg) { close(received) }); err != nil {
		t.Fatal(err)
	}
	if err := silent.Flush(); err != nil {
		t.Fatal(err)
	}
	claim := h.claim("slip")
	answered := make(chan error, 1)
	go func() {
		_, err := c.Append(t.Context(), claim)
		answered <- err
	}()
	<-received
	c.Close()
	if err := <-answered; !errors.Is(err, ledger.ErrUnknown) {
		t.Errorf("error is %v, want ErrUnknown", err)
	}
	if _, err := c.Append(t.Context(), claim); !errors.Is(err, ledger.ErrClosed) {
		t.Errorf("after close: error is %v, want ErrClosed", err)
	}
}

// TestClientThatComesBeforeItsLedger starts while nobody is there.
func TestClientThatComesBeforeItsLedger(t *testing.T) {
	h := newHouse(t)
	url := h.url()
	h.leave()
	c, err := DialLater(url, h.log.ID())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stranger, err := DialLater(url, ledger.LedgerID{0xff})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.Append(short, h.claim("slip")); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("while nobody is there: error is %v, want ErrUnavailable", err)
	}
	h.enter()
	for _, err = c.Append(t.Context(), h.claim("slip")); errors.Is(err, ledger.ErrUnavailable); {
		_, err = c.Append(t.Context(), h.claim("slip"))
	}
	if err != nil {
		t.Errorf("when it has come: %v", err)
	}
	for _, err = stranger.Append(t.Context(), h.claim("slip")); errors.Is(err, ledger.ErrUnavailable); {
		_, err = stranger.Append(t.Context(), h.claim("slip"))
	}
	if !errors.Is(err, ledger.ErrOtherLedger) {
		t.Errorf("at another ledger: error is %v, want ErrOtherLedger", err)
	}
	testenv.CheckLedger(t, h.log)
}

func TestContextEndsAnAppendWithAnUnknownOutcome(t *testing.T) {
	h := newHouse(t)
	c := h.dial()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Append(ctx, h.claim("slip")); !errors.Is(err, ledger.ErrUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want ErrUnknown and the context's", err)
	}
}

// TestBrokerThatForbidsTheParty: the broker drops the request and says so beside
// it, so that nobody has to wait for an answer that cannot come.
func TestBrokerThatForbidsTheParty(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		Users: []*server.User{{Username: "gate", Password: "g"}, {Username: "relay", Password: "r", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: []string{"intake.relay:1.>", gate.Whoami}},
		}}}})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Shutdown)
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("broker is not ready")
	}
	nc, err := nats.Connect("", nats.InProcessServer(s), nats.UserInfo("gate", "g"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	log := testenv.NewLog(testenv.Config{T: t})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- gate.Serve(ctx, nc, log) }()
	defer func() { cancel(); <-ended }()
	c, err := Dial(t.Context(), "nats://relay:r@"+s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	items := ledger.Items{{First: 1, Last: 551}}
	if _, err := c.Append(t.Context(), testenv.Claim(t, log.ID(), batch, "slip", items)); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("as another party: error is %v, want ErrUnavailable", err)
	}
	if _, err := c.Append(t.Context(), testenv.Acknowledgement(t, log.ID(), batch, "slip", items)); err != nil {
		t.Errorf("as itself: %v", err)
	}
}

func TestDialNobody(t *testing.T) {
	if _, err := Dial(t.Context(), "nats://127.0.0.1:1"); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("no broker: error is %v, want ErrUnavailable", err)
	}
	h := newHouse(t)
	h.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, h.url()); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("no gate: error is %v, want ErrUnavailable", err)
	}
}
