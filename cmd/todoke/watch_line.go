package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"todoke/ledger"
	"todoke/ledger/stream"
	"todoke/producers"
)

// A line is the way to a ledger that may go away, and come back at another
// address: it connects when there is something to send, and again after every
// attempt that had no answer. It is a [producers.Appender].
type line struct {
	id   ledger.LedgerID
	open func() (*source, error)
	said func(error)    // hears when the ledger is reached, with nil, or is not any more
	told func(delivery) // hears every answer
	lost chan error     // has why this can never be the way to the ledger

	mu      sync.Mutex
	reached *source // nil while there is none
	away    error   // why not
}

// A delivery is the ledger's answer for a record.
type delivery struct {
	subject ledger.Subject
	receipt ledger.Receipt
	refusal error
}

func newLine(id ledger.LedgerID, reached *source, open func() (*source, error)) *line {
	return &line{id: id, reached: reached, open: open, said: func(error) {}, told: func(delivery) {}, lost: make(chan error, 1)}
}

// ID implements producers.Appender.
func (l *line) ID() ledger.LedgerID { return l.id }

// Append implements producers.Appender.
func (l *line) Append(ctx context.Context, r ledger.Record) (ledger.Receipt, error) {
	s, err := l.reach()
	if err != nil {
		return ledger.Receipt{}, fmt.Errorf("%w: %w", ledger.ErrUnavailable, err)
	}
	receipt, err := s.Append(ctx, r)
	if err != nil && !errors.Is(err, ledger.ErrRefused) {
		l.drop(s, err)
		return receipt, err
	}
	if subject, bad := ledger.ParseSubject(r.Subject); bad == nil {
		l.told(delivery{subject, receipt, err})
	}
	return receipt, err
}

// reach returns the ledger, connected.
func (l *line) reach() (*source, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reached != nil {
		return l.reached, nil
	}
	s, err := l.open()
	if err == nil {
		if err = fits(s, l.id); err != nil {
			s.close()
			select {
			case l.lost <- err:
			default:
			}
		}
	}
	if err != nil {
		l.note(err)
		return nil, err
	}
	l.reached = s
	l.note(nil)
	return s, nil
}

// fits checks that a ledger is the one that is meant, and takes events.
func fits(s *source, id ledger.LedgerID) error {
	switch {
	case s.story != "":
		return ledger.ErrStory
	case s.ID() != id:
		return fmt.Errorf("the gateway keeps events for ledger %s, and ledger %s answers: %w; name the other with --data or --nats", id, s.ID(), ledger.ErrOtherLedger)
	}
	return nil
}

// drop gives up a connection that did not answer.
func (l *line) drop(s *source, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reached != s {
		return
	}
	s.close()
	l.reached = nil
	l.note(why)
}

// note says that the ledger has gone or come back.
func (l *line) note(why error) {
	if (l.away == nil) != (why == nil) {
		l.said(why)
	}
	l.away = why
}

// why returns why the ledger is away, nil when it is not.
func (l *line) why() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.away
}

func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reached != nil {
		l.reached.close()
		l.reached = nil
	}
}

// serving finds the ledger of a server or cluster that runs. It never opens the
// folder's own: a server can be started on the folder at any time.
func (a *app) serving() (*source, error) {
	if a.Nats != "" {
		return a.visit()
	}
	endpoint, err := stream.ReadEndpoint(a.Data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.Data, err)
	}
	return a.attach(endpoint)
}

var _ producers.Appender = (*line)(nil)
