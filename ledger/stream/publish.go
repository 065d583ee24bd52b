package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"todoke/ledger"
)

// The headers of an atomic batch, https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-50.md;
// the library has no call for one.
const (
	batchIDHeader       = "Nats-Batch-Id"
	batchSequenceHeader = "Nats-Batch-Sequence"
	batchCommitHeader   = "Nats-Batch-Commit"
)

// errNotSent says that a message never left this process.
var errNotSent = errors.New("not sent")

// publish makes one attempt to store records behind the fence.
func (c *committer) publish(records []ledger.Record, fence ledger.Seq) error {
	ctx, cancel := context.WithTimeout(c.reader.life, c.reader.patience)
	defer cancel()
	c.attempts++
	batch := records[0].Header.Get(ledger.HeaderID)[:8] + strconv.FormatUint(c.attempts, 36)
	return publish(ctx, c.reader.conn, records, fence, batch)
}

// publish makes one attempt to store records behind the fence: one as it is,
// several as an atomic batch, which is stored whole or not at all. The fence is
// the last sequence of the whole stream; the name of the batch is that of this
// attempt alone. No message id is set, and the library makes no attempt of its
// own.
func publish(ctx context.Context, nc *nats.Conn, records []ledger.Record, fence ledger.Seq, batch string) error {
	if len(records) == 1 {
		batch = ""
	}
	for i, record := range records {
		m := &nats.Msg{Subject: record.Subject, Header: make(nats.Header), Data: record.Body}
		maps.Copy(m.Header, nats.Header(record.Header))
		if i == 0 {
			m.Header[jetstream.ExpectedLastSeqHeader] = []string{strconv.FormatUint(uint64(fence), 10)}
		}
		if batch != "" {
			m.Header[batchIDHeader] = []string{batch}
			m.Header[batchSequenceHeader] = []string{strconv.Itoa(i + 1)}
		}
		if i == len(records)-1 {
			if batch != "" {
				m.Header[batchCommitHeader] = []string{"1"}
			}
			return sendLast(ctx, nc, m, fence+ledger.Seq(len(records)))
		}
		if err := nc.PublishMsg(m); err != nil {
			// Without its last message a batch is forgotten.
			return fmt.Errorf("%w: %w", errNotSent, err)
		}
	}
	return nil
}

// sendLast sends the message that ends an attempt, and reads the broker's answer:
// that everything is stored, up to the sequence last.
func sendLast(ctx context.Context, nc *nats.Conn, m *nats.Msg, last ledger.Seq) error {
	reply, err := nc.RequestMsgWithContext(ctx, m)
	if errors.Is(err, nats.ErrNoResponders) {
		return jetstream.ErrNoStreamResponse
	}
	if err != nil {
		return err
	}
	var ack struct {
		Error    *jetstream.APIError `json:"error"`
		Stream   string              `json:"stream"`
		Sequence ledger.Seq          `json:"seq"`
	}
	if err := json.Unmarshal(reply.Data, &ack); err != nil {
		return fmt.Errorf("read the broker's answer: %w", err)
	}
	switch {
	case ack.Error != nil:
		return ack.Error
	case ack.Stream != Name || ack.Sequence != last:
		return fmt.Errorf("broker stored at %d of %s what was to end at %d", ack.Sequence, ack.Stream, last)
	}
	return nil
}
