package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"todoke/ledger"
)

// How much is asked for at once.
const (
	directMessages = 1000
	directBytes    = 4 << 20
)

// readDirect reads from first to last, both of which are there, with questions
// that each bring many records. On a cluster it stands in for a consumer, whose
// first answer is sometimes lost while the servers do not all know of it. Whichever
// server answers may lag behind: what it does not have, get brings.
func (r *Reader) readDirect(ctx context.Context, first, last ledger.Seq, yield func(ledger.Record, error) bool) bool {
	for next := first; next <= last; {
		more := true
		n, err := r.askMany(ctx, next, last, func(record ledger.Record) bool {
			more = yield(record, nil)
			return more
		})
		if !more {
			return false
		}
		if next += ledger.Seq(n); err == nil && n == 0 {
			var record ledger.Record
			if record, err = r.get(ctx, next); err == nil {
				next++
				if !yield(record, nil) {
					return false
				}
			}
		}
		if err != nil {
			yield(ledger.Record{}, err)
			return false
		}
	}
	return true
}

// askMany asks one question and hands on the records of its answer, in order and
// without a hole, as far as they go. It returns how many these were.
func (r *Reader) askMany(ctx context.Context, first, last ledger.Seq, take func(ledger.Record) bool) (n int, err error) {
	answers, err := r.conn.SubscribeSync(r.conn.NewRespInbox())
	if err != nil {
		return 0, fmt.Errorf("read event %d: %w", first, r.why(ctx, err))
	}
	defer answers.Unsubscribe()
	question := fmt.Sprintf(`{"seq":%d,"batch":%d,"max_bytes":%d}`, first, min(last-first+1, directMessages), directBytes)
	if err := r.conn.PublishRequest("$JS.API.DIRECT.GET."+Name, answers.Subject, []byte(question)); err != nil {
		return 0, fmt.Errorf("read event %d: %w", first, r.why(ctx, err))
	}
	for {
		m, err := next(ctx, answers, r.patience)
		switch {
		case err != nil && n > 0 && ctx.Err() == nil:
			return n, nil // an answer that breaks off: the rest is asked for again
		case errors.Is(err, nats.ErrNoResponders):
			return n, fmt.Errorf("read event %d: %w: %w", first, ledger.ErrUnavailable, err)
		case err != nil:
			return n, fmt.Errorf("read event %d: %w", first, r.why(ctx, err))
		}
		record, ok := fromDirect(m)
		if !ok || record.Seq != first+ledger.Seq(n) {
			return n, nil // the end, or a hole, which get looks at
		}
		if n++; !take(record) {
			return n, nil
		}
	}
}

// next waits for one message, for so long at most.
func next(ctx context.Context, from *nats.Subscription, patience time.Duration) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return from.NextMsgWithContext(ctx)
}

// fromDirect returns the record of a message of an answer; ok is false for what
// ends the answer.
func fromDirect(m *nats.Msg) (record ledger.Record, ok bool) {
	seq, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return record, false
	}
	at, err := time.Parse(time.RFC3339Nano, m.Header.Get(jetstream.TimeStampHeaer))
	if err != nil {
		return record, false
	}
	return ledger.Record{Seq: ledger.Seq(seq), Subject: m.Header.Get(jetstream.SubjectHeader), Header: own(m.Header), Body: m.Data, Broker: at}, true
}
