package stream

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"todoke/ledger"
)

// A starter signs the start of an incarnation.
type starter struct {
	party ledger.Party
	key   ledger.Signer
	rand  io.Reader
	// alive is the last sign of life of the incarnation before, zero when none
	// is known but its events.
	alive time.Time
}

// start writes ledger.started before the first append of this incarnation, and
// with it takes the stream: a committer of before finds it behind its own fence
// and never writes again. What that one has written in the meantime is caught up
// with.
func (c *committer) start(ctx context.Context) error {
	for !c.started {
		head, last := c.head()
		at, err := c.clock.begin(last, c.starter.alive)
		if err != nil {
			return err
		}
		e, err := c.starter.sign(c.reader.id, c.incarnation(head), head, last, at)
		if err != nil {
			return fmt.Errorf("sign the start of the ledger: %w", err)
		}
		err = c.put([]ledger.Record{stamp(e.Record, at)}, head)
		switch {
		case err == nil:
			c.note(&e, head+1, at)
			c.started = true
		case !errors.Is(err, errMoved):
			return fmt.Errorf("start the ledger: %w", err)
		default:
			if err := c.catchUp(ctx); err != nil {
				return fmt.Errorf("start the ledger: %w", err)
			}
		}
	}
	return nil
}

// Start writes ledger.started unless it is written already, and returns when it is
// durable. The first append does it too; a service that tells others to come
// does it before.
func (c *committer) Start(ctx context.Context) error {
	return c.ask(ctx, &request{answer: make(chan answer, 1)}).err
}

// sign returns the event that opens the incarnation after previous, behind head.
func (s starter) sign(id ledger.LedgerID, previous uint64, head ledger.Seq, last, at time.Time) (ledger.Event, error) {
	down := last
	if s.alive.After(down) && s.alive.Before(at) {
		down = s.alive
	}
	b := ledger.Body{Incarnation: previous + 1, Previous: previous, Head: head, Since: down}
	d := ledger.Draft{Author: s.party, Sent: at, Body: b, Subject: ledger.Subject{
		Municipality: ledger.National, Aggregate: ledger.StartAggregate(b.Incarnation), Kind: ledger.LedgerStarted}}
	r, err := s.record(id, d)
	if err != nil {
		return ledger.Event{}, err
	}
	return ledger.Admit(id, r)
}

// record signs a draft. One without a document key gets a random one.
func (s starter) record(id ledger.LedgerID, d ledger.Draft) (ledger.Record, error) {
	var random [32]byte
	if _, err := io.ReadFull(s.rand, random[:]); err != nil {
		return ledger.Record{}, fmt.Errorf("draw salt: %w", err)
	}
	d.Salt = [16]byte(random[:16])
	if d.DocumentKey == "" {
		d.DocumentKey = hex.EncodeToString(random[16:])
	}
	return ledger.New(id, d, s.key)
}

// catchUp reads what follows the last record that is known.
func (c *committer) catchUp(ctx context.Context) error {
	at, _ := c.head()
	head, err := c.reader.Head(ctx)
	if err != nil {
		return err
	}
	for record, err := range c.reader.Read(ctx, at+1, head) {
		if err != nil {
			return err
		}
		c.know(record)
	}
	return nil
}
