package rig

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"todoke/ledger"
)

var update = flag.Bool("update", false, "write golden files anew; bytes of released events are only ever added")

// TestReplayIsGolden: a history that was drawn, and what it amounts to, stay what
// they are.
func TestReplayIsGolden(t *testing.T) {
	const name = "testdata/replay-1.golden"
	ctx := context.Background()
	var have string
	for seed := range uint64(4) {
		s := newSaga(t, ledger.LedgerID{1}, seed, 1000)
		content := contentOf(ctx, t, s.remember(ctx, t, rand.New(rand.NewPCG(seed, 1))))
		have += fmt.Sprintf("seed %d\nevents  %x\ncontent %x\n", seed, s.digest(), sha256.Sum256([]byte(content)))
	}
	if *update {
		if err := os.WriteFile(name, []byte(have), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if have != string(want) {
		t.Errorf("it is\n%s\nand was\n%s", have, want)
	}
}
