package intake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"todoke/ledger"
	"todoke/producers"
	"todoke/testenv"
	"todoke/testenv/fault"
)

func TestDecide(t *testing.T) {
	const interval = 2 * time.Second
	at := func(s float64) time.Time { return now.Add(time.Duration(s * float64(time.Second))) }
	half := sighting{name: "a.csv", stamp: stamp{true, 7, 5, 1}}
	whole := sighting{name: "a.csv", stamp: stamp{true, 7, 10, 2}}
	marked := sighting{"a.csv", half.stamp, true}
	folder := sighting{name: "a.csv"}
	failed := map[string]watched{"a.csv": {stamp: half.stamp, since: at(0), said: "no", pause: 4 * time.Second, again: at(6)}}
	type look struct {
		at      float64
		listing []sighting
		want    []sighting
	}
	for name, c := range map[string]struct {
		before map[string]watched
		looks  []look
	}{
		"a file is taken when it has stood still": {nil, []look{
			{0, []sighting{half}, nil}, {2, []sighting{half}, []sighting{half}},
		}},
		"not before it has for an interval": {nil, []look{
			{0, []sighting{half}, nil}, {1.9, []sighting{half}, nil}, {2.1, []sighting{half}, []sighting{half}},
		}},
		"a file that grows is waited for": {nil, []look{
			{0, []sighting{half}, nil}, {2, []sighting{whole}, nil}, {4, []sighting{whole}, []sighting{whole}},
		}},
		"a marker says that it is complete": {nil, []look{{0, []sighting{marked}, []sighting{marked}}}},
		"what is no file is told of once it has stood there": {nil, []look{
			{0, []sighting{folder}, nil}, {2, []sighting{folder}, []sighting{folder}},
		}},
		"files are taken in order of the listing": {nil, []look{
			{0, []sighting{{name: "b.csv", marked: true}, {name: "c.csv"}, {name: "d.csv", marked: true}},
				[]sighting{{name: "b.csv", marked: true}, {name: "d.csv", marked: true}}},
		}},
		"a file that was away begins anew": {nil, []look{
			{0, []sighting{half}, nil}, {2, nil, nil}, {4, []sighting{half}, nil},
		}},
		"what could not be taken is tried again after a pause": {failed, []look{
			{5, []sighting{marked}, nil}, {6, []sighting{marked}, []sighting{marked}},
		}},
		"and at once when it has changed": {failed, []look{
			{1, []sighting{whole}, nil}, {3, []sighting{whole}, []sighting{whole}},
		}},
		"a clock that was set back makes nothing wait for ever": {nil, []look{
			{1000, []sighting{half}, nil}, {0, []sighting{half}, nil}, {2, []sighting{half}, []sighting{half}},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			known := c.before
			for i, l := range c.looks {
				var ready []sighting
				ready, known = decide(known, l.listing, at(l.at), interval)
				if !reflect.DeepEqual(ready, l.want) || len(known) != len(l.listing) {
					t.Fatalf("look %d: ready are %v, want %v; %d are remembered", i+1, ready, l.want, len(known))
				}
			}
		})
	}
}

// A desk is a watched folder with everything behind it.
type desk struct {
	testing.TB
	dir     string // of all
	in      string // the watched folder
	clock   *testenv.Clock
	gateway *Gateway
	outbox  *producers.Outbox
	log     *testenv.Log
	watcher *Watcher
	notices []Notice
}

// openDesk opens what is in dir.
func openDesk(t testing.TB, dir string, maxBytes int64) *desk {
	t.Helper()
	d := &desk{TB: t, dir: dir, in: filepath.Join(dir, "in"), clock: testenv.NewClock()}
	if err := os.MkdirAll(d.in, 0o700); err != nil {
		t.Fatal(err)
	}
	c := testConfig(filepath.Join(dir, "gateway"))
	c.Rand = rand.NewChaCha8([32]byte{byte(time.Now().UnixNano())}) // file keys and batch keys of several runs differ
	d.gateway = d.must(Open(c)).(*Gateway)
	d.log = testenv.NewLog(testenv.Config{T: t, ID: ledger.LedgerID{1}})
	d.outbox = d.must(producers.OpenOutbox(producers.OutboxConfig{File: filepath.Join(c.Dir, "outbox.db"), Party: d.gateway.Party(),
		Ledger: d.log.ID(), MaxBytes: maxBytes, Now: d.clock.Now, Rand: c.Rand})).(*producers.Outbox)
	reporter := d.must(producers.New(producers.Config{Log: d.outbox, Party: d.gateway.Party(),
		Key: testenv.Key(t, string(d.gateway.Party())), Now: d.clock.Now, Rand: c.Rand})).(*producers.Reporter)
	d.watcher = d.must(NewWatcher(WatchConfig{Dir: d.in, Interval: time.Second, Gateway: d.gateway, Reporter: reporter,
		Outbox: d.outbox, Now: d.clock.Now, Tell: func(n Notice) { d.notices = append(d.notices, n) }})).(*Watcher)
	t.Cleanup(d.close)
	return d
}

func newDesk(t testing.TB) *desk { return openDesk(t, t.TempDir(), 0) }

func (d *desk) must(v any, err error) any {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
	return v
}

// close may be called again.
func (d *desk) close() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, _ = d.outbox.Close(ctx)
	_ = d.watcher.Close()
	_ = d.gateway.Close()
}

func (d *desk) write(name, text string) {
	d.Helper()
	if err := os.WriteFile(filepath.Join(d.in, name), []byte(text), 0o600); err != nil {
		d.Fatal(err)
	}
}

// look looks twice, an interval apart, and returns what it is told.
func (d *desk) look() []Notice {
	d.Helper()
	d.notices = nil
	for range 2 {
		if err := d.watcher.Look(d.Context()); err != nil {
			d.Fatal(err)
		}
		d.clock.Advance(time.Second)
	}
	return d.notices
}

// tree returns what lies in the watched folder.
func (d *desk) tree() (names []string) {
	d.Helper()
	err := filepath.WalkDir(d.in, func(path string, e fs.DirEntry, err error) error {
		if err == nil && (!e.IsDir() || filepath.Ext(path) == ".csv") {
			names = append(names, strings.TrimPrefix(path, d.in+"/"))
		}
		return err
	})
	if err != nil {
		d.Fatal(err)
	}
	return names
}

func (d *desk) expectTree(want ...string) {
	d.Helper()
	if got := d.tree(); !slices.Equal(got, want) {
		d.Errorf("in the folder are %q, want %q", got, want)
	}
}

func (d *desk) expectKept(want int) {
	d.Helper()
	if c := d.outbox.Counts(); c.KeptHere+c.InLedger != want {
		d.Errorf("the outbox holds %+v, want %d events", c, want)
	}
}

func (d *desk) report(name string) (r FileReport) {
	d.Helper()
	text, err := os.ReadFile(filepath.Join(d.in, name))
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		d.Fatal(err)
	}
	return r
}

func TestWatchTakesAndRefuses(t *testing.T) {
	d := newDesk(t)
	d.write("a.csv", file(rowOf(1), rowOf(2)))
	d.write("b.CSV", file(rowOf(3), "END,7"))
	d.write(".c.csv", file(rowOf(4)))
	d.write("d.csv.part", file(rowOf(5)))
	d.write("e.csv.tmp", file(rowOf(6)))
	notices := d.look()
	d.expectTree(".c.csv", "d.csv.part", "done/a.csv", "done/a.csv.report.json", "e.csv.tmp", "refused/b.CSV", "refused/b.CSV.report.json")
	d.expectKept(1)
	if len(notices) != 2 || notices[0].Moved != "done/a.csv" || notices[1].Moved != "refused/b.CSV" {
		t.Fatalf("told %+v", notices)
	}
	if e := notices[0].Entry; e.State != producers.KeptHere || notices[0].Report.Event != e.ID.String() {
		t.Errorf("told of the entry %+v", e)
	}
	if r := d.report("done/a.csv.report.json"); !reflect.DeepEqual(r, notices[0].Report) || r.Batch != "131229-20151005-0001" || r.Items != 2 || r.Known {
		t.Errorf("the report is\n%+v, told was\n%+v", r, notices[0].Report)
	}
	if r := d.report("refused/b.CSV.report.json"); r.Refused == nil || r.Refused.Problems[0].Fault != FaultEndCount || r.Batch != "" {
		t.Errorf("the report on a refused file is %+v", r)
	}
	if again := d.look(); len(again) != 0 {
		t.Errorf("told again %+v", again)
	}
}

func TestWatchTakesAMarkedFileAtOnce(t *testing.T) {
	d := newDesk(t)
	d.write("a.csv", file(rowOf(1)))
	d.write("a.csv.done", "")
	if err := d.watcher.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.expectTree("done/a.csv", "done/a.csv.report.json")
}

func TestWatchNeverOverwrites(t *testing.T) {
	d := newDesk(t)
	for i, row := range []string{rowOf(1), rowOf(2), rowOf(1)} {
		d.write("a.csv", file(row))
		notices := d.look()
		if want := i == 2; len(notices) != 1 || notices[0].Report.Known != want {
			t.Errorf("file %d: told %+v", i+1, notices)
		}
	}
	d.expectTree("done/a-2.csv", "done/a-2.csv.report.json", "done/a-3.csv", "done/a-3.csv.report.json", "done/a.csv", "done/a.csv.report.json")
	d.expectKept(2)
	if first, third := d.report("done/a.csv.report.json"), d.report("done/a-3.csv.report.json"); first.Batch != third.Batch || first.Event != third.Event || !third.Known {
		t.Errorf("the same content is\n%+v, and then\n%+v", first, third)
	}
	// A report whose file somebody took away is another file's: it stays.
	if err := os.Remove(filepath.Join(d.in, "done/a.csv")); err != nil {
		t.Fatal(err)
	}
	d.write("a.csv", file(rowOf(4)))
	if n := d.look(); len(n) != 1 || n[0].Moved != "done/a-4.csv" {
		t.Errorf("told %+v", n)
	}
}

func TestWhatCannotBeTakenStaysAndIsToldOfOnce(t *testing.T) {
	full := func(d *desk) { d.write("a.csv", file(rowOf(1))) }
	for name, c := range map[string]struct {
		make     func(*desk)
		maxBytes int64
		want     error
		mend     func(*desk)
	}{
		"a folder": {func(d *desk) { d.must(nil, os.Mkdir(filepath.Join(d.in, "a.csv"), 0o700)) }, 0, errNotRegular,
			func(d *desk) { d.must(nil, os.Remove(filepath.Join(d.in, "a.csv"))); full(d) }},
		"a symbolic link": {func(d *desk) {
			d.must(nil, os.WriteFile(filepath.Join(d.dir, "elsewhere"), []byte(file(rowOf(1))), 0o600))
			d.must(nil, os.Symlink("../elsewhere", filepath.Join(d.in, "a.csv")))
		}, 0, errNotRegular, func(d *desk) { d.must(nil, os.Remove(filepath.Join(d.in, "a.csv"))); full(d) }},
		"a pipe": {func(d *desk) { d.must(nil, syscall.Mkfifo(filepath.Join(d.in, "a.csv"), 0o600)) }, 0, errNotRegular,
			func(d *desk) { d.must(nil, os.Remove(filepath.Join(d.in, "a.csv"))); full(d) }},
		"a file for which the outbox has no room": {full, 10, producers.ErrOutboxFull, nil},
		"a file that cannot be moved": {func(d *desk) {
			full(d)
			d.must(nil, os.Remove(filepath.Join(d.in, doneDir)))
			d.must(nil, os.Symlink("..", filepath.Join(d.in, doneDir)))
		}, 0, fs.ErrExist, func(d *desk) { d.must(nil, os.Remove(filepath.Join(d.in, doneDir))) }},
	} {
		t.Run(name, func(t *testing.T) {
			d := openDesk(t, t.TempDir(), c.maxBytes)
			c.make(d)
			notices := d.look()
			if len(notices) != 1 || !errors.Is(notices[0].Err, c.want) || notices[0].Report.File != "a.csv" {
				t.Fatalf("told %+v, want %v", notices, c.want)
			}
			for range 100 {
				if again := d.look(); len(again) != 0 {
					t.Fatalf("told again %+v", again)
				}
			}
			if c.mend == nil {
				d.expectTree("a.csv")
				return
			}
			c.mend(d)
			told := d.look()
			for range 100 { // the pause is a minute at most
				told = append(told, d.look()...)
			}
			if len(told) != 1 || told[0].Moved != "done/a.csv" {
				t.Errorf("told when it was mended: %+v", told)
			}
			d.expectKept(1)
		})
	}
}

func TestOneFileKeepsNoOtherBack(t *testing.T) {
	d := newDesk(t)
	d.must(nil, os.Mkdir(filepath.Join(d.in, "a.csv"), 0o700))
	d.write("b.csv", file(rowOf(1)))
	d.look()
	d.expectTree("a.csv", "done/b.csv", "done/b.csv.report.json")
}

// TestFileThatIsWrittenMeanwhile changes a file after it was seen: no batch is
// made of it.
func TestFileThatIsWrittenMeanwhile(t *testing.T) {
	for name, change := range map[string]func(d *desk){
		"it grows":   func(d *desk) { d.write("a.csv", file(rowOf(1), rowOf(2))) },
		"it is gone": func(d *desk) { d.must(nil, os.Remove(filepath.Join(d.in, "a.csv"))) },
		"another is put in its place": func(d *desk) {
			d.write(".new", file(rowOf(9)))
			d.must(nil, os.Rename(filepath.Join(d.in, ".new"), filepath.Join(d.in, "a.csv")))
		},
		"a link is put in its place": func(d *desk) {
			d.must(nil, os.Remove(filepath.Join(d.in, "a.csv")))
			d.must(nil, os.Symlink("/dev/zero", filepath.Join(d.in, "a.csv")))
		},
	} {
		t.Run("before it is opened: "+name, func(t *testing.T) {
			d := newDesk(t)
			d.write("a.csv", file(rowOf(1)))
			seen := d.sight("a.csv")
			change(d)
			if err := d.watcher.pickUp(t.Context(), seen); err != nil || len(d.gateway.Batches()) != 0 || len(d.notices) != 0 {
				t.Errorf("error %v, batches %v, told %+v", err, d.gateway.Batches(), d.notices)
			}
		})
		t.Run("while it is read: "+name, func(t *testing.T) {
			d := newDesk(t)
			d.write("a.csv", file(rowOf(1)))
			f, err := d.watcher.inbox.open(d.sight("a.csv"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			change(d)
			if _, err := d.gateway.Take(t.Context(), f); !errors.Is(err, errChanged) || len(d.gateway.Batches()) != 0 {
				t.Errorf("error %v, batches %v", err, d.gateway.Batches())
			}
		})
	}
}

// sight returns a file as a look sees it.
func (d *desk) sight(name string) sighting {
	d.Helper()
	listing := d.must(d.watcher.inbox.list()).([]sighting)
	i := slices.IndexFunc(listing, func(s sighting) bool { return s.name == name })
	return listing[i]
}

func TestWatchedFolderThatGoesAway(t *testing.T) {
	d := newDesk(t)
	d.must(nil, os.Rename(d.in, d.in+"-away"))
	if n := d.look(); len(n) != 1 || !errors.Is(n[0].Err, fs.ErrNotExist) || n[0].Report.File != "" {
		t.Errorf("told %+v", n)
	}
	if n := d.look(); len(n) != 0 {
		t.Errorf("told again %+v", n)
	}
	d.must(nil, os.Rename(d.in+"-away", d.in))
	d.write("a.csv", file(rowOf(1)))
	if n := d.look(); len(n) != 1 || n[0].Moved != "done/a.csv" {
		t.Errorf("told when it is back: %+v", n)
	}
}

// TestLedgerIsAwayForDays takes files while nobody answers, and delivers all of
// them afterwards, once each.
func TestLedgerIsAwayForDays(t *testing.T) {
	d := newDesk(t)
	for day := range 5 {
		d.write("a.csv", file(rowOf(day+1)))
		d.look()
		d.log.Arm(testenv.Unavailable, testenv.NotWritten, testenv.Written, testenv.Late, testenv.Unavailable)
		if _, _, err := d.outbox.Pass(t.Context(), d.log); err != nil {
			t.Fatal(err)
		}
		d.clock.Advance(24 * time.Hour)
	}
	d.deliver(5)
}

// deliver brings everything into the ledger: one event for each batch.
func (d *desk) deliver(want int) {
	d.Helper()
	for remaining, tries := 1, 0; remaining > 0; tries++ {
		var err error
		if remaining, _, err = d.outbox.Pass(d.Context(), d.log); err != nil || tries > 1000 {
			d.Fatalf("%d remain: %v", remaining, err)
		}
	}
	head := d.must(d.log.Head(d.Context())).(ledger.Seq)
	if int(head) != want || len(d.gateway.Batches()) != want {
		d.Errorf("%d events and %d batches, want %d", head, len(d.gateway.Batches()), want)
	}
	testenv.CheckLedger(d.TB, d.log)
}

func TestTwoOnOneFolder(t *testing.T) {
	d := newDesk(t)
	if _, err := Open(testConfig(filepath.Join(d.dir, "gateway"))); !errors.Is(err, ledger.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("a second gateway: %v", err)
	}
	if _, err := NewWatcher(d.watcher.config); !errors.Is(err, ledger.ErrLocked) {
		t.Errorf("a second watcher: %v", err)
	}
}

func TestNewWatcherRefuses(t *testing.T) {
	d := newDesk(t)
	d.must(nil, d.watcher.Close())
	stranger := d.must(producers.New(producers.Config{Log: d.log, Party: "municipality:131211",
		Key: testenv.Key(t, "municipality:131211"), Now: d.clock.Now, Rand: rand.NewChaCha8([32]byte{})})).(*producers.Reporter)
	for name, change := range map[string]func(*WatchConfig){
		"a folder that is not there": func(c *WatchConfig) { c.Dir = filepath.Join(d.dir, "nothing") },
		"a file":                     func(c *WatchConfig) { c.Dir = filepath.Join(d.dir, "gateway", "outbox.db") },
		"no interval":                func(c *WatchConfig) { c.Interval = 0 },
		"no outbox":                  func(c *WatchConfig) { c.Outbox = nil },
		"another municipality":       func(c *WatchConfig) { c.Reporter = stranger },
	} {
		t.Run(name, func(t *testing.T) {
			c := d.watcher.config
			change(&c)
			if w, err := NewWatcher(c); err == nil {
				w.Close()
				t.Error("no error")
			}
		})
	}
}

// TestFullDiskUnderAWatchedFolder fills the disk: files stay where they are, that
// is told of, and they are taken when there is room.
func TestFullDiskUnderAWatchedFolder(t *testing.T) {
	disk := fault.NewDisk(t, 4<<20)
	d := openDesk(t, disk.Dir(), 0)
	defer d.close() // before the disk goes
	d.write("a.csv", file(rowOf(1)))
	disk.Fill(0)
	if n := d.look(); len(n) != 1 || n[0].Moved != "" || !errors.Is(n[0].Err, syscall.ENOSPC) {
		t.Fatalf("told %+v", n)
	}
	if n := d.look(); len(n) != 0 {
		t.Errorf("told again %+v", n)
	}
	disk.Free()
	d.clock.Advance(time.Minute)
	d.look()
	d.expectTree("done/a.csv", "done/a.csv.report.json")
	d.deliver(1)
}
