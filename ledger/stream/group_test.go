package stream

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"todoke/ledger"
	"todoke/testenv"
)

// gathered appends one event whose answer is held back, hands in what prepare
// asks for meanwhile, and lets all go on together. It returns once every caller has
// its answer.
func (r *remote) gathered(callers []func() error) []error {
	r.t.Helper()
	errs := make([]error, len(callers)+1)
	var all sync.WaitGroup
	r.occupy(&all, &errs[len(callers)])
	for i, call := range callers {
		all.Go(func() { errs[i] = call() })
	}
	for deadline := time.Now().Add(10 * time.Second); len(r.queue) < len(callers) && time.Now().Before(deadline); {
		runtime.Gosched()
	}
	r.proxy.pass(toClient)
	all.Wait()
	return errs
}

// occupy appends an event whose answer is held back, and returns once it is stored:
// the committer waits for the answer, and everybody else for the committer.
func (r *remote) occupy(all *sync.WaitGroup, err *error) {
	r.t.Helper()
	before, failed := r.ledger.Reader.Head(r.t.Context())
	if failed != nil {
		r.t.Fatal(failed)
	}
	r.proxy.hold(toClient)
	all.Go(func() { _, *err = r.Append(r.t.Context(), r.claim("goes first")) })
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if head, _ := r.ledger.Reader.Head(r.t.Context()); head > before {
			return
		}
	}
	r.t.Fatal("the first event does not arrive")
}

func (r *remote) facts(n int) (callers []func() error) {
	for i := range n {
		name := fmt.Sprintf("131229-20151005-%04d", i+1)
		record := testenv.Claim(r.t, r.ledger.ID(), name, "slip", ledger.Items{{First: 1, Last: 551}})
		callers = append(callers, func() error { _, err := r.Append(r.t.Context(), record); return err })
	}
	return callers
}

// batches returns how many events each atomic batch in the stream has, in order; 1
// stands for a single.
func (r *remote) batches() (sizes []int) {
	r.t.Helper()
	last := ""
	head, _ := r.head()
	for seq := ledger.Seq(4); seq <= head; seq++ {
		m, err := r.ledger.stream.GetMsg(r.t.Context(), uint64(seq))
		if err != nil {
			r.t.Fatal(err)
		}
		if m.Header.Get(jetstream.MsgIDHeader) != "" {
			r.t.Errorf("event %d has a message id", seq)
		}
		if id := m.Header.Get(batchIDHeader); id != "" && id == last {
			sizes[len(sizes)-1]++
		} else {
			sizes, last = append(sizes, 1), id
		}
	}
	return sizes
}

func TestWaitingFactsAreWrittenTogether(t *testing.T) {
	r := newRemote(t)
	if err := errors.Join(r.gathered(r.facts(63))...); err != nil {
		t.Fatal(err)
	}
	if have := r.batches(); !slices.Equal(have, []int{1, 63}) {
		t.Errorf("batches have %v events, want the first alone and 63 together", have)
	}
	r.check(3 + 64)
}

func TestFewFactsAreWrittenOneByOne(t *testing.T) {
	r := newRemote(t)
	if err := errors.Join(r.gathered(r.facts(leastSingle - 1))...); err != nil {
		t.Fatal(err)
	}
	if have := r.batches(); slices.Max(have) != 1 {
		t.Errorf("batches have %v events, want single ones", have)
	}
	r.check(3 + leastSingle)
}

func TestGroupIsBounded(t *testing.T) {
	r := newRemote(t)
	if err := errors.Join(r.gathered(r.facts(maxGroup + 200))...); err != nil {
		t.Fatal(err)
	}
	if have := r.batches(); slices.Max(have) != maxGroup {
		t.Errorf("batches have %v events, want %d at most", have, maxGroup)
	}
	r.check(3 + 1 + maxGroup + 200)
}

// TestStaleDecisionCostsTheOthersNothing puts a stale decision, a decision about a
// batch that the same group adds to, and the same event twice among the facts.
func TestStaleDecisionCostsTheOthersNothing(t *testing.T) {
	r := newRemote(t)
	callers := r.facts(40)
	decide := func(name, slip string, head ledger.Seq) func() error {
		record := testenv.Alert(t, r.ledger.ID(), name, slip, ledger.Items{{First: 1, Last: 1}})
		return func() error { _, err := r.Decide(t.Context(), head, record); return err }
	}
	stale := decide("131229-20151005-7000", "stale", 3)
	overtaken := decide("131229-20151005-0040", "overtaken", 0)
	fresh := decide("131229-20151005-7001", "fresh", 0)
	callers = append(callers, stale, overtaken, fresh, callers[0])
	errs := r.gathered(callers)
	for i, want := range map[int]error{40: ledger.ErrConflict, 42: nil, 43: nil} {
		if !errors.Is(errs[i], want) {
			t.Errorf("caller %d: %v, want %v", i, errs[i], want)
		}
	}
	// What came first, the fact or the decision about its batch, was decided by chance.
	if err := errs[41]; err != nil && !errors.Is(err, ledger.ErrConflict) {
		t.Errorf("the decision about a batch of the group: %v", err)
	}
	if err := errors.Join(errs[:40]...); err != nil {
		t.Errorf("the others: %v", err)
	}
	head, _ := r.head()
	r.check(head)
}

// TestCallerThatGoesBeforeItWasSent: its event is not stored afterwards.
func TestCallerThatGoesBeforeItWasSent(t *testing.T) {
	r := newRemote(t)
	gone := r.claim("gone")
	ctx, cancel := context.WithCancel(t.Context())
	callers := append(r.facts(20), func() error {
		_, err := r.Append(ctx, gone)
		if !errors.Is(err, ledger.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			return fmt.Errorf("error is %v, want that it was not sent", err)
		}
		return nil
	})
	left := make(chan struct{})
	last := callers[20]
	callers[20] = func() error { defer close(left); return last() }
	callers[0] = func() error { return nil }
	go func() {
		for len(r.queue) < 20 {
			runtime.Gosched()
		}
		cancel()
	}()
	var all sync.WaitGroup
	errs := make([]error, len(callers)+1)
	r.occupy(&all, &errs[21])
	for i, call := range callers {
		all.Go(func() { errs[i] = call() })
	}
	<-left
	r.proxy.pass(toClient)
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if _, known := r.find([]ledger.Event{{Record: gone}}); known != 0 {
		t.Error("the event is in the ledger")
	}
	r.check(3 + 20)
}
