package testenv_test

import (
	"errors"
	"testing"

	"todoke/ledger"
	"todoke/testenv"
)

func TestTakeOverBeginsAnIncarnation(t *testing.T) {
	log := testenv.NewLog(testenv.Config{T: t})
	say := func(slip string) (ledger.Receipt, error) {
		return log.Append(t.Context(), testenv.Claim(t, log.ID(), batch, slip, items))
	}
	if r, err := say("before"); err != nil || r.Incarnation != 1 {
		t.Fatalf("receipt %+v, %v", r, err)
	}
	log.Arm(testenv.Late, testenv.Fenced)
	if _, err := say("late"); !errors.Is(err, ledger.ErrUnknown) {
		t.Fatalf("late: %v", err)
	}
	log.TakeOver()
	if _, err := say("fenced"); !errors.Is(err, ledger.ErrFenced) {
		t.Fatalf("fenced: %v", err)
	}
	if _, err := say("fenced"); !errors.Is(err, ledger.ErrFenced) {
		t.Fatalf("fenced again: %v", err)
	}
	log.TakeOver()
	if r, err := say("after"); err != nil || r.Incarnation != 3 || r.Seq != 2 {
		t.Errorf("after: %+v, %v; what was late should never have arrived", r, err)
	}
	if r, err := say("before"); err != nil || r.Incarnation != 1 || !r.Duplicate {
		t.Errorf("said again: %+v, %v", r, err)
	}
	testenv.CheckLedger(t, log)
}

func TestDisarmedFaultsBefallNobody(t *testing.T) {
	log := testenv.NewLog(testenv.Config{T: t})
	log.Arm(testenv.NotWritten)
	log.Disarm()
	if _, err := log.Append(t.Context(), testenv.Claim(t, log.ID(), batch, "slip", items)); err != nil {
		t.Error(err)
	}
}

// TestADecisionInDoubtMayBeMadeAgain by somebody who never heard of it, once its
// batch has moved on without it.
func TestADecisionInDoubtMayBeMadeAgain(t *testing.T) {
	log := testenv.NewLog(testenv.Config{T: t})
	log.Arm(testenv.NotWritten)
	if _, err := log.Decide(t.Context(), 0, testenv.Alert(t, log.ID(), batch, "slip", items)); !errors.Is(err, ledger.ErrUnknown) {
		t.Fatal(err)
	}
	moved, err := log.Append(t.Context(), testenv.Claim(t, log.ID(), batch, "claim", items))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Decide(t.Context(), moved.Seq, testenv.Alert(t, log.ID(), batch, "slip", ledger.Items{{First: 1, Last: 2}})); err != nil {
		t.Error(err)
	}
}

// TestTwoWhoDecideForOnePartyAreNotScolded: the simulation's seed 2447 had two
// watchdogs of which each was left in doubt about the same alert with other items.
// The one that sends its old attempt again is told that the batch has moved on.
func TestTwoWhoDecideForOnePartyAreNotScolded(t *testing.T) {
	log := testenv.NewLog(testenv.Config{T: t})
	one := testenv.Alert(t, log.ID(), batch, "slip", items)
	two := testenv.Alert(t, log.ID(), batch, "slip", ledger.Items{{First: 1, Last: 2}})
	log.Arm(testenv.NotWritten)
	if _, err := log.Decide(t.Context(), 0, one); !errors.Is(err, ledger.ErrUnknown) {
		t.Fatal(err)
	}
	moved, err := log.Append(t.Context(), testenv.Claim(t, log.ID(), batch, "claim", items))
	if err != nil {
		t.Fatal(err)
	}
	log.Arm(testenv.NotWritten)
	if _, err := log.Decide(t.Context(), moved.Seq, two); !errors.Is(err, ledger.ErrUnknown) {
		t.Fatal(err)
	}
	if _, err := log.Decide(t.Context(), 0, one); !errors.Is(err, ledger.ErrConflict) {
		t.Errorf("the first again: %v", err)
	}
}
