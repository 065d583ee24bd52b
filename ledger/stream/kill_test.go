package stream_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"todoke/ledger"
	"todoke/ledger/stream"
	"todoke/testenv"
)

// childFolder names the variable that makes the test binary a child: it opens
// the ledger in that folder and appends until it is killed.
const childFolder = "TODOKE_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childFolder); dir != "" {
		err := appendForEver(dir)
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// appendForEver prints a line for each receipt, after it has it.
func appendForEver(dir string) error {
	tb := new(failing)
	cfg := config(tb, dir)
	cfg.Now = time.Now
	l, err := stream.Open(context.Background(), cfg)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		record := testenv.Claim(tb, l.ID(), fmt.Sprintf("131229-20151005-%04d", 1+i%10), rand.Text(), items)
		receipt, err := l.Append(context.Background(), record)
		if err != nil {
			return err
		}
		fmt.Printf("%d %s\n", receipt.Seq, receipt.ID)
	}
}

// failing stands in for a test in the child.
type failing struct{ testing.TB }

func (*failing) Helper()                           {}
func (*failing) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// TestKill kills a process that appends as fast as it can, over and over on the
// same folder, and looks for every receipt that it had printed.
func TestKill(t *testing.T) {
	const rounds = 5
	random := mathrand.New(mathrand.NewPCG(1, 2))
	dir := t.TempDir()
	receipts := make(map[string]ledger.Seq)
	for round := range rounds {
		kill(t, dir, 1+random.IntN(300), time.Duration(random.IntN(1000))*time.Microsecond, receipts)
		l := open(t, config(t, dir))
		testenv.CheckLedger(t, l)
		last := find(t, l, receipts)
		if end := head(t, l); end > last+1 {
			t.Errorf("round %d: the last receipt was for %d, the ledger ends at %d", round, last, end)
		}
		closeLedger(t, l)
	}
}

// kill runs a child until it has printed so many receipts, and a little longer,
// and adds them to receipts by event id.
func kill(t *testing.T, dir string, after int, longer time.Duration, receipts map[string]ledger.Seq) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childFolder+"="+dir)
	complaints := new(strings.Builder)
	child.Stderr = complaints
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	n := 0
	for lines := bufio.NewScanner(out); lines.Scan(); n++ {
		if n == after {
			time.AfterFunc(longer, func() { child.Process.Kill() })
		}
		// The last line may be half a line.
		number, id, _ := strings.Cut(lines.Text(), " ")
		seq, err := strconv.ParseUint(number, 10, 64)
		if _, bad := ledger.ParseID(id); err == nil && bad == nil {
			receipts[id] = ledger.Seq(seq)
		}
	}
	err = child.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Exited() || n < after {
		t.Fatalf("child ended by itself after %d receipts: %v: %s", n, err, complaints)
	}
}

// find fails the test unless every receipt is there, and returns the last of
// their sequences.
func find(t *testing.T, l *stream.Ledger, receipts map[string]ledger.Seq) (last ledger.Seq) {
	t.Helper()
	stored := make(map[string]ledger.Seq)
	for r, err := range l.Read(t.Context(), 1, head(t, l)) {
		if err != nil {
			t.Fatal(err)
		}
		stored[r.Header.Get(ledger.HeaderID)] = r.Seq
	}
	for id, seq := range receipts {
		if stored[id] != seq {
			t.Errorf("event %s had a receipt for %d and is at %d", id, seq, stored[id])
		}
		last = max(last, seq)
	}
	return last
}
