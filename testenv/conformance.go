package testenv

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"todoke/ledger"
)

// An Opened log is one that [RunLog] tests.
type Opened struct {
	ledger.Log
	// Close ends the log.
	Close func() error
	// Reopen closes the log and opens the same store again; nil for a log
	// that has none.
	Reopen func(*testing.T) ledger.Log
}

// RunLog tests that an implementation of [ledger.Log] keeps the contract. Each
// test opens a log of its own, whose committer must take its time from now. It
// may hold events already, none of a batch.
func RunLog(t *testing.T, open func(t *testing.T, now func() time.Time) Opened) {
	for _, c := range []struct {
		name string
		test func(*suite)
	}{
		{"a fact is read back as it was sent", (*suite).facts},
		{"a decision needs the head it was decided on", (*suite).decisions},
		{"a decision of several events lands whole or not at all", (*suite).wholeDecisions},
		{"the same event twice is stored once", (*suite).duplicates},
		{"an id is not used for two events", (*suite).idReuse},
		{"what is refused is not written", (*suite).refusals},
		{"one of many deciders wins", (*suite).deciders},
		{"facts from many are all stored once", (*suite).manyFacts},
		{"record time never decreases", (*suite).clockBack},
		{"an aggregate takes only so many events", (*suite).full},
		{"read yields exactly its range", (*suite).ranges},
		{"read stops when the caller does", (*suite).breaks},
		{"follow goes on with what comes", (*suite).follow},
		{"a context that is done ends everything", (*suite).cancel},
		{"nothing works after close", (*suite).closed},
		{"another start knows what was said", (*suite).reopen},
	} {
		t.Run(c.name, func(t *testing.T) {
			clock := NewClock()
			s := &suite{T: t, clock: clock, log: open(t, clock.Now)}
			c.test(s)
		})
	}
}

// patience bounds a test that would otherwise wait for ever.
const patience = time.Minute

// batch is the aggregate that the tests write to.
const batch = "131229-20151005-0042"

// suite is one test on one log.
type suite struct {
	*testing.T
	clock *Clock
	log   Opened
}

func (s *suite) claim(slip string) ledger.Record {
	s.Helper()
	return Claim(s, s.log.ID(), batch, slip, ledger.Items{{First: 1, Last: 551}})
}

func (s *suite) alert(slip string) ledger.Record {
	s.Helper()
	return Alert(s, s.log.ID(), batch, slip, ledger.Items{{First: 1, Last: 551}})
}

// must returns the receipt of an append that succeeded.
func (s *suite) must(r ledger.Receipt, err error) ledger.Receipt {
	s.Helper()
	if err != nil {
		s.Fatalf("append: %v", err)
	}
	return r
}

func (s *suite) append(r ledger.Record) ledger.Receipt {
	s.Helper()
	return s.must(s.log.Append(s.Context(), r))
}

func (s *suite) head() ledger.Seq {
	s.Helper()
	head, err := s.log.Head(s.Context())
	if err != nil {
		s.Fatalf("ask for the head: %v", err)
	}
	return head
}

// read returns the records of a range, which must all be there.
func (s *suite) read(first, last ledger.Seq) []ledger.Record {
	s.Helper()
	var records []ledger.Record
	for r, err := range s.log.Read(s.Context(), first, last) {
		if err != nil {
			s.Fatalf("read %d to %d: %v", first, last, err)
		}
		records = append(records, r)
	}
	return records
}

// wants fails the test when err is not the wanted error.
func (s *suite) wants(err, want error) {
	s.Helper()
	if !errors.Is(err, want) {
		s.Errorf("error is %v, want %v", err, want)
	}
}

func (s *suite) facts() {
	before := s.head()
	sent := s.claim("slip")
	receipt := s.append(sent)
	if want := (ledger.Receipt{Ledger: s.log.ID(), Incarnation: 1, Seq: before + 1, Time: s.clock.Now(), ID: idOf(sent)}); receipt != want {
		s.Errorf("receipt is %+v, want %+v", receipt, want)
	}
	stored := s.read(receipt.Seq, receipt.Seq)[0]
	if stored.Seq != receipt.Seq || stored.Subject != sent.Subject || string(stored.Body) != string(sent.Body) {
		s.Errorf("stored is %d %s, sent was %s", stored.Seq, stored.Subject, sent.Subject)
	}
	if stored.Broker.IsZero() {
		s.Error("stored has no timestamp of the broker")
	}
	if stored.Header.Get(ledger.HeaderTime) != receipt.Time.Format(ledger.TimeFormat) {
		s.Errorf("record time is %q, the receipt says %s", stored.Header.Get(ledger.HeaderTime), receipt.Time)
	}
	delete(stored.Header, ledger.HeaderTime)
	if !reflect.DeepEqual(stored.Header, sent.Header) {
		s.Errorf("stored headers are\n%v, sent were\n%v", stored.Header, sent.Header)
	}
	if _, changed := sent.Header[ledger.HeaderTime]; changed {
		s.Error("append changed the headers of the caller's record")
	}
	CheckLedger(s, s.log)
}

func (s *suite) decisions() {
	first := s.must(s.log.Decide(s.Context(), 0, s.alert("first")))
	_, err := s.log.Decide(s.Context(), 0, s.alert("late"))
	s.wants(err, ledger.ErrConflict)
	fact := s.append(s.claim("fact"))
	_, err = s.log.Decide(s.Context(), first.Seq, s.alert("late"))
	s.wants(err, ledger.ErrConflict)
	other := Claim(s, s.log.ID(), "131229-20151005-0043", "other", ledger.Items{{First: 1, Last: 1}})
	s.append(other) // another aggregate's event is no conflict
	second := s.must(s.log.Decide(s.Context(), fact.Seq, s.alert("late")))
	if second.Seq != fact.Seq+2 {
		s.Errorf("second decision is at %d, want %d", second.Seq, fact.Seq+2)
	}
	CheckLedger(s, s.log)
}

func (s *suite) wholeDecisions() {
	slips := func(names ...string) (records []ledger.Record) {
		for _, name := range names {
			records = append(records, s.alert(name))
		}
		return records
	}
	fact := s.append(s.claim("fact"))
	three := s.must(s.log.Decide(s.Context(), fact.Seq, slips("a", "b", "c")...))
	if three.Seq != fact.Seq+3 {
		s.Errorf("the last of three events is at %d, want %d", three.Seq, fact.Seq+3)
	}
	for i, r := range s.read(fact.Seq+1, three.Seq) {
		if want := slips("a", "b", "c")[i]; idOf(r) != idOf(want) {
			s.Errorf("event %d of the decision is %s, want %s", i, idOf(r), idOf(want))
		}
	}
	again := s.must(s.log.Decide(s.Context(), fact.Seq, slips("a", "b", "c")...))
	if three.Duplicate = true; again != three {
		s.Errorf("the decision again: receipt is %+v, want %+v", again, three)
	}
	for name, c := range map[string]struct {
		head     ledger.Seq
		decision []ledger.Record
		want     error
	}{
		"on an old head":                    {fact.Seq, slips("d", "e"), ledger.ErrConflict},
		"with an event of another decision": {three.Seq, slips("c", "d"), ledger.ErrConflict},
		"with a bad event at its end":       {three.Seq, append(slips("d"), ledger.Record{Subject: "elsewhere"}), ledger.ErrMalformed},
		"with an event twice":               {three.Seq, slips("d", "d"), ledger.ErrMalformed},
		"about two batches":                 {three.Seq, append(slips("d"), Alert(s, s.log.ID(), "131229-20151005-0043", "d", ledger.Items{{First: 1, Last: 2}})), ledger.ErrMalformed},
		"without events":                    {three.Seq, nil, ledger.ErrMalformed},
	} {
		if _, err := s.log.Decide(s.Context(), c.head, c.decision...); !errors.Is(err, c.want) {
			s.Errorf("a decision %s: error is %v, want %v", name, err, c.want)
		}
	}
	if head := s.head(); head != three.Seq {
		s.Errorf("head is %d, want %d", head, three.Seq)
	}
	CheckLedger(s, s.log)
}

func (s *suite) duplicates() {
	fact := s.append(s.claim("slip"))
	decision := s.must(s.log.Decide(s.Context(), fact.Seq, s.alert("alert")))
	s.clock.Advance(time.Hour)
	again := Sign(s, s.log.ID(), draftOf(s, s.claim("slip"), "slip", Start.Add(time.Hour)))
	for name, attempt := range map[string]func() (ledger.Receipt, error){
		"fact":                       func() (ledger.Receipt, error) { return s.log.Append(s.Context(), s.claim("slip")) },
		"fact with another salt":     func() (ledger.Receipt, error) { return s.log.Append(s.Context(), again) },
		"fact sent as a decision":    func() (ledger.Receipt, error) { return s.log.Decide(s.Context(), 0, s.claim("slip")) },
		"decision on the old head":   func() (ledger.Receipt, error) { return s.log.Decide(s.Context(), fact.Seq, s.alert("alert")) },
		"decision on its own head":   func() (ledger.Receipt, error) { return s.log.Decide(s.Context(), decision.Seq, s.alert("alert")) },
		"decision sent as a fact":    func() (ledger.Receipt, error) { return s.log.Append(s.Context(), s.alert("alert")) },
		"decision on an empty batch": func() (ledger.Receipt, error) { return s.log.Decide(s.Context(), 0, s.alert("alert")) },
	} {
		want := fact
		if strings.HasPrefix(name, "decision") {
			want = decision
		}
		want.Duplicate = true
		if got := s.must(attempt()); got != want {
			s.Errorf("%s: receipt is %+v, want %+v", name, got, want)
		}
	}
	if head := s.head(); head != decision.Seq {
		s.Errorf("head is %d, want %d", head, decision.Seq)
	}
	CheckLedger(s, s.log)
}

func (s *suite) idReuse() {
	fact := s.append(s.claim("slip"))
	_, err := s.log.Append(s.Context(), Claim(s, s.log.ID(), batch, "slip", ledger.Items{{First: 1, Last: 2}}))
	s.wants(err, ledger.ErrIDReused)
	_, err = s.log.Decide(s.Context(), fact.Seq, Claim(s, s.log.ID(), batch, "slip", ledger.Items{{First: 1, Last: 3}}))
	s.wants(err, ledger.ErrIDReused)
	// A log may record the attempt, but not in the batch.
	s.must(s.log.Decide(s.Context(), fact.Seq, s.alert("the batch is where it was")))
	CheckLedger(s, s.log)
}

func (s *suite) refusals() {
	before := s.head()
	for name, spoil := range map[string]func(*ledger.Record){
		"another body":                 func(r *ledger.Record) { r.Body = s.claim("other").Body },
		"half a body":                  func(r *ledger.Record) { r.Body = r.Body[:len(r.Body)/2] },
		"no body":                      func(r *ledger.Record) { r.Body = nil },
		"a record time of its own":     func(r *ledger.Record) { r.Header[ledger.HeaderTime] = []string{Start.Format(ledger.TimeFormat)} },
		"a header of the broker":       func(r *ledger.Record) { r.Header["Nats-Rollup"] = []string{"all"} },
		"another subject":              func(r *ledger.Record) { r.Subject = s.alert("alert").Subject },
		"a subject outside the ledger": func(r *ledger.Record) { r.Subject = "elsewhere" },
		"a signature for another ledger": func(r *ledger.Record) {
			*r = Claim(s, ledger.LedgerID{0xff}, batch, "slip", ledger.Items{{First: 1, Last: 551}})
		},
	} {
		r := s.claim("slip " + name)
		spoil(&r)
		if _, err := s.log.Append(s.Context(), r); !errors.Is(err, ledger.ErrRefused) {
			s.Errorf("%s: error is %v, want a refusal", name, err)
		}
	}
	if head := s.head(); head != before {
		s.Errorf("head is %d, want %d", head, before)
	}
}

func (s *suite) deciders() {
	const deciders = 32
	var won sync.Map
	s.race(deciders, func(i int) {
		receipt, err := s.log.Decide(s.Context(), 0, s.alert(fmt.Sprint("decider ", i)))
		switch {
		case err == nil:
			won.Store(receipt.Seq, i)
		case !errors.Is(err, ledger.ErrConflict):
			s.Errorf("decider %d: error is %v, want a conflict", i, err)
		}
	})
	winners := 0
	won.Range(func(any, any) bool { winners++; return true })
	if winners != 1 {
		s.Errorf("%d deciders won, want 1", winners)
	}
	CheckLedger(s, s.log)
}

func (s *suite) manyFacts() {
	const writers, each = 16, 8
	before := s.head()
	s.race(writers, func(i int) {
		for n := range each {
			// Every two writers say the same things.
			if _, err := s.log.Append(s.Context(), s.claim(fmt.Sprint(i/2, " ", n))); err != nil {
				s.Errorf("writer %d: %v", i, err)
			}
		}
	})
	if head, want := s.head(), before+writers/2*each; head != want {
		s.Errorf("head is %d, want %d", head, want)
	}
	CheckLedger(s, s.log)
}

// race runs n calls of f at once.
func (s *suite) race(n int, f func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { f(i) })
	}
	all.Wait()
}

func (s *suite) clockBack() {
	last := s.append(s.claim("first"))
	for i, step := range []time.Duration{time.Minute, -time.Hour, time.Nanosecond, 2 * time.Hour} {
		s.clock.Advance(step)
		want := last.Time
		if now := s.clock.Now(); now.After(want) {
			want = now
		}
		last = s.append(s.claim(fmt.Sprint("step ", i)))
		if !last.Time.Equal(want) {
			s.Errorf("step %d: recorded at %s, want %s", i, last.Time, want)
		}
	}
	CheckLedger(s, s.log)
}

func (s *suite) full() {
	if testing.Short() {
		s.Skip("writes thousands of events")
	}
	for i := range ledger.MaxFacts {
		s.append(s.claim(fmt.Sprint("event ", i)))
	}
	_, err := s.log.Append(s.Context(), s.claim("one too many"))
	s.wants(err, ledger.ErrFull)
	s.must(s.log.Decide(s.Context(), s.head(), s.alert("an alert still fits in")))
	if again := s.append(s.claim("event 0")); !again.Duplicate {
		s.Error("an event of a full aggregate is not known any more")
	}
	s.append(Claim(s, s.log.ID(), "131229-20151005-0043", "elsewhere", ledger.Items{{First: 1, Last: 1}}))
	CheckLedger(s, s.log)
}

// fill appends n facts and returns the sequence before the first of them.
func (s *suite) fill(n int) ledger.Seq {
	s.Helper()
	before := s.head()
	for i := range n {
		s.append(s.claim(fmt.Sprint("event ", i)))
	}
	return before
}

func (s *suite) ranges() {
	before := s.fill(100)
	head := s.head()
	for _, c := range [][2]ledger.Seq{{1, head}, {0, 2}, {before + 1, before + 1}, {before + 3, before + 9},
		{before + 2, before + 99}, {head, head}, {2, 1}, {head + 1, head}} {
		next := max(c[0], 1)
		for _, r := range s.read(c[0], c[1]) {
			if r.Seq != next {
				s.Fatalf("read %d to %d: %d comes where %d belongs", c[0], c[1], r.Seq, next)
			}
			next++
		}
		if c[0] <= c[1] && next != c[1]+1 {
			s.Errorf("read %d to %d ended before %d", c[0], c[1], next)
		}
	}
	for _, first := range []ledger.Seq{1, head, head + 5} {
		var err error
		for _, err = range s.log.Read(s.Context(), first, head+5) {
		}
		s.wants(err, ledger.ErrGap) // an event that is not there is missing
	}
}

func (s *suite) breaks() {
	s.fill(50)
	for range s.log.Read(s.Context(), 1, s.head()) {
		break
	}
	for range s.log.Follow(s.Context(), 1) {
		break
	}
	first := s.read(1, 1)[0]
	first.Body[0] ^= 0xff // the record is the caller's
	first.Header[ledger.HeaderID] = []string{"changed"}
	CheckLedger(s, s.log)
}

func (s *suite) follow() {
	ctx, stop := context.WithTimeout(s.Context(), patience)
	defer stop()
	before := s.fill(40)
	const more = 40
	next := before
	for r, err := range s.log.Follow(ctx, before) {
		if err != nil {
			s.Fatalf("follow after %d: %v", next, err)
		}
		if next = max(next, 1); r.Seq != next {
			s.Fatalf("follow: %d comes where %d belongs", r.Seq, next)
		}
		next++
		if n := int(r.Seq - before); n >= 40 && n < 40+more {
			s.append(s.claim(fmt.Sprint("live ", n))) // one more for each that arrived
		} else if n == 40+more {
			break
		}
	}
	// A follower ahead of the ledger waits, and begins where it wanted to.
	ahead := s.head() + 2
	arrived := make(chan ledger.Seq, 1)
	go func() {
		for r, err := range s.log.Follow(ctx, ahead) {
			if err == nil {
				arrived <- r.Seq
			}
			break
		}
		close(arrived)
	}()
	s.append(s.claim("passed by"))
	s.append(s.claim("waited for"))
	if seq := <-arrived; seq != ahead {
		s.Errorf("follow from %d began with %d", ahead, seq)
	}
}

func (s *suite) cancel() {
	s.fill(1)
	done, stop := context.WithCancel(s.Context())
	stop()
	if _, err := s.log.Append(done, s.claim("slip")); err == nil {
		s.Error("append succeeded under a context that was done")
	} else if !errors.Is(err, context.Canceled) && !errors.Is(err, ledger.ErrUnknown) {
		s.Errorf("append: error is %v, want the context's", err)
	}
	for name, records := range map[string]func(context.Context) error{
		"read":   func(ctx context.Context) error { return lastError(s.log.Read(ctx, 1, s.head())) },
		"follow": func(ctx context.Context) error { return lastError(s.log.Follow(ctx, 1)) },
	} {
		if err := records(done); !errors.Is(err, context.Canceled) {
			s.Errorf("%s: error is %v, want the context's", name, err)
		}
	}
	live, stop := context.WithCancel(s.Context())
	defer stop()
	var end error
	for _, err := range s.log.Follow(live, s.head()) {
		if end = err; err == nil {
			stop() // while it waits for more
		}
	}
	s.wants(end, context.Canceled)
	s.append(s.claim("slip")) // nobody knew whether it was stored; now it is, once
	CheckLedger(s, s.log)
}

func lastError(records func(func(ledger.Record, error) bool)) (last error) {
	for _, err := range records {
		last = err
	}
	return last
}

func (s *suite) closed() {
	s.fill(1)
	claim, alert := s.claim("slip"), s.alert("alert")
	waiting := make(chan error, 1)
	begun := make(chan struct{})
	go func() {
		var last error
		once := sync.OnceFunc(func() { close(begun) })
		for _, last = range s.log.Follow(context.WithoutCancel(s.Context()), 1) {
			once()
		}
		waiting <- last
	}()
	<-begun
	for range 2 {
		if err := s.log.Close(); err != nil {
			s.Fatalf("close: %v", err)
		}
	}
	s.wants(<-waiting, ledger.ErrClosed)
	_, err := s.log.Append(s.Context(), claim)
	s.wants(err, ledger.ErrClosed)
	_, err = s.log.Decide(s.Context(), 0, alert)
	s.wants(err, ledger.ErrClosed)
	s.wants(lastError(s.log.Read(s.Context(), 1, 1)), ledger.ErrClosed)
	s.wants(lastError(s.log.Follow(s.Context(), 1)), ledger.ErrClosed)
	_, err = s.log.Head(s.Context())
	s.wants(err, ledger.ErrClosed)
}

func (s *suite) reopen() {
	if s.log.Reopen == nil {
		s.Skip("this log has no store")
	}
	id := s.log.ID()
	s.fill(40)
	fact := s.append(s.claim("slip"))
	decision := s.must(s.log.Decide(s.Context(), fact.Seq, s.alert("alert")))
	s.clock.Advance(-time.Hour)
	s.log.Log = s.log.Reopen(s.T)
	if s.log.ID() != id {
		s.Fatalf("ledger %s came back as %s", id, s.log.ID())
	}
	if head := s.head(); head != decision.Seq {
		s.Fatalf("head is %d, want %d", head, decision.Seq)
	}
	if again := s.append(s.claim("slip")); again.Seq != fact.Seq || !again.Duplicate || !again.Time.Equal(fact.Time) {
		s.Errorf("receipt is %+v, want %+v as a duplicate", again, fact)
	}
	_, err := s.log.Decide(s.Context(), fact.Seq, s.alert("late"))
	s.wants(err, ledger.ErrConflict)
	next := s.must(s.log.Decide(s.Context(), decision.Seq, s.alert("late")))
	// A log may record that it started again, but not in the batch.
	if next.Seq <= decision.Seq || next.Incarnation < decision.Incarnation || next.Time.Before(decision.Time) {
		s.Errorf("receipt is %+v after %+v", next, decision)
	}
	CheckLedger(s, s.log)
}

func idOf(r ledger.Record) ledger.ID {
	id, _ := ledger.ParseID(r.Header.Get(ledger.HeaderID))
	return id
}

// draftOf returns the draft that says the same as r, with another salt and
// another time.
func draftOf(tb testing.TB, r ledger.Record, slip string, sent time.Time) ledger.Draft {
	tb.Helper()
	stored := clone(r)
	stored.Header[ledger.HeaderTime] = []string{sent.Format(ledger.TimeFormat)}
	e, err := ledger.Decode(stored)
	if err != nil {
		tb.Fatalf("read %s: %v", r.Subject, err)
	}
	return ledger.Draft{Author: e.Author, Subject: e.Subject, DocumentKey: slip, Body: e.Content, Salt: [16]byte{1}, Sent: sent}
}
