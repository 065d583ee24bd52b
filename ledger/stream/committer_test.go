package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"todoke/ledger"
	"todoke/ledger/rule"
	"todoke/testenv"
)

const batch = "131229-20151005-0042"

// A remote is a committer that reaches the stream of a ledger over a proxy.
type remote struct {
	*committer
	t      *testing.T
	proxy  *proxy
	ledger *Ledger // its own committer stays idle
}

func newRemote(t *testing.T) *remote {
	t.Helper()
	l, err := Open(t.Context(), Config{
		Dir: t.TempDir(), Now: testenv.NewClock().Now, Rand: rand.Reader, Listen: true,
		Party: "operator:local", Key: testenv.Key(t, "operator:local"), Opening: Opening{Pack: rule.Default().Text()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p, address := newProxy(t, l.Endpoint().URL)
	r := &remote{another(t, address), t, p, l}
	r.begin()
	return r
}

// another starts a committer on the stream behind a URL.
func another(t *testing.T, address string) *committer {
	t.Helper()
	nc, err := nats.Connect(address, nats.MaxReconnects(-1), nats.ReconnectWait(time.Millisecond), nats.ReconnectJitter(0, 0), nats.Timeout(200*time.Millisecond), nats.ErrorHandler(quiet))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	r, err := newReader(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	r.patience = 30 * time.Millisecond
	c, err := newCommitter(t.Context(), r, clock{now: testenv.NewClock().Now},
		nil, leastSingle)
	if err != nil {
		t.Fatal(err)
	}
	c.starter = starter{party: "operator:local", key: testenv.Key(t, "operator:local"), rand: rand.Reader}
	go c.run()
	t.Cleanup(func() { r.Close(); <-c.ended })
	return c
}

// begin makes the committer write the start of its incarnation.
func (r *remote) begin() {
	r.t.Helper()
	if err := r.Start(r.t.Context()); err != nil {
		r.t.Fatalf("start: %v", err)
	}
}

func (r *remote) claim(slip string) ledger.Record {
	r.t.Helper()
	return testenv.Claim(r.t, r.ledger.ID(), batch, slip, ledger.Items{{First: 1, Last: 551}})
}

// soon appends with little patience.
func (r *remote) soon(record ledger.Record) (ledger.Receipt, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), 50*time.Millisecond)
	defer cancel()
	return r.Append(ctx, record)
}

func (r *remote) wants(err, want error) {
	r.t.Helper()
	if !errors.Is(err, want) {
		r.t.Fatalf("error is %v, want %v", err, want)
	}
}

// must appends and wants the receipt.
func (r *remote) must(record ledger.Record, seq ledger.Seq, duplicate bool) {
	r.t.Helper()
	receipt, err := r.Append(r.t.Context(), record)
	if err != nil || receipt.Seq != seq || receipt.Duplicate != duplicate {
		r.t.Fatalf("append: %+v, %v; want sequence %d, duplicate %v", receipt, err, seq, duplicate)
	}
}

// check looks at what is stored, past every committer.
func (r *remote) check(head ledger.Seq) {
	r.t.Helper()
	if have, err := r.ledger.Reader.Head(r.t.Context()); err != nil || have != head {
		r.t.Errorf("head is %d, %v; want %d", have, err, head)
	}
	testenv.CheckLedger(r.t, r.ledger.Reader)
}

func TestAnswerThatIsLost(t *testing.T) {
	for _, direction := range []int{toBroker, toClient} {
		for name, release := range map[string]func(*proxy){
			"comes late":            func(p *proxy) { p.pass(direction) },
			"with its connection":   func(p *proxy) { p.cut(); p.pass(direction) },
			"late, and then is cut": func(p *proxy) { p.pass(direction); p.cut() },
		} {
			t.Run(fmt.Sprint([]string{"request ", "answer "}[direction], name), func(t *testing.T) {
				r := newRemote(t)
				r.proxy.hold(direction)
				_, err := r.soon(r.claim("slip"))
				r.wants(err, ledger.ErrUnknown)
				_, err = r.soon(r.claim("other"))
				r.wants(err, ledger.ErrUnavailable) // not sent while another one is in doubt
				release(r.proxy)
				r.must(r.claim("slip"), 4, true)
				r.must(r.claim("next"), 5, false)
				r.check(5)
			})
		}
	}
}

// TestBatchInDoubt loses the answer to an atomic batch.
func TestBatchInDoubt(t *testing.T) {
	for _, direction := range []int{toBroker, toClient} {
		t.Run([]string{"request", "answer"}[direction], func(t *testing.T) {
			r := newRemote(t)
			var decision []ledger.Record
			for _, slip := range []string{"a", "b", "c"} {
				decision = append(decision, testenv.Alert(t, r.ledger.ID(), batch, slip, ledger.Items{{First: 1, Last: 2}}))
			}
			r.proxy.hold(direction)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, err := r.Decide(ctx, 0, decision...)
			r.wants(err, ledger.ErrUnknown)
			r.proxy.cut()
			r.proxy.pass(direction)
			receipt, err := r.Decide(t.Context(), 0, decision...)
			if err != nil || receipt.Seq != 6 || !receipt.Duplicate {
				t.Errorf("decide again: %+v, %v", receipt, err)
			}
			r.check(6)
		})
	}
}

// TestDecisionInDoubt: what the head was decides, also when the answer got lost.
func TestDecisionInDoubt(t *testing.T) {
	r := newRemote(t)
	alert := testenv.Alert(t, r.ledger.ID(), batch, "alert", ledger.Items{{First: 1, Last: 2}})
	other := testenv.Alert(t, r.ledger.ID(), batch, "other alert", ledger.Items{{First: 1, Last: 2}})
	r.proxy.hold(toClient)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := r.Decide(ctx, 0, alert)
	r.wants(err, ledger.ErrUnknown)
	r.proxy.pass(toClient)
	_, err = r.Decide(t.Context(), 0, other)
	r.wants(err, ledger.ErrConflict)
	receipt, err := r.Decide(t.Context(), 0, alert)
	if err != nil || receipt.Seq != 4 || !receipt.Duplicate {
		t.Errorf("decide again: %+v, %v", receipt, err)
	}
	r.check(4)
}

func TestSecondCommitterThrowsTheFirstOut(t *testing.T) {
	r := newRemote(t)
	r.must(r.claim("mine"), 4, false)
	second := &remote{another(t, r.ledger.Endpoint().URL), t, nil, r.ledger}
	second.must(r.claim("theirs"), 6, false)
	for range 2 {
		_, err := r.Append(t.Context(), r.claim("too late"))
		r.wants(err, ledger.ErrFenced)
		_, err = r.Append(t.Context(), r.claim("mine"))
		r.wants(err, ledger.ErrFenced)
	}
	receipt, err := second.Append(t.Context(), r.claim("too late"))
	if err != nil || receipt.Incarnation != 3 {
		t.Errorf("append: %+v, %v; want incarnation 3", receipt, err)
	}
	second.must(r.claim("mine"), 4, true)
	r.check(7)
}

// TestTakeover starts a committer while another one writes as fast as it can:
// the new one gets in, and every receipt of the old one stays true.
func TestTakeover(t *testing.T) {
	r := newRemote(t)
	fenced := make(chan map[ledger.ID]ledger.Seq)
	go func() {
		receipts := make(map[ledger.ID]ledger.Seq)
		for i := 0; ; i++ {
			receipt, err := r.Append(t.Context(), r.claim("old "+strconv.Itoa(i)))
			if err != nil {
				if !errors.Is(err, ledger.ErrFenced) {
					t.Errorf("append: %v", err)
				}
				fenced <- receipts
				return
			}
			receipts[receipt.ID] = receipt.Seq
		}
	}()
	second := &remote{another(t, r.ledger.Endpoint().URL), t, nil, r.ledger}
	for err := second.Start(t.Context()); err != nil; err = second.Start(t.Context()) {
		r.wants(err, ledger.ErrUnavailable)
	}
	for id, seq := range <-fenced {
		if stored, err := second.reader.get(t.Context(), seq); err != nil || idOf(stored) != id {
			t.Errorf("event %s is not at %d: %v", id, seq, err)
		}
	}
	head, _ := second.head()
	second.must(r.claim("new"), head+1, false)
	r.check(head + 1)
}

// TestSecondCommitterWhileInDoubt: what is found may be of the other, and then
// our own never comes.
func TestSecondCommitterWhileInDoubt(t *testing.T) {
	r := newRemote(t)
	r.proxy.hold(toBroker)
	_, err := r.soon(r.claim("mine"))
	r.wants(err, ledger.ErrUnknown)
	second := &remote{another(t, r.ledger.Endpoint().URL), t, nil, r.ledger}
	second.must(r.claim("theirs"), 5, false)
	r.proxy.pass(toBroker)
	_, err = r.Append(t.Context(), r.claim("mine"))
	r.wants(err, ledger.ErrFenced)
	second.must(r.claim("mine"), 6, false)
	r.check(6)
}

// TestAnotherCommittersCopyIsNotOurs: the same event, stored by another committer
// at the place that ours was fenced to, is found by its record time.
func TestAnotherCommittersCopyIsNotOurs(t *testing.T) {
	r := newRemote(t)
	fence, _ := r.head()
	stored := stamp(r.claim("slip"), testenv.Start.Add(time.Hour))
	if err := r.ledger.committer.put([]ledger.Record{stored}, fence); err != nil {
		t.Fatal(err)
	}
	_, err := r.Append(t.Context(), r.claim("slip"))
	r.wants(err, ledger.ErrFenced)
	r.check(4)
}

func TestWhatTheBrokerRefusesIsNotWritten(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*testing.T, jetstream.JetStream)
		want  error
	}{
		"stream deleted": {func(t *testing.T, js jetstream.JetStream) {
			if err := js.DeleteStream(t.Context(), Name); err != nil {
				t.Fatal(err)
			}
		}, ledger.ErrUnavailable},
		"stream sealed": {func(t *testing.T, js jetstream.JetStream) {
			change(t, js, func(c *jetstream.StreamConfig) { c.Sealed = true })
		}, ledger.ErrUnavailable},
		"message too large": {func(t *testing.T, js jetstream.JetStream) {
			change(t, js, func(c *jetstream.StreamConfig) { c.MaxMsgSize = 10 })
		}, ledger.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRemote(t)
			js, err := jetstream.New(r.ledger.Conn())
			if err != nil {
				t.Fatal(err)
			}
			c.spoil(t, js)
			for range 2 { // nothing is left in doubt
				_, err = r.Append(t.Context(), r.claim("slip"))
				r.wants(err, c.want)
			}
		})
	}
}

// TestFullStoreFillsAgain: the broker answers that it stored nothing with a code
// that also says other things, so the outcome is looked for and not believed.
func TestFullStoreFillsAgain(t *testing.T) {
	r := newRemote(t)
	js, err := jetstream.New(r.ledger.Conn())
	if err != nil {
		t.Fatal(err)
	}
	change(t, js, func(c *jetstream.StreamConfig) { c.MaxMsgs = 3 })
	_, err = r.soon(r.claim("slip"))
	r.wants(err, ledger.ErrUnknown)
	change(t, js, func(c *jetstream.StreamConfig) { c.MaxMsgs = -1 })
	receipt, err := r.Append(t.Context(), r.claim("slip"))
	if err != nil || receipt.Seq != 4 {
		t.Errorf("append: %+v, %v; want sequence 4", receipt, err)
	}
	r.check(4)
}

func change(t *testing.T, js jetstream.JetStream, f func(*jetstream.StreamConfig)) {
	t.Helper()
	s, err := js.Stream(t.Context(), Name)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	f(&cfg)
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
}

// TestRandomFaults sends events through a line that is held and cut at random,
// each until it has its receipt.
func TestRandomFaults(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			random := mathrand.New(mathrand.NewPCG(seed, 0))
			r := newRemote(t)
			receipts := make(map[ledger.ID]ledger.Receipt)
			for i := range 30 {
				fault, direction := random.IntN(4), random.IntN(2)
				if fault > 0 {
					r.proxy.hold(direction)
				}
				record := r.claim(strconv.Itoa(i))
				receipt, err := r.soon(record)
				if fault > 1 {
					r.proxy.cut()
				}
				r.proxy.pass(direction)
				if err != nil && random.IntN(3) == 0 {
					continue // its author has died, and nobody asks again
				}
				for err != nil {
					if errors.Is(err, ledger.ErrFenced) {
						t.Fatal(err)
					}
					receipt, err = r.Append(t.Context(), record)
				}
				receipts[receipt.ID] = receipt
			}
			if last, err := r.Append(t.Context(), r.claim("last")); err != nil || last.Duplicate {
				t.Errorf("append the last one: %+v, %v", last, err)
			}
			for id, receipt := range receipts {
				stored, err := r.ledger.Reader.get(t.Context(), receipt.Seq)
				if err != nil || idOf(stored) != id {
					t.Errorf("event %s is not at %d: %v", id, receipt.Seq, err)
				}
			}
			testenv.CheckLedger(t, r.ledger.Reader)
		})
	}
}

func idOf(r ledger.Record) ledger.ID {
	id, _ := ledger.ParseID(r.Header.Get(ledger.HeaderID))
	return id
}
