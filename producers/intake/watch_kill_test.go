package intake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"todoke/testenv/fault"
)

// childWatch names the variable that makes the test binary a child: a number of
// files and a folder. It watches the folder until so many files were dealt with,
// and delivers what it keeps to a ledger that dies with it.
const childWatch = "TODOKE_TEST_WATCH"

func TestMain(m *testing.M) {
	var files int
	var dir string
	if n, _ := fmt.Sscanf(os.Getenv(childWatch), "%d %s", &files, &dir); n == 2 {
		watchOn(dir, files)
		return
	}
	os.Exit(m.Run())
}

// watchOn prints where each file was moved to.
func watchOn(dir string, files int) {
	tb := &failing{ctx: context.Background()}
	d := openDesk(tb, dir, 0)
	for done := 0; done < files; {
		for _, n := range d.look() {
			if n.Err != nil {
				fmt.Println("stays:", n.Report.File, n.Err)
			} else {
				fmt.Println(n.Moved)
				done++
			}
		}
		d.clock.Advance(time.Minute)
		if _, _, err := d.outbox.Pass(tb.ctx, d.log); err != nil {
			tb.Fatal(err)
		}
		if len(d.tree()) == 2*files {
			break // an earlier run had dealt with some
		}
	}
	d.close()
}

func exists(name string) bool { _, err := os.Lstat(name); return err == nil }

// failing stands in for a test in the child.
type failing struct {
	testing.TB
	ctx context.Context
}

func (f *failing) Helper()                   {}
func (f *failing) Cleanup(func())            {}
func (f *failing) Context() context.Context  { return f.ctx }
func (f *failing) Fatal(args ...any)         { panic(fmt.Sprint(args...)) }
func (f *failing) Fatalf(s string, a ...any) { panic(fmt.Sprintf(s, a...)) }
func (f *failing) Error(args ...any)         { panic(fmt.Sprint(args...)) }
func (f *failing) Errorf(s string, a ...any) { panic(fmt.Sprintf(s, a...)) }

// prepare makes a folder with a gateway and files, of which the first is good,
// the second the same again, and the last is not. It returns how to copy it.
func prepare(t *testing.T) (another func() (dir string)) {
	t.Helper()
	d := openDesk(t, t.TempDir(), 0)
	d.write("good.csv", file(rowOf(1), rowOf(2)))
	d.write("good.csv.done", "")
	d.write("same.csv", file(rowOf(1), rowOf(2)))
	d.write("worse.csv", file(rowOf(3), "END,2"))
	d.close()
	return func() string {
		dir := realFolder(t)
		d.must(nil, os.CopyFS(dir, os.DirFS(d.dir)))
		d.must(nil, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Chmod(path, 0o700))
		}))
		return dir
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

var dealtWith = []string{"done/good.csv", "done/good.csv.report.json", "done/same.csv", "done/same.csv.report.json",
	"refused/worse.csv", "refused/worse.csv.report.json"}

// finish goes on where a child was killed: afterwards each file lies where it
// belongs, with its report and unchanged, and the ledger has one event.
func finish(t *testing.T, dir string) {
	t.Helper()
	d := openDesk(t, dir, 0)
	defer d.close()
	for _, name := range []string{"done/good.csv", "done/same.csv"} {
		if exists(filepath.Join(d.in, name)) && d.outbox.Counts().KeptHere+d.outbox.Counts().InLedger != 1 {
			t.Errorf("%s is there, and its event is not kept", name)
		}
	}
	d.look()
	d.expectTree(dealtWith...)
	d.expectKept(1)
	for name, want := range map[string]string{"done/good.csv": file(rowOf(1), rowOf(2)), "refused/worse.csv": file(rowOf(3), "END,2")} {
		if text, err := os.ReadFile(filepath.Join(d.in, name)); string(text) != want {
			t.Errorf("%s is changed: %v", name, err)
		}
	}
	first, second := d.report("done/good.csv.report.json"), d.report("done/same.csv.report.json")
	if first.Batch == "" || first.Batch != second.Batch || first.Event != second.Event {
		t.Errorf("the reports are\n%+v and\n%+v", first, second)
	}
	d.redeliver(1)
}

// redeliver takes what the outbox has to a ledger that has nothing yet: the one
// that the child had is gone.
func (d *desk) redeliver(want int) {
	d.Helper()
	for e, err := range d.outbox.Entries() {
		if err != nil {
			d.Fatal(err)
		}
		if _, err := d.log.Append(d.Context(), e.Record); err != nil {
			d.Error(err)
		}
	}
	d.deliver(want)
}

func childOn(t *testing.T, dir string) string { return fmt.Sprintf("%s=3 %s", childWatch, dir) }

// TestKillBeforeEveryCallOfAWatcher kills a gateway before each call that
// changes the disk.
func TestKillBeforeEveryCallOfAWatcher(t *testing.T) {
	t.Parallel()
	calls, done, another := 0, false, prepare(t)
	for n := 1; !done; n++ {
		dir := another()
		child := fault.StartTraced(t, fault.Self(t, childOn(t, dir)), fault.Tampering{Under: dir, Nth: n})
		done = child.Wait() == nil
		calls = len(child.Calls())
		finish(t, dir)
		if t.Failed() {
			t.Fatalf("killed before call %d: %v\n%s", n, child.Calls(), child.Said())
		}
	}
	t.Logf("%d calls", calls)
}

// TestEveryCallOfAWatcherFailsOnce lets each call answer with an error instead:
// the gateway goes on by itself, or ends and goes on when it is started again.
func TestEveryCallOfAWatcherFailsOnce(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it is the long one")
	}
	another := prepare(t)
	for n, done := 1, false; !done; n++ {
		dir := another()
		child := fault.StartTraced(t, fault.Self(t, childOn(t, dir)), fault.Tampering{Under: dir, Nth: n, Error: syscall.EIO})
		_ = child.Wait()
		done = len(child.Calls()) < n
		finish(t, dir)
		if t.Failed() {
			t.Fatalf("with a failure of call %d: %v\n%s", n, child.Calls(), child.Said())
		}
	}
}

// TestKill9OfAWatcher kills a gateway at random moments, over and over on the
// same folder, while files arrive.
func TestKill9OfAWatcher(t *testing.T) {
	const rounds, files = 10, 4
	random := rand.New(rand.NewPCG(1, 2))
	dir := realFolder(t)
	in := filepath.Join(dir, "in")
	openDesk(t, dir, 0).close()
	content := make(map[string]bool)
	for round := range rounds {
		for i := range files {
			text := file(rowOf(1 + round*files + i))
			content[text] = true
			if err := os.WriteFile(filepath.Join(in, fmt.Sprintf("%d.csv", i)), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		child := fault.Start(t, fault.Self(t, fmt.Sprintf("%s=%d %s", childWatch, 1<<30, dir)))
		for range 1 + random.IntN(files-1) {
			child.Line()
		}
		time.Sleep(time.Duration(random.IntN(3000)) * time.Microsecond) // into the middle of the next
		child.Kill9()
		d := openDesk(t, dir, 0)
		d.look()
		d.close()
	}
	d := openDesk(t, dir, 0)
	d.expectKept(len(content))
	var found [][]byte
	err := filepath.WalkDir(in, func(path string, e fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".csv") {
			text, readErr := os.ReadFile(path)
			found, err = append(found, text), readErr
			if !exists(path+reportSuffix) || filepath.Dir(path) != filepath.Join(in, doneDir) {
				t.Errorf("%s has no report, or was not moved", path)
			}
		}
		return err
	})
	slices.SortFunc(found, bytes.Compare)
	if twice := len(found) - len(slices.CompactFunc(found, bytes.Equal)); err != nil || len(content) != len(found) || twice != 0 {
		t.Errorf("%d files are there, %d of them twice, want %d (%v)", len(found), twice, len(content), err)
	}
	d.redeliver(len(content))
}
