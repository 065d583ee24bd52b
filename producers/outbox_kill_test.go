package producers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"syscall"
	"testing"
	"time"

	"todoke/ledger"
	"todoke/testenv/fault"
)

// childOutbox names the variable that makes the test binary a child: a number of
// events and a folder. It keeps so many events there, 0 for no end, and delivers
// them to a ledger that dies with it.
const childOutbox = "TODOKE_TEST_OUTBOX"

func TestMain(m *testing.M) {
	var events int
	var dir string
	if n, _ := fmt.Sscanf(os.Getenv(childOutbox), "%d %s", &events, &dir); n == 2 {
		if err := keepOn(dir, events); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// keepOn prints the id of each event when Keep has returned.
func keepOn(dir string, events int) error {
	tb := new(failing)
	c := outboxConfig(dir)
	c.Now = time.Now
	o, err := OpenOutbox(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- o.Run(ctx, newLog(nil))
		cancel()
	}()
	for i := 0; i < events || events == 0; i++ {
		e, err := o.Keep(claimOf(tb, 1+i%10, rand.Text()))
		if err != nil {
			return err
		}
		fmt.Println(e.ID)
	}
	_, flushErr := o.Flush(ctx)
	cancel()
	_, closeErr := o.Close(ctx)
	return errors.Join(flushErr, closeErr, <-ended)
}

// failing stands in for a test in the child.
type failing struct{ testing.TB }

func (*failing) Helper()                           {}
func (*failing) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func childIn(t *testing.T, dir string, events int) (variable string) {
	t.Helper()
	return fmt.Sprintf("%s=%d %s", childOutbox, events, dir)
}

// TestKill9 kills a process that keeps events as fast as it can, over and over on
// the same file. What it had printed is there, and all of it comes into the
// ledger: every receipt that the child had was of a ledger that is gone.
func TestKill9(t *testing.T) {
	const rounds = 8
	random := mathrand.New(mathrand.NewPCG(1, 2))
	dir := t.TempDir()
	var printed []string
	for range rounds {
		child := fault.Start(t, fault.Self(t, childIn(t, dir, 0)))
		for range 1 + random.IntN(100) {
			printed = append(printed, child.Line())
		}
		time.Sleep(time.Duration(random.IntN(1000)) * time.Microsecond) // into the middle of a write
		child.Kill9()
		printed = append(printed, child.Rest()...)
		findAll(t, dir, printed, rounds)
	}
	deliverAll(t, dir)
}

// findAll opens the outbox and looks for the events of the ids, in their order,
// and at most so many others.
func findAll(t *testing.T, dir string, ids []string, others int) {
	t.Helper()
	o := openOutbox(t, outboxConfig(dir))
	defer closeOutbox(t, o)
	var there []string
	for _, e := range entriesOf(t, o) {
		if _, err := ledger.Admit(o.ID(), e.Record); err != nil {
			t.Errorf("entry %d: %v", e.number, err)
		}
		there = append(there, e.ID.String())
	}
	var found []string
	for _, id := range there {
		if slices.Contains(ids, id) {
			found = append(found, id)
		}
	}
	if !slices.Equal(found, ids) || len(there) > len(ids)+others {
		t.Errorf("%d ids were printed, %d of them are there, and %d others", len(ids), len(found), len(there)-len(found))
	}
}

// deliverAll takes back what a ledger had that is gone, and delivers everything
// to a new one.
func deliverAll(t *testing.T, dir string) {
	t.Helper()
	c := outboxConfig(dir)
	c.Sealed = func(context.Context, Entry) (Verdict, error) { return Disproved, nil }
	o, log := openOutbox(t, c), newLog(t)
	defer closeOutbox(t, o)
	if _, _, err := o.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	for remaining := 1; remaining > 0; {
		var err error
		if remaining, _, err = o.Pass(t.Context(), log); err != nil {
			t.Fatal(err)
		}
	}
	checkDelivered(t, o, log)
}

// TestKillBeforeEveryCall kills a process that makes an outbox, keeps events and
// delivers them, before each call that changes the disk.
func TestKillBeforeEveryCall(t *testing.T) {
	const events = 3
	count := fault.StartTraced(t, fault.Self(t, childIn(t, realFolder(t), events)), fault.Tampering{Calls: []string{"nothing"}})
	if err := count.Wait(); err != nil {
		t.Fatal(err)
	}
	for n, done := 1, false; !done; n++ {
		dir := realFolder(t)
		child := fault.StartTraced(t, fault.Self(t, childIn(t, dir, events)), fault.Tampering{Under: dir, Nth: n})
		done = child.Wait() == nil
		if ids := child.Rest(); len(ids) > 0 || done {
			findAll(t, dir, ids, 1)
		}
		deliverAll(t, dir)
		if t.Failed() {
			t.Fatalf("killed before call %d: %v", n, child.Calls())
		}
	}
}

func realFolder(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestEveryCallFailsOnce lets each call of a child that changes the disk fail in
// turn: what it had printed is there, and the file can be opened.
func TestEveryCallFailsOnce(t *testing.T) {
	const events = 3
	for n, done := 1, false; !done; n++ {
		dir := realFolder(t)
		child := fault.StartTraced(t, fault.Self(t, childIn(t, dir, events)), fault.Tampering{Under: dir, Nth: n, Error: syscall.EIO})
		err := child.Wait()
		done = len(child.Calls()) < n
		ids := slices.DeleteFunc(child.Rest(), func(line string) bool { _, err := ledger.ParseID(line); return err != nil })
		if len(ids) > 0 {
			findAll(t, dir, ids, 1)
		}
		deliverAll(t, dir)
		if t.Failed() {
			t.Fatalf("with a failure of call %d (%v, %s): %v", n, err, child.Said(), child.Calls())
		}
	}
}

// TestFullDisk fills the disk under an outbox: it refuses with a typed error,
// keeps what it has, and goes on by itself when there is room.
func TestFullDisk(t *testing.T) {
	disk := fault.NewDisk(t, 4<<20)
	c := outboxConfig(disk.Dir())
	o, log := openOutbox(t, c), newLog(t)
	defer closeOutbox(t, o) // before the disk goes
	var kept []Entry
	for i := range 10 {
		kept = append(kept, keep(t, o, claimOf(t, i+1, "slip")))
	}
	disk.Fill(0)
	var err error
	for i := 0; err == nil; i++ {
		var e Entry
		if e, err = o.Keep(claimOf(t, 1, fmt.Sprint("slip-", i))); err == nil {
			kept = append(kept, e)
		}
	}
	if !errors.Is(err, ledger.ErrStorageFull) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("keep: %v, want ErrStorageFull", err)
	}
	if _, _, err := o.Pass(t.Context(), log); err != nil && !errors.Is(err, ledger.ErrStorageFull) {
		t.Errorf("pass: %v", err)
	}
	var ids []ledger.ID
	for _, e := range entriesOf(t, o) {
		ids = append(ids, e.ID)
	}
	if want := idsOf(kept); !reflect.DeepEqual(ids, want) {
		t.Errorf("it holds %v, kept were %v", ids, want)
	}
	disk.Free()
	keep(t, o, claimOf(t, 1, "slip-when-there-is-room"))
	for remaining := 1; remaining > 0; {
		if remaining, _, err = o.Pass(t.Context(), log); err != nil {
			t.Fatal(err)
		}
	}
	checkDelivered(t, o, log)
	closeOutbox(t, o)
	o = openOutbox(t, c)
	defer closeOutbox(t, o)
	checkDelivered(t, o, log)
}

func idsOf(entries []Entry) (ids []ledger.ID) {
	for _, e := range entries {
		ids = append(ids, e.ID)
	}
	return ids
}
