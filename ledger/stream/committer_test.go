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
		Opening: Opening{Party: "operator:local", Key: testenv.Key(t, "operator:local"), Pack: rule.Default().Text()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p, address := newProxy(t, l.Endpoint().URL)
	return &remote{another(t, address), t, p, l}
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
	c, err := newCommitter(t.Context(), r, testenv.NewClock().Now)
	if err != nil {
		t.Fatal(err)
	}
	return c
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
				_, err = r.soon(r.claim("slip"))
				r.wants(err, ledger.ErrUnknown)
				release(r.proxy)
				receipt, err := r.Append(t.Context(), r.claim("slip"))
				if err != nil || receipt.Seq != 3 {
					t.Fatalf("append: %+v, %v; want sequence 3", receipt, err)
				}
				r.must(r.claim("slip"), 3, true)
				r.must(r.claim("next"), 4, false)
				r.check(4)
			})
		}
	}
}

// TestEventInDoubtIsOvertaken leaves one event in doubt and appends another. The
// first may have been stored or not, but not both ways.
func TestEventInDoubtIsOvertaken(t *testing.T) {
	for _, direction := range []int{toBroker, toClient} {
		for _, cut := range []bool{false, true} {
			t.Run(fmt.Sprintf("direction %d, cut %v", direction, cut), func(t *testing.T) {
				r := newRemote(t)
				r.proxy.hold(direction)
				_, err := r.soon(r.claim("first"))
				r.wants(err, ledger.ErrUnknown)
				if _, err := r.soon(r.claim("second")); !errors.Is(err, ledger.ErrUnavailable) && !errors.Is(err, ledger.ErrUnknown) {
					t.Fatalf("error is %v, want one that lets it be sent again", err)
				}
				if cut {
					r.proxy.cut()
				}
				r.proxy.pass(direction)
				for _, slip := range []string{"second", "first", "third"} {
					if _, err := r.Append(t.Context(), r.claim(slip)); err != nil {
						t.Fatalf("append %s: %v", slip, err)
					}
				}
				r.check(5)
			})
		}
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
	if err != nil || receipt.Seq != 3 || !receipt.Duplicate {
		t.Errorf("decide again: %+v, %v", receipt, err)
	}
	r.check(3)
}

func TestSecondCommitterThrowsTheFirstOut(t *testing.T) {
	r := newRemote(t)
	r.must(r.claim("mine"), 3, false)
	second := &remote{another(t, r.ledger.Endpoint().URL), t, nil, r.ledger}
	second.must(r.claim("theirs"), 4, false)
	for range 2 {
		_, err := r.Append(t.Context(), r.claim("too late"))
		r.wants(err, ledger.ErrFenced)
		_, err = r.Append(t.Context(), r.claim("mine"))
		r.wants(err, ledger.ErrFenced)
	}
	second.must(r.claim("too late"), 5, false)
	second.must(r.claim("mine"), 3, true)
	r.check(5)
}

// TestSecondCommitterWhileInDoubt: what is found may be of the other, and then
// our own never comes.
func TestSecondCommitterWhileInDoubt(t *testing.T) {
	r := newRemote(t)
	r.proxy.hold(toBroker)
	_, err := r.soon(r.claim("mine"))
	r.wants(err, ledger.ErrUnknown)
	second := &remote{another(t, r.ledger.Endpoint().URL), t, nil, r.ledger}
	second.must(r.claim("theirs"), 3, false)
	r.proxy.pass(toBroker)
	_, err = r.Append(t.Context(), r.claim("mine"))
	r.wants(err, ledger.ErrFenced)
	second.must(r.claim("mine"), 4, false)
	r.check(4)
}

// TestEventInDoubtLandsFirst: an event of before arrives after it was looked for
// and just before the next one is sent.
func TestEventInDoubtLandsFirst(t *testing.T) {
	r := newRemote(t)
	before, next := r.claim("before"), r.claim("next")
	e, err := ledger.Admit(r.ledger.ID(), next)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.doubtful[idOf(before)] = true
	courier := &remote{another(t, r.ledger.Endpoint().URL), t, nil, r.ledger}
	courier.must(before, 3, false)
	_, err = r.send(t.Context(), &e, e.ID())
	r.wants(err, errMoved)
	r.give()
	r.must(next, 4, false)
	r.must(before, 3, true)
	r.check(4)
}

// TestDoubtEndsWithTheNextEvent: once another event has the place of one in
// doubt, whoever stores that one is somebody else.
func TestDoubtEndsWithTheNextEvent(t *testing.T) {
	r := newRemote(t)
	r.proxy.hold(toBroker)
	_, err := r.soon(r.claim("lost"))
	r.wants(err, ledger.ErrUnknown)
	r.proxy.cut()
	r.proxy.pass(toBroker)
	r.must(r.claim("next"), 3, false)
	second := &remote{another(t, r.ledger.Endpoint().URL), t, nil, r.ledger}
	second.must(r.claim("lost"), 4, false)
	_, err = r.Append(t.Context(), r.claim("too late"))
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
			_, err = r.Append(t.Context(), r.claim("slip"))
			r.wants(err, c.want)
			if len(r.doubtful) > 0 {
				t.Error("an event that was refused is in doubt")
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
	change(t, js, func(c *jetstream.StreamConfig) { c.MaxMsgs = 2 })
	_, err = r.soon(r.claim("slip"))
	r.wants(err, ledger.ErrUnknown)
	change(t, js, func(c *jetstream.StreamConfig) { c.MaxMsgs = -1 })
	r.must(r.claim("slip"), 3, false)
	r.check(3)
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

// TestWaitingForTheTurnEndsWithTheContext: one append that hangs does not take
// the others with it.
func TestWaitingForTheTurnEndsWithTheContext(t *testing.T) {
	r := newRemote(t)
	if err := r.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := r.soon(r.claim("waits"))
	r.wants(err, context.DeadlineExceeded)
	r.give()
	r.must(r.claim("waits"), 3, false)
	r.check(3)
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
