package stream_test

import (
	"crypto/rand"
	"fmt"
	"maps"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/vmihailenco/msgpack/v5"

	"todoke/ledger"
	"todoke/ledger/stream"
	"todoke/testenv"
)

// events is how many events BenchmarkReplay reads in each turn, and history how
// many each batch has.
const (
	events  = 100_000
	history = 20
)

// BenchmarkReplay compares the product with what anybody would write who only
// wants to see the same events: a pull consumer and msgpack.Unmarshal. The
// product also checks every sequence, drops the broker's headers and folds.
func BenchmarkReplay(b *testing.B) {
	l := open(b, config(b, b.TempDir()))
	fill(b, l, events)
	for _, c := range []struct {
		name string
		read func(*testing.B, *stream.Ledger)
	}{{"raw", replayRaw}, {"decode", replayDecode}, {"fold", replayFold}} {
		b.Run(c.name, func(b *testing.B) {
			before := cpuTime(b)
			for b.Loop() {
				c.read(b, l)
			}
			b.ReportMetric(float64(events*b.N)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(cpuTime(b)-before)/float64(events*b.N), "cpu-ns/event")
		})
	}
}

// cpuTime returns how long this process has computed, broker included. On a
// machine with other work it says more than the clock.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func replayFold(b *testing.B, l *stream.Ledger) {
	state := new(ledger.State)
	for r, err := range l.Read(b.Context(), 3, events+2) {
		if err != nil {
			b.Fatal(err)
		}
		state.Apply(r)
	}
	if state.Head != events+2 || len(state.Quarantine) > 0 {
		b.Fatalf("state ends at %d with %d records quarantined", state.Head, len(state.Quarantine))
	}
}

func replayDecode(b *testing.B, l *stream.Ledger) {
	for r, err := range l.Read(b.Context(), 3, events+2) {
		if err != nil {
			b.Fatal(err)
		}
		if _, err := ledger.Decode(r); err != nil {
			b.Fatal(err)
		}
	}
}

// rawBody is the body of a claim as msgpack's own tags describe it.
type rawBody struct {
	Municipality string   `msgpack:"m"`
	Aggregate    string   `msgpack:"a"`
	Flow         string   `msgpack:"f"`
	Items        []uint32 `msgpack:"i"`
	Count        uint32   `msgpack:"n"`
	Root         []byte   `msgpack:"r"`
	Basis        uint8    `msgpack:"b"`
}

func replayRaw(b *testing.B, l *stream.Ledger) {
	js, err := jetstream.New(l.Conn())
	if err != nil {
		b.Fatal(err)
	}
	consumer, err := js.CreateConsumer(b.Context(), stream.Name, jetstream.ConsumerConfig{
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: 3,
	})
	if err != nil {
		b.Fatal(err)
	}
	done, n := make(chan error), 0
	consuming, err := consumer.Consume(func(m jetstream.Msg) {
		var body rawBody
		if err := msgpack.Unmarshal(m.Data(), &body); err != nil || body.Count == 0 {
			done <- fmt.Errorf("message %d: %v", n, err)
		}
		if n++; n == events {
			close(done)
		}
	}, jetstream.PullMaxMessages(5000))
	if err != nil {
		b.Fatal(err)
	}
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	consuming.Stop()
	if err := js.DeleteConsumer(b.Context(), stream.Name, consumer.CachedInfo().Name); err != nil {
		b.Fatal(err)
	}
}

// fill stores n events, one batch after the other round and round, in atomic
// batches of a thousand and past the committer: signing and syncing each would
// take minutes.
func fill(b *testing.B, l *stream.Ledger, n int) {
	b.Helper()
	var templates []ledger.Record
	for i := range n / history {
		batch := fmt.Sprintf("131229-20151005-%04d", i+1)
		templates = append(templates, testenv.Acknowledgement(b, l.ID(), batch, batch, ledger.Items{{First: 1, Last: 551}, {First: 560, Last: 1464}}))
	}
	const group = 1000
	for i := range n {
		r := templates[i%len(templates)]
		m := &nats.Msg{Subject: r.Subject, Header: nats.Header(maps.Clone(r.Header)), Data: r.Body}
		var id ledger.ID
		if _, err := rand.Read(id[:]); err != nil {
			b.Fatal(err)
		}
		m.Header[ledger.HeaderID] = []string{id.String()}
		m.Header[ledger.HeaderTime] = []string{testenv.Start.Format(ledger.TimeFormat)}
		m.Header["Nats-Batch-Id"] = []string{strconv.Itoa(i / group)}
		m.Header["Nats-Batch-Sequence"] = []string{strconv.Itoa(i%group + 1)}
		if i%group < group-1 {
			if err := l.Conn().PublishMsg(m); err != nil {
				b.Fatal(err)
			}
			continue
		}
		m.Header["Nats-Batch-Commit"] = []string{"1"}
		if _, err := l.Conn().RequestMsgWithContext(b.Context(), m); err != nil {
			b.Fatalf("store events up to %d: %v", i, err)
		}
	}
	if head := head(b, l); head != ledger.Seq(n+2) {
		b.Fatalf("head is %d after storing %d", head, n)
	}
}

// head asks the broker, not the committer, which has not heard of them.
func head(tb testing.TB, l *stream.Ledger) ledger.Seq {
	tb.Helper()
	h, err := l.Reader.Head(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return h
}
