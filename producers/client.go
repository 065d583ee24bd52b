package producers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
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

// answerTimeout is how long one attempt waits for the gate. Longer than the
// gate waits for its broker, so that the gate's answer has the time to come.
const answerTimeout = 15 * time.Second

// A Client is an [Appender] over the gate of a ledger in another process. It
// connects again by itself for as long as it is open.
type Client struct {
	conn *nats.Conn
	id   ledger.LedgerID
}

// Dial connects to a gate and asks which ledger it serves. The error is an
// [ledger.ErrUnavailable] when nobody answers.
func Dial(ctx context.Context, url string) (*Client, error) {
	conn, err := nats.Connect(url, nats.MaxReconnects(-1), nats.Name("todoke producer"), nats.ReconnectBufSize(-1))
	if err != nil {
		return nil, fmt.Errorf("connect to gate: %w: %w", ledger.ErrUnavailable, err)
	}
	c := &Client{conn: conn}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	m, err := conn.RequestWithContext(ctx, gateWhoami, nil)
	if err == nil {
		c.id, err = ledger.ParseLedgerID(string(m.Data))
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("ask gate for its ledger: %w: %w", ledger.ErrUnavailable, err)
	}
	return c, nil
}

// ID implements [Appender].
func (c *Client) ID() ledger.LedgerID { return c.id }

// Close ends the connection. An Append that waits gets [ledger.ErrUnknown].
func (c *Client) Close() error {
	c.conn.Close()
	return nil
}

// Append implements [Appender]. Only an answer, or the certainty that nobody
// received the request, is an outcome; everything else is
// [ledger.ErrUnknown].
func (c *Client) Append(ctx context.Context, r ledger.Record) (ledger.Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	m := &nats.Msg{Header: nats.Header(r.Header), Data: r.Body,
		Subject: gatePrefix + r.Header.Get(ledger.HeaderParty) + "." + strings.TrimPrefix(r.Subject, ledger.SubjectPrefix)}
	reply, err := c.conn.RequestMsgWithContext(ctx, m)
	switch {
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, nats.ErrReconnectBufExceeded):
		return ledger.Receipt{}, fmt.Errorf("send event to gate: %w: %w", ledger.ErrUnavailable, err)
	case err != nil:
		return ledger.Receipt{}, fmt.Errorf("send event to gate: %w: %w", ledger.ErrUnknown, err)
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
