package stream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"todoke/ledger"
)

// A Reader reads a ledger's stream. It is a [ledger.Reader], safe for use by
// several goroutines.
type Reader struct {
	id     ledger.LedgerID
	story  string
	js     jetstream.JetStream
	stream jetstream.Stream
	conn   *nats.Conn
}

// Attach reads the ledger of a server that runs in another process. It can
// append nothing. Close it after use.
func Attach(ctx context.Context, e Endpoint) (*Reader, error) {
	nc, err := nats.Connect(e.URL, nats.MaxReconnects(-1), nats.Name("todoke reader"))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w: %w", e.Address(), ledger.ErrUnavailable, err)
	}
	r, err := newReader(ctx, nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return r, nil
}

// newReader finds the stream on a connection and reads which ledger it is.
func newReader(ctx context.Context, nc *nats.Conn) (*Reader, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	s, err := js.Stream(ctx, Name)
	if err != nil {
		return nil, fmt.Errorf("find stream: %w: %w", ledger.ErrNoLedger, err)
	}
	id, err := ledger.ParseLedgerID(s.CachedInfo().Config.Metadata[ledgerKey])
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w: %w", Name, ledger.ErrOtherLedger, err)
	}
	r := &Reader{id: id, js: js, stream: s, conn: nc}
	return r, r.readStory(ctx)
}

// readStory learns from the first event whether the ledger plays a story.
func (r *Reader) readStory(ctx context.Context) error {
	if r.stream.CachedInfo().State.LastSeq == 0 {
		return nil
	}
	first, err := r.get(ctx, 1)
	if err != nil {
		return err
	}
	e, err := ledger.Decode(first)
	if err != nil || e.Kind() != ledger.LedgerOpened || e.Content.Ledger != r.id {
		return fmt.Errorf("the first event does not open ledger %s: %w", r.id, ledger.ErrOtherLedger)
	}
	r.story = e.Content.Story
	return nil
}

// ID returns which ledger this is.
func (r *Reader) ID() ledger.LedgerID { return r.id }

// Story returns the story that the ledger plays, "" for an ordinary one.
func (r *Reader) Story() string { return r.story }

// Close ends the connection of an attached reader.
func (r *Reader) Close() error {
	r.conn.Close()
	return nil
}

// Head implements [ledger.Reader].
func (r *Reader) Head(ctx context.Context) (ledger.Seq, error) {
	info, err := r.stream.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask for the head: %w: %w", ledger.ErrUnavailable, err)
	}
	return ledger.Seq(info.State.LastSeq), nil
}

// few is how many records are faster to get one by one, by sequence, than
// through a consumer that has to be made first.
const few = 32

// Read implements [ledger.Reader].
func (r *Reader) Read(ctx context.Context, first, last ledger.Seq) iter.Seq2[ledger.Record, error] {
	if first == 0 {
		first = 1
	}
	return func(yield func(ledger.Record, error) bool) {
		if first > last {
			return
		}
		if last-first >= few {
			r.consume(ctx, first, last, yield)
			return
		}
		for seq := first; seq <= last; seq++ {
			record, err := r.get(ctx, seq)
			if !yield(record, err) || err != nil {
				return
			}
		}
	}
}

// Follow implements [ledger.Reader].
func (r *Reader) Follow(ctx context.Context, first ledger.Seq) iter.Seq2[ledger.Record, error] {
	return func(yield func(ledger.Record, error) bool) {
		r.consume(ctx, max(first, 1), 0, yield)
	}
}

// get reads one record by its sequence.
func (r *Reader) get(ctx context.Context, seq ledger.Seq) (ledger.Record, error) {
	m, err := r.stream.GetMsg(ctx, uint64(seq))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return ledger.Record{}, fmt.Errorf("event %d: %w", seq, ledger.ErrGap)
	case ctx.Err() != nil:
		return ledger.Record{}, ctx.Err()
	case err != nil:
		return ledger.Record{}, fmt.Errorf("read event %d: %w: %w", seq, ledger.ErrUnavailable, err)
	}
	return ledger.Record{Seq: ledger.Seq(m.Sequence), Subject: m.Subject, Header: own(m.Header), Body: m.Data, Broker: m.Time}, nil
}

// pull is how many messages a consumer asks for at once. 500 to 5,000 are
// equally fast; fewer keep less in memory.
const pull = 2000

// consume reads with an ordered consumer from first on: up to last, or for ever
// when last is 0. It checks every sequence itself, since a consumer passes over
// a hole without a word.
func (r *Reader) consume(ctx context.Context, first, last ledger.Seq, yield func(ledger.Record, error) bool) {
	end, err := r.Head(ctx)
	if err == nil && last > end {
		err = fmt.Errorf("the ledger ends at %d, event %d: %w", end, last, ledger.ErrGap)
	}
	if err != nil {
		yield(ledger.Record{}, err)
		return
	}
	messages, err := r.open(ctx, first)
	if err != nil {
		yield(ledger.Record{}, fmt.Errorf("read from %d: %w: %w", first, ledger.ErrUnavailable, err))
		return
	}
	defer messages.Stop()
	for next := first; last == 0 || next <= last; next++ {
		m, err := messages.Next(jetstream.NextContext(ctx))
		switch {
		case ctx.Err() != nil:
			yield(ledger.Record{}, ctx.Err())
			return
		case err != nil:
			yield(ledger.Record{}, fmt.Errorf("read event %d: %w: %w", next, ledger.ErrUnavailable, err))
			return
		}
		record, err := recordOf(m, next)
		if !yield(record, err) || err != nil {
			return
		}
	}
}

func (r *Reader) open(ctx context.Context, first ledger.Seq) (jetstream.MessagesContext, error) {
	c, err := r.js.OrderedConsumer(ctx, Name, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: uint64(first)})
	if err != nil {
		return nil, err
	}
	return c.Messages(jetstream.PullMaxMessages(pull))
}

// recordOf returns the record of a message, which must be the one at want.
func recordOf(m jetstream.Msg, want ledger.Seq) (ledger.Record, error) {
	meta, err := m.Metadata()
	if err != nil {
		return ledger.Record{}, fmt.Errorf("read event %d: %w", want, err)
	}
	if seq := ledger.Seq(meta.Sequence.Stream); seq != want {
		return ledger.Record{}, fmt.Errorf("event %d is followed by %d: %w", want-1, seq, ledger.ErrGap)
	}
	return ledger.Record{Seq: want, Subject: m.Subject(), Header: own(m.Headers()), Body: m.Data(), Broker: meta.Timestamp}, nil
}

// own drops the broker's headers: what it adds to a message differs with the
// way in which the message is read, and belongs to nobody.
func own(h nats.Header) ledger.Header {
	for name := range h {
		if strings.HasPrefix(name, "Nats-") {
			delete(h, name)
		}
	}
	return ledger.Header(h)
}
