package intake

import (
	"context"
	"errors"
	"os"
	"reflect"
	"testing"
	"testing/synctest"

	"todoke/ledger"
	"todoke/producers"
)

// sentBatch returns a gateway that took a file of five rows.
func sentBatch(t *testing.T) (*Gateway, Manifest) {
	t.Helper()
	g := openGateway(t, t.TempDir())
	return g, take(t, g, file(rowOf(1), rowOf(2), rowOf(3), rowOf(4), rowOf(5)))
}

// registered returns a 登録 as it is in the ledger.
func registered(t *testing.T, r producers.Report) ledger.Event {
	t.Helper()
	log := newMemory()
	r.Kind = ledger.ImportRegistered
	if _, err := log.reporter(t, "registry:jlis").Report(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return log.event(t, 1)
}

func TestAnswer(t *testing.T) {
	g, m := sentBatch(t)
	part := ledger.Items{{First: 2, Last: 3}, {First: 5, Last: 5}}
	partRoot, err := g.rootOver(m, part)
	if err != nil {
		t.Fatal(err)
	}
	all, wrong := ledger.AllItems(5), ledger.Root{7}
	for name, c := range map[string]struct {
		said producers.Report
		want producers.Report
	}{
		"everything, by content": {
			producers.Report{Count: 5, Root: m.Root},
			producers.Report{Kind: ledger.ImportConfirmed, Items: all, Count: 5, Root: m.Root, Basis: ledger.BasisRoot}},
		"a part, by content": {
			producers.Report{Items: part, Root: partRoot},
			producers.Report{Kind: ledger.ImportConfirmed, Items: part, Count: 3, Root: partRoot, Basis: ledger.BasisRoot}},
		"everything, by number alone": {
			producers.Report{Count: 5},
			producers.Report{Kind: ledger.ImportConfirmed, Items: all, Count: 5, Basis: ledger.BasisCount}},
		"a part, by its items": {
			producers.Report{Items: part},
			producers.Report{Kind: ledger.ImportConfirmed, Items: part, Count: 3, Basis: ledger.BasisItems}},
		"other content": {
			producers.Report{Count: 5, Root: wrong},
			producers.Report{Kind: ledger.ImportDisputed, Items: all, Count: 5, Root: m.Root, Basis: ledger.BasisRoot, Reason: ReasonContent}},
		"the whole's root for a part": {
			producers.Report{Items: part, Root: m.Root},
			producers.Report{Kind: ledger.ImportDisputed, Items: part, Count: 3, Root: partRoot, Basis: ledger.BasisRoot, Reason: ReasonContent}},
		"a larger number": {
			producers.Report{Count: 6},
			producers.Report{Kind: ledger.ImportDisputed, Items: all, Count: 5, Root: m.Root, Basis: ledger.BasisRoot, Reason: ReasonCount}},
		"items beyond the batch": {
			producers.Report{Items: ledger.AllItems(6), Root: m.Root},
			producers.Report{Kind: ledger.ImportDisputed, Items: all, Count: 5, Root: m.Root, Basis: ledger.BasisRoot, Reason: ReasonNotSent}},
		"nothing but items beyond the batch": {
			producers.Report{Items: ledger.Items{{First: 7, Last: 9}}},
			producers.Report{Kind: ledger.ImportDisputed, Items: all, Count: 5, Root: m.Root, Basis: ledger.BasisRoot, Reason: ReasonNotSent}},
	} {
		t.Run(name, func(t *testing.T) {
			c.said.Batch = m.Batch
			e := registered(t, c.said)
			c.want.Batch, c.want.Flow, c.want.Slip = m.Batch, ledger.NotificationCard.Name, e.ID().String()
			for range 2 { // the same answer every time
				got, ok, err := g.Answer(e)
				if err != nil || !ok || !reflect.DeepEqual(got, c.want) {
					t.Fatalf("answer %v, %v\n%+v, want\n%+v", ok, err, got, c.want)
				}
			}
			if _, err := newMemory().reporter(t, "municipality:131229").Report(t.Context(), c.want); err != nil {
				t.Errorf("the ledger would refuse the answer: %v", err)
			}
		})
	}
}

func TestAnswerIsSilent(t *testing.T) {
	g, m := sentBatch(t)
	log := newMemory()
	for name, r := range map[string]struct {
		party  ledger.Party
		report producers.Report
	}{
		"on a 終了":                          {"relay:2", producers.Report{Kind: ledger.ImportCompleted, Batch: m.Batch, Count: 5}},
		"on its own confirmation":          {"municipality:131229", producers.Report{Kind: ledger.ImportConfirmed, Batch: m.Batch, Items: ledger.AllItems(5)}},
		"on a batch it did not send":       {"registry:jlis", producers.Report{Kind: ledger.ImportRegistered, Batch: "131229-20151005-0777", Count: 5}},
		"on a number that may mean a part": {"registry:jlis", producers.Report{Kind: ledger.ImportRegistered, Batch: m.Batch, Count: 4}},
		"on another's batch":               {"registry:jlis", producers.Report{Kind: ledger.ImportRegistered, Batch: "131211-20151005-0001", Count: 5}},
	} {
		t.Run(name, func(t *testing.T) {
			receipt, err := log.reporter(t, r.party).Report(t.Context(), r.report)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok, err := g.Answer(log.event(t, receipt.Seq)); ok || err != nil {
				t.Errorf("answer %+v, %v", got, err)
			}
		})
	}
}

// TestAnswerAccusesNobodyFromADamagedMemory changes one bit of the stored
// commitments, which makes a right 登録 look wrong.
func TestAnswerAccusesNobodyFromADamagedMemory(t *testing.T) {
	g, m := sentBatch(t)
	path := g.folder.path(m.Batch, commitmentsFile)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[70] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, said := range map[string]producers.Report{
		"about the damaged item": {Items: ledger.AllItems(3), Root: ledger.Root{1}},
		"about the whole":        {Count: 5, Root: m.Root},
		"about others":           {Items: ledger.AllItems(1), Root: ledger.Root{1}},
	} {
		t.Run(name, func(t *testing.T) {
			said.Batch = m.Batch
			if got, ok, err := g.Answer(registered(t, said)); ok || !errors.Is(err, ErrDamaged) {
				t.Errorf("answer %+v, %v; want ErrDamaged", got, err)
			}
		})
	}
}

// running starts Run in a bubble and returns what stops it and gives its error.
func running(t *testing.T, g *Gateway, log *memory) (stop func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	reporter := log.reporter(t, "municipality:131229")
	go func() { done <- g.Run(ctx, log, reporter) }()
	return func() error {
		synctest.Wait()
		cancel()
		return <-done
	}
}

func TestRun(t *testing.T) {
	count := func(log *memory, k ledger.Kind) (n int) {
		for seq := range log.records {
			if log.event(t, ledger.Seq(seq+1)).Kind() == k {
				n++
			}
		}
		return n
	}
	say := func(t *testing.T, log *memory, r producers.Report) {
		t.Helper()
		r.Kind = ledger.ImportRegistered
		if _, err := log.reporter(t, "registry:jlis").Report(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}

	t.Run("answers what is said, and in a second run nothing again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g, m := sentBatch(t)
			log := newMemory()
			say(t, log, producers.Report{Batch: m.Batch, Count: 5, Root: m.Root}) // before Run
			stop := running(t, g, log)
			synctest.Wait()
			say(t, log, producers.Report{Batch: m.Batch, Count: 5, Root: ledger.Root{9}}) // while it runs
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			say(t, log, producers.Report{Batch: m.Batch, Count: 6}) // after it
			before := log.appends
			if err := running(t, g, log)(); err != nil {
				t.Fatal(err)
			}
			if log.appends != before+1 {
				t.Errorf("the second run sent %d answers, want 1", log.appends-before)
			}
			if c, d := count(log, ledger.ImportConfirmed), count(log, ledger.ImportDisputed); c != 1 || d != 2 {
				t.Errorf("%d confirmed and %d disputed, want 1 and 2", c, d)
			}
		})
	})
	t.Run("passes over what it cannot decode", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g, m := sentBatch(t)
			log := newMemory()
			log.records = append(log.records, ledger.Record{Seq: 1, Subject: "noise", Body: []byte{0xC1}})
			say(t, log, producers.Report{Batch: m.Batch, Count: 5})
			stop := running(t, g, log)
			if err := stop(); err != nil || len(log.records) != 3 {
				t.Errorf("%d events, %v; want 3", len(log.records), err)
			}
		})
	})
	t.Run("stops with an error when its memory is damaged", func(t *testing.T) {
		g, m := sentBatch(t)
		log := newMemory()
		say(t, log, producers.Report{Batch: m.Batch, Count: 5})
		if err := os.Truncate(g.folder.path(m.Batch, commitmentsFile), 64); err != nil {
			t.Fatal(err)
		}
		err := g.Run(t.Context(), log, log.reporter(t, "municipality:131229"))
		if !errors.Is(err, ErrDamaged) || len(log.records) != 1 {
			t.Errorf("error %v, %d events", err, len(log.records))
		}
	})
	t.Run("speaks for its own municipality alone", func(t *testing.T) {
		g, _ := sentBatch(t)
		log := newMemory()
		if err := g.Run(t.Context(), log, log.reporter(t, "municipality:131211")); err == nil {
			t.Error("no error")
		}
	})
}
