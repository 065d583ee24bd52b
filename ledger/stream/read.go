package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"todoke/ledger"
)

// A Reader reads a ledger's stream. It is a [ledger.Reader], safe for use by
// several goroutines.
type Reader struct {
	id     ledger.LedgerID
	story  string
	conn   *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
	// patience bounds one question to the broker. It is answerTimeout but in
	// tests of lost answers.
	patience time.Duration

	// life ends when the reader is closed or its connection is lost for good;
	// the cause says which.
	life context.Context
	end  context.CancelCauseFunc
}

// Attach reads the ledger of a server that runs in another process. It can
// append nothing. When that server ends, every read ends with
// [ledger.ErrUnavailable]: it does not look for the next server. Close it after
// use.
func Attach(ctx context.Context, e Endpoint) (*Reader, error) {
	nc, err := nats.Connect(e.URL, nats.NoReconnect(), nats.Name("todoke reader"), nats.ErrorHandler(quiet))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w: %w", e.Address(), ledger.ErrUnavailable, err)
	}
	r, err := newReader(ctx, nc)
	if err != nil {
		nc.Close()
		return nil, err
	}
	if e.Ledger != r.id.String() {
		r.Close()
		return nil, fmt.Errorf("ledger %s answers at %s, not %s: %w", r.id, e.Address(), e.Ledger, ledger.ErrOtherLedger)
	}
	return r, nil
}

// Visit reads the ledger on a cluster: url as in [Address]. It can append
// nothing. Unlike what [Attach] returns, it connects again by itself.
func Visit(ctx context.Context, url string) (*Reader, error) {
	nc, err := connectOutside(url)
	if err != nil {
		return nil, err
	}
	r, err := newReader(ctx, nc)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("%s: %w", withoutSecrets(url), err)
	}
	return r, nil
}

// newReader finds the stream on a connection and reads which ledger it is. A
// copy that [Move] has not completed is an [ledger.ErrIncomplete].
func newReader(ctx context.Context, nc *nats.Conn) (*Reader, error) {
	r, err := newCopyReader(ctx, nc)
	if err == nil && r.incomplete() {
		return nil, fmt.Errorf("of ledger %s: %w", r.id, ledger.ErrIncomplete)
	}
	return r, err
}

// newCopyReader is newReader for Move, which reads what is not complete.
func newCopyReader(ctx context.Context, nc *nats.Conn) (*Reader, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	s, err := js.Stream(ctx, Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("find stream: %w", ledger.ErrNoLedger)
	}
	if err != nil {
		return nil, fmt.Errorf("find stream: %w: %w", ledger.ErrUnavailable, err)
	}
	metadata := s.CachedInfo().Config.Metadata
	if n, err := strconv.Atoi(metadata[formatKey]); err != nil {
		return nil, fmt.Errorf("the store has no format that can be read (%q): %w", metadata[formatKey], ledger.ErrDrift)
	} else if n > format {
		return nil, fmt.Errorf("the store has format %d, this program knows %d: %w", n, format, ledger.ErrNewer)
	}
	id, err := ledger.ParseLedgerID(metadata[ledgerKey])
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w: %w", Name, ledger.ErrOtherLedger, err)
	}
	r := &Reader{id: id, conn: nc, js: js, stream: s, patience: answerTimeout}
	r.life, r.end = context.WithCancelCause(context.Background())
	nc.SetClosedHandler(func(*nats.Conn) { r.end(ledger.ErrUnavailable) })
	return r, r.readStory(ctx)
}

// readStory learns from the first event whether the ledger plays a story. An
// empty ledger is one that is still being made.
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

// Close ends the reader; whoever reads gets [ledger.ErrClosed]. It may be called
// twice.
func (r *Reader) Close() error {
	r.end(ledger.ErrClosed)
	r.conn.Close()
	return nil
}

// why returns what an error of the broker means to the caller.
func (r *Reader) why(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case r.life.Err() != nil:
		return context.Cause(r.life)
	}
	return fmt.Errorf("%w: %w", ledger.ErrUnavailable, err)
}

// Head implements [ledger.Reader].
func (r *Reader) Head(ctx context.Context) (ledger.Seq, error) {
	short, cancel := context.WithTimeout(ctx, r.patience)
	defer cancel()
	info, err := r.stream.Info(short)
	if err != nil {
		return 0, fmt.Errorf("ask for the head: %w", r.why(ctx, err))
	}
	return ledger.Seq(info.State.LastSeq), nil
}

// get reads one record by its sequence. On a cluster any server that has a copy
// answers, and one that lags behind does not have it yet: then the leader is asked.
func (r *Reader) get(ctx context.Context, seq ledger.Seq) (ledger.Record, error) {
	short, cancel := context.WithTimeout(ctx, r.patience)
	defer cancel()
	m, err := r.stream.GetMsg(short, uint64(seq))
	if errors.Is(err, jetstream.ErrMsgNotFound) && r.replicated() {
		m, err = r.insist(short, seq)
	}
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return ledger.Record{}, fmt.Errorf("event %d is missing: %w", seq, ledger.ErrGap)
	case err != nil:
		return ledger.Record{}, fmt.Errorf("read event %d: %w", seq, r.why(ctx, err))
	}
	return ledger.Record{Seq: ledger.Seq(m.Sequence), Subject: m.Subject, Header: own(m.Header), Body: m.Data, Broker: m.Time}, nil
}

// replicated reports whether several servers hold the stream.
func (r *Reader) replicated() bool { return r.stream.CachedInfo().Config.Replicas > 1 }

// insist asks the leader for a record for a second: a new one may still be busy
// with what it has to store.
func (r *Reader) insist(ctx context.Context, seq ledger.Seq) (m *jetstream.RawStreamMsg, err error) {
	for end := time.Now().Add(time.Second); ; {
		m, err = r.getFromLeader(ctx, seq)
		if !errors.Is(err, jetstream.ErrMsgNotFound) || time.Now().After(end) || !wait(ctx, 10*firstWait) {
			return m, err
		}
	}
}

// getFromLeader asks the one server whose answer is not older than its
// acknowledgements.
func (r *Reader) getFromLeader(ctx context.Context, seq ledger.Seq) (*jetstream.RawStreamMsg, error) {
	reply, err := r.conn.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+Name, []byte(fmt.Sprintf(`{"seq":%d}`, seq)))
	if err != nil {
		return nil, err
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Header   []byte    `json:"hdrs"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return nil, err
	}
	if e := answer.Error; e != nil && e.ErrorCode == jetstream.JSErrCodeMessageNotFound {
		return nil, jetstream.ErrMsgNotFound
	} else if e != nil {
		return nil, e
	}
	m := answer.Message
	var header nats.Header
	if len(m.Header) > 0 {
		if header, err = nats.DecodeHeadersMsg(m.Header); err != nil {
			return nil, err
		}
	}
	return &jetstream.RawStreamMsg{Subject: m.Subject, Sequence: m.Sequence, Header: header, Data: m.Data, Time: m.Time}, nil
}

// wait waits, and reports whether ctx is still running.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// few is how many records are faster to get one by one, by sequence, than
// through a consumer that has to be made first.
const few = 32

// Read implements [ledger.Reader].
func (r *Reader) Read(ctx context.Context, first, last ledger.Seq) iter.Seq2[ledger.Record, error] {
	first = max(first, 1)
	return func(yield func(ledger.Record, error) bool) {
		if first > last {
			return
		}
		if last-first >= few {
			r.readMany(ctx, first, last, yield)
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

// readMany reads up to last, or to the head and then says that the rest is
// missing: a caller who knows of a sequence has a right to it.
func (r *Reader) readMany(ctx context.Context, first, last ledger.Seq, yield func(ledger.Record, error) bool) {
	head, err := r.Head(ctx)
	if err != nil {
		yield(ledger.Record{}, err)
		return
	}
	read := r.consume
	if r.replicated() {
		read = r.readDirect
	}
	if first <= head && !read(ctx, first, min(last, head), yield) {
		return
	}
	if last > head {
		yield(ledger.Record{}, fmt.Errorf("the ledger ends at %d, event %d is missing: %w", head, max(first, head+1), ledger.ErrGap))
	}
}

// Follow implements [ledger.Reader].
func (r *Reader) Follow(ctx context.Context, first ledger.Seq) iter.Seq2[ledger.Record, error] {
	return func(yield func(ledger.Record, error) bool) {
		r.consume(ctx, max(first, 1), 0, yield)
	}
}

// consume reads with an ordered consumer from first on: up to last, or for ever
// when last is 0. It reports whether it got there and the caller wants more. It
// checks every sequence itself, since a consumer passes over a hole without a
// word.
func (r *Reader) consume(ctx context.Context, first, last ledger.Seq, yield func(ledger.Record, error) bool) bool {
	fail := func(err error) bool {
		yield(ledger.Record{}, err)
		return false
	}
	consumer, messages, err := r.messages(ctx, first)
	if err != nil {
		return fail(fmt.Errorf("read from %d: %w", first, r.why(ctx, err)))
	}
	defer func() {
		messages.Stop()
		// Without waiting: what is not heard is forgotten after idle.
		_ = r.conn.Publish("$JS.API.CONSUMER.DELETE."+Name+"."+consumer.CachedInfo().Name, nil)
	}()
	next, waiting := first, consumer.CachedInfo().NumPending
	for ; last == 0 || next <= last; next++ {
		if last != 0 && waiting == 0 {
			// Nothing more will come, which is no reason to wait for ever.
			if _, err := r.get(ctx, next); err != nil {
				return fail(err)
			}
		}
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fail(fmt.Errorf("read event %d: %w", next, r.why(ctx, err)))
		}
		meta, err := m.Metadata()
		if err != nil {
			return fail(fmt.Errorf("read event %d: %w", next, r.why(ctx, err)))
		}
		if seq := ledger.Seq(meta.Sequence.Stream); seq != next {
			return fail(fmt.Errorf("event %d is missing, %d follows %d: %w", next, seq, next-1, ledger.ErrGap))
		}
		waiting = meta.NumPending
		if !yield(ledger.Record{Seq: next, Subject: m.Subject(), Header: own(m.Headers()), Body: m.Data(), Broker: meta.Timestamp}, nil) {
			return false
		}
	}
	return true
}

const (
	// answerTimeout is how long one question waits for the broker's answer.
	answerTimeout = 5 * time.Second
	// clusterPatience is the same for the committer's own questions to a cluster.
	clusterPatience = 2 * time.Second
	// pullMessages and pullBytes are what a consumer asks for at once. 500 to
	// 5,000 messages are equally fast; fewer keep less in memory.
	pullMessages = 2000
	pullBytes    = 16 << 20
	// heartbeat is how often a waiting consumer wants to hear from the broker;
	// after two misses it is made anew.
	heartbeat = time.Second
	// idle is after what time the broker forgets a consumer that nobody uses.
	idle = 30 * time.Second
)

// messages makes an ordered consumer, which makes itself anew when the broker
// loses it.
func (r *Reader) messages(ctx context.Context, first ledger.Seq) (jetstream.Consumer, jetstream.MessagesContext, error) {
	ctx, cancel := context.WithTimeout(ctx, r.patience)
	defer cancel()
	c, err := r.js.OrderedConsumer(ctx, Name, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: uint64(first), InactiveThreshold: idle,
	})
	if err != nil {
		return nil, nil, err
	}
	m, err := c.Messages(jetstream.PullMaxMessagesWithBytesLimit(pullMessages, pullBytes), jetstream.PullHeartbeat(heartbeat))
	return c, m, err
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
