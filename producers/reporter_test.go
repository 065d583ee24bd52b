package producers

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nkeys"

	"todoke/ledger"
)

const batch = "131229-20151005-0042"

// scripted is a log that answers as it is told, in the order of the script,
// and then stores. It keeps what it was sent.
type scripted struct {
	mu     sync.Mutex
	script []error
	stored map[string]ledger.Receipt
	sent   []ledger.Record
}

func (s *scripted) ID() ledger.LedgerID { return ledger.LedgerID{1} }

func (s *scripted) Append(ctx context.Context, r ledger.Record) (ledger.Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, r)
	if len(s.script) > 0 {
		err := s.script[0]
		s.script = s.script[1:]
		if errors.Is(err, errStored) {
			s.store(r)
			return ledger.Receipt{}, ledger.ErrUnknown
		}
		return ledger.Receipt{}, err
	}
	return s.store(r), nil
}

func (s *scripted) store(r ledger.Record) ledger.Receipt {
	id := r.Header.Get(ledger.HeaderID)
	receipt, there := s.stored[id]
	if receipt.Duplicate = there; !there {
		receipt = ledger.Receipt{Ledger: s.ID(), Seq: ledger.Seq(len(s.stored) + 1)}
		s.stored[id] = receipt
	}
	return receipt
}

// errStored stands in a script for an attempt that was written but answered
// with an unknown outcome.
var errStored = errors.New("stored, but the answer was lost")

func newReporter(t *testing.T, party ledger.Party, script ...error) (*Reporter, *scripted) {
	t.Helper()
	log := &scripted{script: script, stored: map[string]ledger.Receipt{}}
	random := rand.NewChaCha8([32]byte{7})
	key, err := nkeys.CreatePairWithRand(nkeys.PrefixByteUser, random)
	if err != nil {
		t.Fatal(err)
	}
	r, err := New(Config{Log: log, Party: party, Key: key, Rand: random, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return r, log
}

// content returns the body of the last record that was sent.
func (s *scripted) content(t *testing.T) ledger.Body {
	t.Helper()
	r := s.sent[len(s.sent)-1]
	e, err := ledger.Admit(s.ID(), r)
	if err != nil {
		t.Fatal(err)
	}
	return e.Content
}

func TestReportFillsIn(t *testing.T) {
	root := ledger.Root{9}
	some := ledger.Items{{First: 2, Last: 4}, {First: 9, Last: 9}}
	for name, c := range map[string]struct {
		party ledger.Party
		give  Report
		want  ledger.Body
	}{
		"a claim with a count": {"relay:2",
			Report{Kind: ledger.ImportCompleted, Count: 5},
			ledger.Body{Items: ledger.AllItems(5), Count: 5}},
		"a claim with items": {"relay:2",
			Report{Kind: ledger.ImportCompleted, Items: some},
			ledger.Body{Items: some, Count: 4}},
		"an acknowledgement with a root": {"registry:jlis",
			Report{Kind: ledger.ImportRegistered, Count: 5, Root: root},
			ledger.Body{Items: ledger.AllItems(5), Count: 5, Root: root, Basis: ledger.BasisRoot}},
		"an acknowledgement with items and a root": {"registry:jlis",
			Report{Kind: ledger.ImportRegistered, Items: some, Root: root},
			ledger.Body{Items: some, Count: 4, Root: root, Basis: ledger.BasisRoot}},
		"an acknowledgement with items": {"registry:jlis",
			Report{Kind: ledger.ImportRegistered, Items: some},
			ledger.Body{Items: some, Count: 4, Basis: ledger.BasisItems}},
		"an acknowledgement with a count": {"printer:npb",
			Report{Kind: ledger.OrderAccepted, Count: 5},
			ledger.Body{Count: 5, Basis: ledger.BasisCount}},
		"nothing that is given": {"registry:jlis",
			Report{Kind: ledger.ImportRegistered, Items: some, Root: root, Basis: ledger.BasisCount},
			ledger.Body{Items: some, Count: 4, Root: root, Basis: ledger.BasisCount}},
	} {
		t.Run(name, func(t *testing.T) {
			p, log := newReporter(t, c.party)
			c.give.Batch = batch
			if _, err := p.Report(t.Context(), c.give); err != nil {
				t.Fatal(err)
			}
			c.want.Municipality, c.want.Aggregate, c.want.Flow = "131229", batch, "notification-card/1"
			if got := log.content(t); !reflect.DeepEqual(got, c.want) {
				t.Errorf("body\n%+v, want\n%+v", got, c.want)
			}
		})
	}
}

func TestReportRefusesBeforeSending(t *testing.T) {
	for name, c := range map[string]struct {
		give Report
		want error
	}{
		"a batch that is none":      {Report{Kind: ledger.ImportCompleted, Batch: "42", Count: 1}, ledger.ErrMalformed},
		"another municipality":      {Report{Kind: ledger.ImportCompleted, Batch: batch, Municipality: "011002", Count: 1}, ledger.ErrMismatch},
		"a kind of another role":    {Report{Kind: ledger.ImportRegistered, Batch: batch, Count: 1}, ledger.ErrScope},
		"a kind that is reserved":   {Report{Kind: ledger.ShipSent, Batch: batch, Count: 1}, ledger.ErrRefused},
		"a claim of nothing":        {Report{Kind: ledger.ImportCompleted, Batch: batch}, ledger.ErrMalformed},
		"a count beside its items":  {Report{Kind: ledger.ImportCompleted, Batch: batch, Items: ledger.AllItems(3), Count: 4}, ledger.ErrMalformed},
		"a flow that is not known":  {Report{Kind: ledger.ImportCompleted, Batch: batch, Flow: "id-card/9", Count: 1, Items: ledger.AllItems(1)}, ledger.ErrMalformed},
		"a field of another's kind": {Report{Kind: ledger.ImportCompleted, Batch: batch, Count: 1, Posting: "a-1"}, ledger.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			p, log := newReporter(t, "relay:2")
			if _, err := p.Report(t.Context(), c.give); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if len(log.sent) > 0 {
				t.Error("something was sent")
			}
		})
	}
}

func TestReportRetries(t *testing.T) {
	report := Report{Kind: ledger.ImportCompleted, Batch: batch, Count: 1}

	t.Run("sends the same record until it is stored, once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p, log := newReporter(t, "relay:2", ledger.ErrUnavailable, ledger.ErrUnknown, ledger.ErrFenced, errStored, ledger.ErrUnavailable)
			receipt, err := p.Report(t.Context(), report)
			if err != nil || receipt.Seq != 1 || !receipt.Duplicate {
				t.Fatalf("receipt %+v, %v", receipt, err)
			}
			if len(log.sent) != 6 {
				t.Fatalf("%d attempts, want 6", len(log.sent))
			}
			for _, r := range log.sent {
				if !reflect.DeepEqual(r, log.sent[0]) {
					t.Fatalf("an attempt sent\n%v, the first\n%v", r, log.sent[0])
				}
			}
		})
	})
	t.Run("waits longer and longer, never above the bound", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			script := make([]error, 40)
			for i := range script {
				script[i] = ledger.ErrUnavailable
			}
			p, log := newReporter(t, "relay:2", script...)
			begin := time.Now()
			if _, err := p.Report(t.Context(), report); err != nil {
				t.Fatal(err)
			}
			mean := time.Since(begin) / time.Duration(len(log.sent)-1)
			if mean < longestWait/4 || mean > longestWait*3/4 {
				t.Errorf("mean wait %v, want about half of %v", mean, longestWait)
			}
		})
	})
	t.Run("returns a refusal at once", func(t *testing.T) {
		p, log := newReporter(t, "relay:2", ledger.ErrFull)
		if _, err := p.Report(t.Context(), report); !errors.Is(err, ledger.ErrFull) || len(log.sent) != 1 {
			t.Errorf("error %v after %d attempts", err, len(log.sent))
		}
	})
}

// TestReportGivesUpHonestly checks what is said when there is no answer: an
// attempt of which nobody knows is not forgotten behind later ones.
func TestReportGivesUpHonestly(t *testing.T) {
	report := Report{Kind: ledger.ImportCompleted, Batch: batch, Count: 1}
	for name, c := range map[string]struct {
		script []error
		want   error
		not    error
	}{
		"never written":                 {[]error{ledger.ErrUnavailable}, ledger.ErrUnavailable, ledger.ErrUnknown},
		"perhaps written":               {[]error{ledger.ErrUnknown, ledger.ErrUnavailable}, ledger.ErrUnknown, ledger.ErrUnavailable},
		"closed":                        {[]error{ledger.ErrClosed}, ledger.ErrClosed, ledger.ErrUnknown},
		"closed, perhaps written":       {[]error{ledger.ErrUnknown, ledger.ErrClosed}, ledger.ErrUnknown, ledger.ErrClosed},
		"stopped within an attempt":     {[]error{context.Canceled}, context.Canceled, ledger.ErrUnavailable},
		"refused after an unknown word": {[]error{ledger.ErrUnknown, ledger.ErrIDReused}, ledger.ErrIDReused, ledger.ErrUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				script := c.script
				for range 1000 { // the last answer again and again
					script = append(script, c.script[len(c.script)-1])
				}
				p, _ := newReporter(t, "relay:2", script...)
				_, err := p.Report(ctx, report)
				if !errors.Is(err, c.want) || errors.Is(err, c.not) {
					t.Errorf("error %v, want %v and not %v", err, c.want, c.not)
				}
			})
		})
	}
}

func TestEventID(t *testing.T) {
	p, log := newReporter(t, "relay:2")
	report := Report{Kind: ledger.ImportCompleted, Batch: batch, Count: 1, Slip: "slip-7"}

	t.Run("is known before the event is sent", func(t *testing.T) {
		want, err := p.EventID(report)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Report(t.Context(), report); err != nil {
			t.Fatal(err)
		}
		if got := log.sent[0].Header.Get(ledger.HeaderID); got != want.String() {
			t.Errorf("event id %s, want %s", got, want)
		}
	})
	t.Run("is the same for the same slip", func(t *testing.T) {
		receipt, err := p.Report(t.Context(), report)
		if err != nil || !receipt.Duplicate || receipt.Seq != 1 {
			t.Errorf("receipt %+v, %v", receipt, err)
		}
	})
	t.Run("differs without a slip", func(t *testing.T) {
		report.Slip = ""
		for want := range ledger.Seq(2) {
			receipt, err := p.Report(t.Context(), report)
			if err != nil || receipt.Duplicate || receipt.Seq != want+2 {
				t.Errorf("receipt %+v, %v", receipt, err)
			}
		}
		if _, err := p.EventID(report); !errors.Is(err, ledger.ErrMalformed) {
			t.Errorf("error %v, want ErrMalformed", err)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	good, _ := newReporter(t, "relay:2")
	for name, spoil := range map[string]func(*Config){
		"no log":         func(c *Config) { c.Log = nil },
		"no key":         func(c *Config) { c.Key = nil },
		"no clock":       func(c *Config) { c.Now = nil },
		"no randomness":  func(c *Config) { c.Rand = nil },
		"no party":       func(c *Config) { c.Party = "" },
		"a party's role": func(c *Config) { c.Party = "relay" },
	} {
		t.Run(name, func(t *testing.T) {
			c := good.config
			spoil(&c)
			if _, err := New(c); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestReportNeedsRandomness(t *testing.T) {
	p, log := newReporter(t, "relay:2")
	p.config.Rand = bytes.NewReader(make([]byte, 20)) // less than salt and slip
	_, err := p.Report(t.Context(), Report{Kind: ledger.ImportCompleted, Batch: batch, Count: 1})
	if !errors.Is(err, io.ErrUnexpectedEOF) || len(log.sent) > 0 {
		t.Errorf("error %v, %d sent", err, len(log.sent))
	}
}
