package producers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"todoke/ledger"
	"todoke/testenv"
)

// A line to the ledger can be cut. It counts attempts.
type line struct {
	*testenv.Log

	mu       sync.Mutex
	down     error         // what every attempt is answered with; nil while it is up
	latency  time.Duration // of every attempt
	attempts []time.Time
	flying   int
	most     int // attempts at once
}

func (l *line) Append(ctx context.Context, r ledger.Record) (ledger.Receipt, error) {
	l.mu.Lock()
	l.attempts = append(l.attempts, time.Now())
	l.flying++
	l.most = max(l.most, l.flying)
	l.mu.Unlock()
	defer func() { l.mu.Lock(); l.flying--; l.mu.Unlock() }()
	if l.latency > 0 && !pause(ctx, l.latency) {
		return ledger.Receipt{}, ctx.Err()
	}
	if err := l.is(); err != nil {
		return ledger.Receipt{}, err
	}
	return l.Log.Append(ctx, r)
}

func (l *line) is() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down
}

func (l *line) set(down error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = down
}

func (l *line) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.attempts)
}

// running starts a Run and returns what ends it.
func running(t *testing.T, o *Outbox, log Appender) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- o.Run(ctx, log) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

func TestRunDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, l := openOutbox(t, outboxConfig(t.TempDir())), &line{Log: newLog(t), latency: time.Second}
		for i := range 200 {
			keep(t, o, claimOf(t, 1+i%100, fmt.Sprint("slip-", i)))
		}
		stop := running(t, o, l)
		begin := time.Now()
		if n, err := o.Flush(t.Context()); n != 0 || err != nil {
			t.Fatalf("%d remain, %v", n, err)
		}
		// 100 batches of two events, 64 batches at a time, a second for each.
		if took := time.Since(begin); took != 4*time.Second || l.most != maxInFlight {
			t.Errorf("it took %v with %d at once", took, l.most)
		}
		stop()
		checkDelivered(t, o, l.Log)
	})
}

func TestRunIsWokenByKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, l := openOutbox(t, outboxConfig(t.TempDir())), &line{Log: newLog(t)}
		stop := running(t, o, l)
		for i := range 3 {
			time.Sleep(time.Hour)
			begin := time.Now()
			if receipt, err := o.Append(t.Context(), claimOf(t, 1, fmt.Sprint("slip-", i))); err != nil || receipt.Seq != ledger.Seq(i+1) {
				t.Fatalf("receipt %+v, %v", receipt, err)
			}
			if waited := time.Since(begin); waited != 0 {
				t.Errorf("it waited %v", waited)
			}
		}
		stop()
		checkDelivered(t, o, l.Log)
	})
}

func TestRunOutlastsALedgerThatIsAway(t *testing.T) {
	for name, down := range map[string]error{
		"unavailable":  ledger.ErrUnavailable,
		"unknown":      ledger.ErrUnknown,
		"fenced":       ledger.ErrFenced,
		"storage full": ledger.ErrStorageFull,
		"clock":        ledger.ErrClock,
		"timing out":   context.DeadlineExceeded,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, l := openOutbox(t, outboxConfig(t.TempDir())), &line{Log: newLog(t), down: down}
				stop := running(t, o, l)
				for i := range 50 {
					keep(t, o, claimOf(t, 1+i, "slip"))
				}
				const long = 6 * time.Hour
				time.Sleep(long)
				synctest.Wait()
				// Full jitter waits half of the bound on average.
				if mean := long / time.Duration(l.count()); mean < longestWait/4 || mean > longestWait*3/4 {
					t.Errorf("an attempt every %v, want about half of %v", mean, longestWait)
				}
				if n := o.Counts().KeptHere; n != 50 {
					t.Errorf("%d are kept here", n)
				}
				l.set(nil)
				begin := time.Now()
				if n, err := o.Flush(t.Context()); n != 0 || err != nil || time.Since(begin) > longestWait {
					t.Errorf("%d remain after %v, %v", n, time.Since(begin), err)
				}
				stop()
				checkDelivered(t, o, l.Log)
			})
		})
	}
}

// TestRunSendsTheRestPastABatchThatGetsNoAnswer has one event of which nobody
// ever knows.
func TestRunSendsTheRestPastABatchThatGetsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, log := openOutbox(t, outboxConfig(t.TempDir())), newLog(t)
		poisoned := keep(t, o, claimOf(t, 1, "slip"))
		for i := range 200 {
			keep(t, o, claimOf(t, 1+i%20, fmt.Sprint("slip-", i)))
		}
		h := &hostile{Log: log, refuse: map[string]error{poisoned.ID.String(): ledger.ErrUnknown}}
		stop := running(t, o, &locked{log: h})
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := o.Counts().KeptHere; n != 11 { // the batch that it belongs to
			t.Errorf("%d are kept here", n)
		}
		stop()
		checkDelivered(t, o, log)
	})
}

// locked makes one attempt after the other.
type locked struct {
	mu  sync.Mutex
	log Appender
}

func (l *locked) ID() ledger.LedgerID { return l.log.ID() }

func (l *locked) Append(ctx context.Context, r ledger.Record) (ledger.Receipt, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.log.Append(ctx, r)
}

func TestRunThatIsStoppedLeavesTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := outboxConfig(t.TempDir())
		o, l := openOutbox(t, c), &line{Log: newLog(t), latency: time.Minute}
		for i := range 100 {
			keep(t, o, claimOf(t, 1+i, "slip"))
		}
		stop := running(t, o, l)
		time.Sleep(90 * time.Second) // the second half is on its way
		stop()
		if got := o.Counts(); got.InLedger != maxInFlight {
			t.Errorf("counts %+v", got)
		}
		closeOutbox(t, o)
		o = openOutbox(t, c)
		defer running(t, o, l)()
		if n, err := o.Close(t.Context()); n != 0 || err != nil {
			t.Errorf("%d remain, %v", n, err)
		}
		checkDelivered(t, openOutbox(t, c), l.Log)
	})
}

// TestRunEndsWellWhenAnswersMeetTheClose closes the outbox while attempts answer.
// Which of the two Run sees first is up to chance, hence the rounds.
func TestRunEndsWellWhenAnswersMeetTheClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 50 {
			o := openOutbox(t, outboxConfig(t.TempDir()))
			for i := range 16 {
				keep(t, o, claimOf(t, 1+i, "slip"))
			}
			l := &closing{line: line{Log: newLog(t)}, at: 8, close: func() { closeOutbox(t, o) }}
			stop := running(t, o, l)
			synctest.Wait() // for what becomes of it before anybody stops it
			stop()
		}
	})
}

// closing closes something during an attempt.
type closing struct {
	line
	at    int // which one
	close func()
}

func (c *closing) Append(ctx context.Context, r ledger.Record) (ledger.Receipt, error) {
	receipt, err := c.line.Append(ctx, r)
	if c.count() == c.at {
		c.close()
	}
	return receipt, err
}

func TestAppendWaitsForTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, l := openOutbox(t, outboxConfig(t.TempDir())), &line{Log: newLog(t), down: ledger.ErrUnavailable}
		stop := running(t, o, l)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r := claimOf(t, 1, "slip")
		if _, err := o.Append(ctx, r); !errors.Is(err, ErrKeptHere) || !errors.Is(err, ledger.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while the ledger is away: %v", err)
		}
		l.set(nil)
		first, err := o.Append(t.Context(), r)
		if err != nil || first.Seq != 1 || first.Duplicate {
			t.Errorf("when it is back: %+v, %v", first, err)
		}
		again, err := o.Append(t.Context(), again(t, 1, "slip"))
		if first.Duplicate = true; err != nil || again != first {
			t.Errorf("once more: %+v, %v, want %+v", again, err, first)
		}
		stop()
		checkDelivered(t, o, l.Log)
	})
}

func TestAppendEndsWithTheOutbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := openOutbox(t, outboxConfig(t.TempDir()))
		go func() {
			time.Sleep(time.Hour)
			closeOutbox(t, o)
		}()
		if _, err := o.Append(t.Context(), claimOf(t, 1, "slip")); !errors.Is(err, ErrKeptHere) || !errors.Is(err, ledger.ErrUnknown) {
			t.Errorf("error %v, want ErrKeptHere, which is an ErrUnknown: it will be sent after the next start", err)
		}
	})
}

func TestFlushAndCloseSayWhatRemains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, l := openOutbox(t, outboxConfig(t.TempDir())), &line{Log: newLog(t), down: ledger.ErrUnavailable}
		defer running(t, o, l)()
		for i := range 3 {
			keep(t, o, claimOf(t, 1, fmt.Sprint("slip-", i)))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if n, err := o.Flush(ctx); n != 3 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("flush: %d, %v", n, err)
		}
		if n, err := o.Close(ctx); n != 3 || err != nil {
			t.Errorf("close: %d, %v", n, err)
		}
	})
}

// TestReporterOverAnOutbox reports through an outbox while the ledger is away.
func TestReporterOverAnOutbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, l := openOutbox(t, outboxConfig(t.TempDir())), &line{Log: newLog(t), down: ledger.ErrUnavailable}
		stop := running(t, o, l)
		p, err := New(Config{Log: o, Party: ward, Key: testenv.Key(t, string(ward)), Now: time.Now, Rand: rand.NewChaCha8([32]byte{7})})
		if err != nil {
			t.Fatal(err)
		}
		report := Report{Kind: ledger.UploadCompleted, Batch: batch, Count: 5, Root: ledger.Root{9}, Slip: "slip",
			Document: ledger.Document{Kind: "file", Digest: [32]byte{1}}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := p.Report(ctx, report); !errors.Is(err, ErrKeptHere) || !errors.Is(err, ledger.ErrUnknown) {
			t.Errorf("while it is away: %v", err)
		}
		l.set(nil)
		if receipt, err := p.Report(t.Context(), report); err != nil || receipt.Seq != 1 {
			t.Errorf("when it is back: %+v, %v", receipt, err)
		}
		report.Slip = "another"
		r, err := p.Record(report)
		if err != nil {
			t.Fatal(err)
		}
		if e := keep(t, o, r); e.State != KeptHere || !reflect.DeepEqual(e.Record, r) {
			t.Errorf("kept %+v of %+v", e, r)
		}
		if n, err := o.Flush(t.Context()); n != 0 || err != nil {
			t.Errorf("%d remain, %v", n, err)
		}
		stop()
		checkDelivered(t, o, l.Log)
	})
}

func TestNothingIsForgottenWithoutProof(t *testing.T) {
	o, log := openOutbox(t, outboxConfig(t.TempDir())), newLog(t)
	keep(t, o, claimOf(t, 1, "slip"))
	if _, _, err := o.Pass(t.Context(), log); err != nil {
		t.Fatal(err)
	}
	if forgotten, lost, err := o.Settle(t.Context()); forgotten+lost != 0 || err != nil {
		t.Errorf("%d forgotten, %d lost, %v", forgotten, lost, err)
	}
	checkDelivered(t, o, log)
}

func TestSettle(t *testing.T) {
	asked := errors.New("no answer")
	c := outboxConfig(t.TempDir())
	verdicts := make(map[ledger.ID]Verdict)
	var failing ledger.ID
	c.Sealed = func(_ context.Context, e Entry) (Verdict, error) {
		if e.ID == failing {
			return NotYet, asked
		}
		return verdicts[e.ID], nil
	}
	o, log := openOutbox(t, c), newLog(t)
	var entries []Entry
	for i := range 5 {
		entries = append(entries, keep(t, o, claimOf(t, 1, fmt.Sprint("slip-", i))))
	}
	for range 4 { // the last is still kept here, and nobody is asked about it
		if _, _, err := o.Pass(t.Context(), log); err != nil {
			t.Fatal(err)
		}
	}
	bytes := o.Counts().Bytes
	verdicts[entries[0].ID], verdicts[entries[2].ID], verdicts[entries[4].ID] = Proven, Disproved, Proven
	failing = entries[3].ID
	if forgotten, lost, err := o.Settle(t.Context()); forgotten != 1 || lost != 1 || !errors.Is(err, asked) {
		t.Errorf("%d forgotten, %d lost, %v", forgotten, lost, err)
	}
	check := func() {
		t.Helper()
		want := Counts{KeptHere: 2, InLedger: 2, Sealed: 1, Bytes: bytes * 4 / 5}
		if got := o.Counts(); got != want {
			t.Errorf("counts %+v, want %+v", got, want)
		}
		if _, there, err := o.Entry(entries[0].ID); there || err != nil {
			t.Errorf("what is proven is there: %v, %v", there, err)
		}
		e, _, err := o.Entry(entries[2].ID)
		if err != nil || e.State != KeptHere || e.Receipt.Seq != 0 || len(e.Earlier) != 1 || e.Earlier[0].Seq != 3 || !reflect.DeepEqual(e.Record, entries[2].Record) {
			t.Errorf("what is disproved is %+v, %v", e, err)
		}
	}
	check()
	closeOutbox(t, o)
	o = openOutbox(t, c)
	check()

	// The ledger comes back without what it had lost.
	restored := newLog(t)
	verdicts = nil
	for range 2 {
		if _, _, err := o.Pass(t.Context(), restored); err != nil {
			t.Fatal(err)
		}
	}
	e, _, err := o.Entry(entries[2].ID)
	if err != nil || e.State != InLedger || e.Receipt.Seq != 1 || len(e.Earlier) != 1 || e.Earlier[0].Seq != 3 {
		t.Errorf("sent again: %+v, %v", e, err)
	}
	if got := recordsOf(t, restored); len(got) != 2 || got[0].Header.Get(ledger.HeaderID) != entries[2].ID.String() {
		t.Errorf("the ledger holds %+v; what was lost comes before what was never sent", got)
	}
	testenv.CheckLedger(t, restored)
}

// TestSettleWhileRunning forgets beside a Run, and takes an entry back that is
// older than the one on its way.
func TestSettleWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := outboxConfig(t.TempDir())
		var mu sync.Mutex
		lost := make(map[ledger.ID]bool)
		c.Sealed = func(_ context.Context, e Entry) (Verdict, error) {
			mu.Lock()
			defer mu.Unlock()
			if lost[e.ID] && len(e.Earlier) == 0 {
				return Disproved, nil
			}
			return Proven, nil
		}
		o, l := openOutbox(t, c), &line{Log: newLog(t), latency: settleEvery / 2 * 3}
		for i := range 5 {
			e := keep(t, o, claimOf(t, 1, fmt.Sprint("slip-", i)))
			lost[e.ID] = i == 1
		}
		stop := running(t, o, l)
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := o.Counts(); got != (Counts{Sealed: 5}) {
			t.Errorf("counts %+v", got)
		}
		if l.count() != 6 {
			t.Errorf("%d attempts, want one for each and one for what was lost", l.count())
		}
		stop()
		testenv.CheckLedger(t, l.Log)
	})
}
