package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A ward is a folder with a gateway, perhaps a server, and files that are put
// into its inbox.
type ward struct {
	*testing.T
	dir   string
	files int // that were put
}

func newWard(t *testing.T) *ward {
	t.Helper()
	w := &ward{T: t, dir: t.TempDir()}
	if err := os.Mkdir(filepath.Join(w.dir, "in"), 0o700); err != nil {
		t.Fatal(err)
	}
	return w
}

// launch starts a command and waits for what it writes.
func (w *ward) launch(pattern string, args ...string) *process {
	w.Helper()
	p, err := launch(todoke(w.dir, args...), regexp.MustCompile(pattern))
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = p.cmd.Process.Kill(); <-p.ended })
	return p
}

func (w *ward) serve() *process { return w.launch(serves.String(), "serve") }

func (w *ward) watch(args ...string) *process {
	w.Helper()
	return w.launch("watching in", append([]string{"--party", "municipality:131229", "intake", "--watch", "in", "--interval", "20ms"}, args...)...)
}

// kill ends a process without a word.
func (w *ward) kill(p *process) {
	w.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		w.Fatal(err)
	}
	<-p.ended
}

// put puts a new file of one row into the inbox.
func (w *ward) put() {
	w.Helper()
	w.files++
	text := fmt.Sprintf("送付先管理番号,市町村コード,郵便番号,住所,方書,世帯主氏名,対象人数,外字数\n%08d,131229,125-0063,葛飾区白鳥2-1,,世帯,3,0\nEND,1\n", w.files)
	name := filepath.Join(w.dir, "in", fmt.Sprintf("%d.csv", w.files%3)) // names come again
	if err := os.WriteFile(name+".tmp", []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
	w.await("the last file of that name is taken", func() bool { _, err := os.Lstat(name); return err != nil })
	if err := os.Rename(name+".tmp", name); err != nil {
		w.Fatal(err)
	}
}

// await waits until something has come true.
func (w *ward) await(what string, is func() bool) {
	w.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("it did not come true: %s", what)
		}
	}
}

// done returns how many files lie in done.
func (w *ward) done() int {
	names, _ := filepath.Glob(filepath.Join(w.dir, "in", "done", "*.csv"))
	return len(names)
}

// uploads returns how many batches the ledger has heard of, each in one event.
func (w *ward) uploads() int {
	w.Helper()
	out, err := todoke(w.dir, "replay", "--kind", "upload.completed").CombinedOutput()
	if err != nil {
		w.Fatalf("%v\n%s", err, out)
	}
	batches := map[string]bool{}
	for _, batch := range regexp.MustCompile(`131229-\d{8}-\d{4}`).FindAllString(string(out), -1) {
		if batches[batch] {
			w.Errorf("batch %s is there twice", batch)
		}
		batches[batch] = true
	}
	return len(batches)
}

// TestWatchGoesOnWithoutTheServer ends the server under a gateway and starts it
// again, at another address: what was taken meanwhile comes into the ledger.
func TestWatchGoesOnWithoutTheServer(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	server := w.serve()
	gateway := w.watch()
	w.put()
	w.await("the file is taken", func() bool { return w.done() == 1 })
	for round := range 2 {
		w.kill(server)
		w.put()
		w.await("a file is taken without the ledger", func() bool { return w.done() == 2+round })
		server = w.serve()
		w.await("what was kept is in the ledger", func() bool { return w.uploads() == w.files })
	}
	w.kill(server)
	w.put()
	w.await("the file is taken", func() bool { return w.done() == 4 })
	if err := gateway.stop(); err != nil {
		t.Fatal(err)
	}
	said := string(gateway.said)
	for _, want := range []string{"ledger is out of reach; what is taken is kept here", "ledger is reached", "ended; 1 kept here"} {
		if !strings.Contains(said, want) {
			t.Errorf("it never said %q:\n%s", want, said)
		}
	}
}

// TestWatchWaitsForItsFirstLedger leaves files where they are before any ledger
// was reached.
func TestWatchWaitsForItsFirstLedger(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	w.put()
	gateway := w.launch("which ledger this gateway reports to is not known", "--party", "municipality:131229", "intake", "--watch", "in", "--interval", "20ms")
	if w.done() != 0 {
		t.Error("a file was taken")
	}
	w.serve()
	w.await("the file is in the ledger", func() bool { return w.done() == 1 && w.uploads() == 1 })
	if err := gateway.stop(); err != nil {
		t.Error(err)
	}
}

func TestTwoGatewaysOnOneFolder(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	w.serve()
	gateway := w.watch()
	out, err := todoke(w.dir, "--party", "municipality:131229", "intake", "--watch", "in").CombinedOutput()
	if err == nil || err.Error() != "exit status 3" || !strings.Contains(string(out), fmt.Sprintf("(pid %d)", gateway.cmd.Process.Pid)) {
		t.Errorf("the second one: %v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "a.csv"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err = todoke(w.dir, "--party", "municipality:131229", "intake", "a.csv").CombinedOutput()
	if err == nil || !strings.Contains(string(out), fmt.Sprintf("(pid %d); if that is intake --watch, put the file into its folder", gateway.cmd.Process.Pid)) {
		t.Errorf("intake beside it: %v\n%s", err, out)
	}
}

// TestWatchSurvivesKilling kills gateway and server at random moments while
// files come: at the end each file lies in done, and has one event.
func TestWatchSurvivesKilling(t *testing.T) {
	t.Parallel()
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	random := rand.New(rand.NewPCG(2015, 11))
	w := newWard(t)
	w.kill(w.serve()) // the ledger is there
	w.connectOnce()
	for range rounds {
		server, gateway := w.serve(), w.watch()
		for range 1 + random.IntN(6) {
			w.put()
		}
		time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
		if random.IntN(2) == 0 {
			server, gateway = gateway, server
		}
		w.kill(gateway)
		time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
		w.kill(server)
	}
	w.serve()
	gateway := w.watch()
	w.await("all files are done and in the ledger", func() bool { return w.done() == w.files && w.uploads() == w.files })
	if err := gateway.stop(); err != nil {
		t.Error(err)
	}
	t.Logf("%d files", w.files)
}

// connectOnce makes the outbox, by a file that is in the ledger then.
func (w *ward) connectOnce() {
	w.Helper()
	server, gateway := w.serve(), w.watch()
	w.put()
	w.await("the first file is in the ledger", func() bool { return w.done() == 1 && w.uploads() == 1 })
	w.kill(gateway)
	w.kill(server)
}

// TestWatchAnswers lets a gateway answer a 登録 while it watches.
func TestWatchAnswers(t *testing.T) {
	t.Parallel()
	w := newWard(t)
	w.serve()
	gateway := w.watch("--answer")
	w.put()
	w.await("the file is in the ledger", func() bool { return w.uploads() == 1 })
	out, err := todoke(w.dir, "replay", "--kind", "upload.completed").Output()
	batch := regexp.MustCompile(`131229-\d{8}-\d{4}`).FindString(string(out))
	if err == nil {
		out, err = todoke(w.dir, "--party", "registry:jlis", "report", "import.registered", "--batch", batch, "--count", "1").CombinedOutput()
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.await("it is answered", func() bool {
		out, err := todoke(w.dir, "replay", "--kind", "import.confirmed").Output()
		return err == nil && len(out) > 0
	})
	if err := gateway.stop(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(string(gateway.said), batch+"  import.confirmed  in the ledger at") {
		t.Errorf("it said\n%s", gateway.said)
	}
}
