package producers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"todoke/ledger"
)

// The gate's subjects; ledger/gate documents the protocol.
const (
	gatePrefix = "intake."
	gateWhoami = "todoke.whoami"
)

// The headers of a refusal, as NATS services send it.
const (
	errorCodeHeader = "Nats-Service-Error-Code"
	errorHeader     = "Nats-Service-Error"
)

const (
	// answerTimeout is how long one attempt waits for the gate. Longer than the
	// gate waits for its log, so that the gate's answer has the time to come, and
	// short beside the 15 s in which all is well again after a server has died:
	// a request or an answer may have died with it.
	answerTimeout = 6 * time.Second
	// dialTimeout is how long Dial waits for a gate.
	dialTimeout = 15 * time.Second
	// askAgain is how often Dial asks while a broker is there and its gate is
	// not yet.
	askAgain = 50 * time.Millisecond
	// askTimeout is how long Dial waits for one answer: the gate that was asked
	// may hang while another one is there.
	askTimeout = 2 * time.Second
	// pingInterval is how often an idle broker is asked whether it is there;
	// after two lost answers another one is tried.
	pingInterval = 2 * time.Second
)

// A Client is an [Appender] over the gate of a ledger in another process. It
// connects again by itself for as long as it is open. It is safe for use by
// several goroutines.
type Client struct {
	conn  *nats.Conn
	id    ledger.LedgerID
	later atomic.Bool // the gate was not asked yet which ledger it serves

	mu      sync.Mutex
	waiting map[*request]struct{}
}

// A request waits for the gate's answer.
type request struct {
	subject string
	cancel  context.CancelCauseFunc
}

// Dial connects to a gate and asks which ledger it serves. The error is an
// [ledger.ErrUnavailable] when no broker is there, or no gate answers within 15
// seconds.
func Dial(ctx context.Context, url string) (*Client, error) {
	c, err := connect(url)
	if err != nil {
		return nil, err
	}
	if c.id, err = c.whoami(ctx); err != nil {
		c.conn.Close()
		return nil, fmt.Errorf("ask gate for its ledger: %w: %w", ledger.ErrUnavailable, err)
	}
	return c, nil
}

// DialLater is Dial for a program that starts while its ledger may be away, and
// knows which ledger it is: an outbox does. It returns at once and connects when
// it can. Until then Append returns [ledger.ErrUnavailable], and
// [ledger.ErrOtherLedger] when another ledger is found there.
func DialLater(url string, id ledger.LedgerID) (*Client, error) {
	c, err := connect(url, nats.RetryOnFailedConnect(true))
	if err != nil {
		return nil, err
	}
	c.id = id
	c.later.Store(true)
	return c, nil
}

// connect opens the connection, which connects again for as long as it is open.
func connect(url string, more ...nats.Option) (*Client, error) {
	c := &Client{waiting: make(map[*request]struct{})}
	conn, err := nats.Connect(url, append(more, nats.Name("todoke producer"), nats.MaxReconnects(-1),
		nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(2),
		nats.ReconnectBufSize(-1), // what cannot be sent now is refused now
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c.denied(err) }),
		nats.DisconnectErrHandler(func(*nats.Conn, error) { c.lost() }))...)
	if err != nil {
		return nil, fmt.Errorf("connect to gate: %w: %w", ledger.ErrUnavailable, err)
	}
	c.conn = conn
	return c, nil
}

// recognise asks, once, whether the gate serves the ledger that it should.
func (c *Client) recognise(ctx context.Context) error {
	if !c.later.Load() {
		return nil
	}
	id, err := c.whoami(ctx)
	if err != nil {
		return fmt.Errorf("ask gate for its ledger: %w: %w", ledger.ErrUnavailable, err)
	}
	if id != c.id {
		return fmt.Errorf("the gate serves ledger %s, not %s: %w", id, c.id, ledger.ErrOtherLedger)
	}
	c.later.Store(false)
	return nil
}

// whoami asks until somebody answers.
func (c *Client) whoami(ctx context.Context) (ledger.LedgerID, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	for {
		short, cancel := context.WithTimeout(ctx, askTimeout)
		m, err := c.conn.RequestWithContext(short, gateWhoami, nil)
		cancel()
		if err == nil {
			return ledger.ParseLedgerID(string(m.Data))
		}
		again := errors.Is(err, nats.ErrNoResponders) || errors.Is(err, context.DeadlineExceeded)
		if !again || !pause(ctx, askAgain) {
			return ledger.LedgerID{}, err
		}
	}
}

// ID implements [Appender].
func (c *Client) ID() ledger.LedgerID { return c.id }

// Close ends the connection. An Append that waits gets [ledger.ErrUnknown], a
// later one [ledger.ErrClosed].
func (c *Client) Close() error {
	c.conn.Close()
	return nil
}

// Append implements [Appender]. Only an answer, or the certainty that nobody
// received the request, is an outcome; everything else is
// [ledger.ErrUnknown].
func (c *Client) Append(ctx context.Context, r ledger.Record) (ledger.Receipt, error) {
	if c.conn.IsClosed() {
		return ledger.Receipt{}, ledger.ErrClosed
	}
	if err := c.recognise(ctx); err != nil {
		return ledger.Receipt{}, err
	}
	party, err := ledger.ParseParty(r.Header.Get(ledger.HeaderParty))
	if err != nil {
		return ledger.Receipt{}, fmt.Errorf("%v: %w", err, ledger.ErrMalformed)
	}
	reply, err := c.ask(ctx, &nats.Msg{
		Subject: gatePrefix + string(party) + "." + strings.TrimPrefix(r.Subject, ledger.SubjectPrefix),
		Header:  nats.Header(r.Header), Data: r.Body,
	})
	if err != nil {
		return ledger.Receipt{}, fmt.Errorf("send event to gate: %w: %w", meaning(err), err)
	}
	if code := reply.Header.Get(errorCodeHeader); code != "" {
		return ledger.Receipt{}, ledger.FromCode(code, reply.Header.Get(errorHeader))
	}
	var receipt ledger.Receipt
	if err := json.Unmarshal(reply.Data, &receipt); err != nil {
		return ledger.Receipt{}, fmt.Errorf("read the gate's answer: %w: %w", ledger.ErrUnknown, err)
	}
	return receipt, nil
}

// ask sends a request and waits for the answer, or for the broker to say that
// this client may not send it.
func (c *Client) ask(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
	ctx, timeout := context.WithTimeout(ctx, answerTimeout)
	defer timeout()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &request{m.Subject, cancel}
	c.mu.Lock()
	c.waiting[w] = struct{}{}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, w)
		c.mu.Unlock()
	}()
	reply, err := c.conn.RequestMsgWithContext(ctx, m)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return reply, err
}

// denied wakes those whose request the broker did not pass on. It says so beside
// the request and names only the subject.
func (c *Client) denied(err error) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for w := range c.waiting {
		if strings.Contains(err.Error(), strconv.Quote(w.subject)) {
			w.cancel(err)
		}
	}
}

// lost wakes all who wait: what the connection had under way is gone, or its answer
// may be.
func (c *Client) lost() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for w := range c.waiting {
		w.cancel(nats.ErrDisconnected)
	}
}

// meaning returns which outcome an error of the connection is.
func meaning(err error) error {
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return ledger.ErrTooLarge
	case errors.Is(err, nats.ErrBadSubject):
		return ledger.ErrMalformed
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrPermissionViolation):
		return ledger.ErrUnavailable
	}
	return ledger.ErrUnknown
}
