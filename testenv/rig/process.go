package rig

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"todoke/ledger"
	"todoke/ledger/stream"
	"todoke/producers"
	"todoke/testenv"
	"todoke/testenv/fault"
)

// processRows returns the rows in which the built todoke runs, and is killed,
// paused, or given a disk that fails.
func processRows(p *program) []Row {
	return slices.Concat(killRows(p), crashRows(p), failingDiskRows(p), fullDiskRows(p), pauseRows(p))
}

// patience bounds every wait for something that will come. It is many times the
// 6 s for which a producer waits for one answer.
const patience = time.Minute

// A program is the todoke binary. It is built when the first trial needs it.
type program struct {
	once sync.Once
	file *os.File // open for as long as this process lives; it has no name any more
	err  error
}

// path returns what to execute.
func (p *program) path(tb testing.TB) string {
	tb.Helper()
	p.once.Do(func() { p.err = p.build() })
	if p.err != nil {
		tb.Fatalf("build todoke: %v", p.err)
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), p.file.Fd())
}

func (p *program) build() error {
	dir, err := os.MkdirTemp("", "todoke-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "todoke")
	if out, err := exec.Command("go", "build", "-o", name, "todoke/cmd/todoke").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	p.file, err = os.Open(name)
	return err
}

// A scope is a test whose cleanup is done at the end of one trial. In a soak one
// test runs thousands.
type scope struct {
	testing.TB
	ends []func()
}

// scoped makes a trial one that leaves nothing behind when it returns.
func scoped(trial func(tb testing.TB, seed uint64)) func(testing.TB, uint64) {
	return beside(1, trial)
}

// beside makes one trial of so many at the same time. What takes long in them is
// waiting.
func beside(n int, trial func(tb testing.TB, seed uint64)) func(testing.TB, uint64) {
	return func(tb testing.TB, seed uint64) {
		var all sync.WaitGroup
		for i := range uint64(n) {
			all.Go(func() {
				s := &scope{TB: tb}
				defer s.end()
				trial(s, seed*uint64(n)+i)
			})
		}
		all.Wait()
	}
}

// Cleanup implements testing.TB.
func (s *scope) Cleanup(end func()) { s.ends = append(s.ends, end) }

// TempDir implements testing.TB. The path is the kernel's own.
func (s *scope) TempDir() string {
	s.Helper()
	dir, err := os.MkdirTemp("", "rig-")
	if err == nil {
		s.Cleanup(func() { os.RemoveAll(dir) })
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		s.Fatalf("make a folder for the trial: %v", err)
	}
	return dir
}

// FailNow implements testing.TB. It ends the trial, which has a goroutine of its
// own.
func (s *scope) FailNow() {
	s.Fail()
	runtime.Goexit()
}

// Fatalf implements testing.TB as FailNow does.
func (s *scope) Fatalf(format string, args ...any) {
	s.Helper()
	s.Errorf(format, args...)
	runtime.Goexit()
}

// Fatal implements testing.TB as FailNow does.
func (s *scope) Fatal(args ...any) {
	s.Helper()
	s.Error(args...)
	runtime.Goexit()
}

func (s *scope) end() {
	for _, end := range slices.Backward(s.ends) {
		end()
	}
}

// A house is the folder of one ledger, and who uses it.
type house struct {
	testing.TB
	program *program
	data    string   // the ledger's folder
	serving []string // arguments of todoke serve

	mu       sync.Mutex
	receipts map[ledger.ID]ledger.Receipt // all that anybody was given
}

// newHouse returns a house whose ledger, in dir, is still to be made.
func newHouse(tb testing.TB, p *program, dir string, serving ...string) *house {
	return &house{TB: tb, program: p, data: dir, serving: serving, receipts: make(map[ledger.ID]ledger.Receipt)}
}

// command returns a call of todoke on the ledger.
func (h *house) command(args ...string) *exec.Cmd {
	return exec.Command(h.program.path(h), append([]string{"--data", h.data, "--lang", "en"}, args...)...)
}

// serveCommand returns the call that serves the ledger.
func (h *house) serveCommand() *exec.Cmd {
	return h.command(append([]string{"serve"}, h.serving...)...)
}

// start starts a server, and does not wait for it.
func (h *house) start() *fault.Process {
	h.Helper()
	return fault.Start(h, h.serveCommand())
}

// serve starts a server and waits until it can be reached.
func (h *house) serve() *fault.Process {
	h.Helper()
	server := h.start()
	if _, up := h.reach(server); !up {
		h.Fatalf("the server has ended: %v: %s", server.Wait(), server.Said())
	}
	return server
}

// reach waits until a server can be reached, and reports false when it has ended
// before that.
func (h *house) reach(server *fault.Process) (e stream.Endpoint, up bool) {
	h.Helper()
	h.until("the server can be reached or has ended", func() bool {
		var err error
		e, err = stream.ReadEndpoint(h.data)
		up = err == nil && e.PID == server.PID()
		return up || !running(server)
	})
	return e, up
}

// running reports whether a process has not ended.
func running(p *fault.Process) bool { return syscall.Kill(p.PID(), 0) == nil }

// stop ends a server in the way in which an operator does.
func (h *house) stop(server *fault.Process) {
	h.Helper()
	server.Terminate()
	if err := server.Wait(); err != nil {
		h.Errorf("the server did not end well: %v: %s", err, server.Said())
	}
}

// until waits for a condition that comes true.
func (h *house) until(what string, condition func() bool) {
	h.Helper()
	for end := time.Now().Add(patience); !condition(); time.Sleep(2 * time.Millisecond) {
		if h.Failed() {
			h.FailNow()
		}
		if time.Now().After(end) {
			h.Fatalf("after %s it is not so that %s", patience, what)
		}
	}
}

// ask runs a command that reads, and returns its lines. It may have bad news.
func (h *house) ask(args ...string) (lines []string) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), patience)
	defer cancel()
	command := h.command(args...)
	out, err := exec.CommandContext(ctx, command.Path, command.Args[1:]...).Output()
	if exit, bad := errors.AsType[*exec.ExitError](err); err != nil && (!bad || exit.ExitCode() != 1) {
		h.Fatalf("todoke %v: %v", args, err)
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
}

// given notes a receipt. The same event never has another one.
func (h *house) given(r ledger.Receipt) {
	r.Duplicate, r.Time = false, r.Time.Round(0)
	h.mu.Lock()
	defer h.mu.Unlock()
	if before, twice := h.receipts[r.ID]; twice && (before.Seq != r.Seq || before.Incarnation != r.Incarnation) {
		h.Errorf("event %s has a receipt for (%d, %d) and one for (%d, %d)", r.ID, before.Incarnation, before.Seq, r.Incarnation, r.Seq)
	}
	h.receipts[r.ID] = r
}

// count returns how many events have receipts.
func (h *house) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.receipts)
}

// attend connects to whoever serves the ledger in a folder, again and again until
// ctx is done, and calls use with each connection. The context of use ends with
// the server.
func attend(ctx context.Context, data string, use func(context.Context, *producers.Client)) {
	for ; ctx.Err() == nil; wait(ctx, 5*time.Millisecond) {
		e, err := stream.ReadEndpoint(data)
		if err != nil {
			continue
		}
		stay, leave := context.WithCancel(ctx)
		var watching sync.WaitGroup
		watching.Go(func() {
			defer leave()
			for now := e; err == nil && now == e && stay.Err() == nil; now, err = stream.ReadEndpoint(data) {
				wait(stay, 50*time.Millisecond)
			}
		})
		if client, err := producers.Dial(stay, e.URL); err == nil {
			use(stay, client)
			client.Close()
		}
		leave()
		watching.Wait()
	}
}

// wait waits, or until ctx is done.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// hasty are the rules of a ledger in which a relay has one second to say that it
// has received an upload.
const hasty = `version: second/1
profile: full
flow: notification-card/1
organisations: {relay: jlis, registry: jlis, printer: npb, inspector: npb, post: jp}
hops:
  upload:
    claim: {within: 24h}
    acknowledgement: {within: 1s, basis: items, grade: 2}
calendar:
  office_closes: "17:15"
  post_closes: "24:00"
`

// hastyRules writes the hasty rules down for a server.
func hastyRules(tb testing.TB) (serving []string) {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, []byte(hasty), 0o600); err != nil {
		tb.Fatal(err)
	}
	return []string{"--rules", file}
}

// uploadOf returns what the municipality says about a batch, by the batch's number
// from 0.
func uploadOf(batch int) producers.Report {
	return producers.Report{Kind: ledger.UploadCompleted, Batch: batchOf(batch), Count: 3, Root: ledger.Root{1},
		Document: ledger.Document{Kind: "file", Digest: [32]byte{1}}, Slip: "upload"}
}

// answerTo returns what the relay says when it has got the batch.
func answerTo(batch int) producers.Report {
	return producers.Report{Kind: ledger.UploadReceived, Batch: batchOf(batch), Items: ledger.Items{{First: 1, Last: 3}}, Slip: "answer"}
}

// A crowd is parties of this process that report on one connection, each as fast
// as it gets answers. What a party does not know the outcome of it says again.
type crowd struct {
	*house
	name   string
	said   []int          // by each party
	failed map[string]int // errors by code; guarded by the house's mu, as answers
	// answers is how many receipts it got, those for what was said before too.
	answers int
	end     context.CancelFunc
	all     sync.WaitGroup
}

// talk lets so many parties report to whoever serves until hush is called. A
// crowd of the same name says the same.
func (h *house) talk(name string, parties int) *crowd {
	h.Helper()
	ctx, end := context.WithCancel(h.Context())
	c := &crowd{house: h, name: name, said: make([]int, parties), failed: make(map[string]int), end: end}
	c.all.Go(func() { attend(ctx, h.data, c.meet) })
	return c
}

// meet lets everybody speak on one connection.
func (c *crowd) meet(ctx context.Context, client *producers.Client) {
	var all sync.WaitGroup
	for n := range c.said {
		all.Go(func() { c.speak(ctx, client, n) })
	}
	all.Wait()
}

func (c *crowd) speak(ctx context.Context, client *producers.Client, n int) {
	party := ledger.Party(fmt.Sprintf("relay:%d", n))
	for ctx.Err() == nil {
		i := c.said[n]
		receipt, err := c.append(ctx, client, party, claim(n*20+i%20, fmt.Sprintf("%s-%d", c.name, i)))
		if err == nil {
			c.given(receipt)
			c.said[n]++
			c.mu.Lock()
			c.answers++
			c.mu.Unlock()
			continue
		}
		c.mu.Lock()
		c.failed[ledger.Code(err)]++
		c.mu.Unlock()
		wait(ctx, 5*time.Millisecond)
	}
}

// claim returns what a relay says about a batch, by the batch's number from 0.
func claim(batch int, slip string) producers.Report {
	return producers.Report{Kind: ledger.ImportCompleted, Batch: batchOf(batch), Count: 551, Slip: slip}
}

// batchOf returns the name of a batch by its number from 0.
func batchOf(n int) string { return fmt.Sprintf("131229-20151005-%04d", 1+n) }

// append makes one attempt to bring a report into the ledger.
func (h *house) append(ctx context.Context, log producers.Appender, party ledger.Party, r producers.Report) (ledger.Receipt, error) {
	reporter, err := producers.New(producers.Config{Log: log, Party: party, Key: testenv.Key(h, string(party)), Now: time.Now, Rand: rand.Reader})
	if err != nil {
		return ledger.Receipt{}, err
	}
	record, err := reporter.Record(r)
	if err != nil {
		return ledger.Receipt{}, err
	}
	return log.Append(ctx, record)
}

// failures returns how often the ledger answered with the code.
func (c *crowd) failures(code string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed[code]
}

// answered returns how many receipts the crowd has got.
func (c *crowd) answered() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answers
}

// troubled reports whether anything was answered with an error.
func (c *crowd) troubled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.failed) > 0
}

// hush ends the crowd.
func (c *crowd) hush() {
	c.end()
	c.all.Wait()
}

// mustReport says something until there is a receipt.
func (h *house) mustReport(party ledger.Party, r producers.Report) {
	h.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); wait(h.Context(), 20*time.Millisecond) {
		var receipt ledger.Receipt
		ctx, cancel := context.WithTimeout(h.Context(), patience)
		receipt, err = h.report(ctx, party, r)
		cancel()
		if err == nil {
			h.given(receipt)
			return
		}
		if errors.Is(err, ledger.ErrRefused) {
			break
		}
	}
	h.Fatalf("report %s of %s as %s: %v", r.Kind, r.Batch, party, err)
}

// report makes one attempt to say something to whoever serves.
func (h *house) report(ctx context.Context, party ledger.Party, r producers.Report) (ledger.Receipt, error) {
	e, err := stream.ReadEndpoint(h.data)
	if err != nil {
		return ledger.Receipt{}, err
	}
	client, err := producers.Dial(ctx, e.URL)
	if err != nil {
		return ledger.Receipt{}, err
	}
	defer client.Close()
	return h.append(ctx, client, party, r)
}

// receiptOf reads the receipt that a command printed, and reports whether there
// is a whole one.
func receiptOf(lines []string) (r ledger.Receipt, whole bool) {
	return r, len(lines) > 0 && json.Unmarshal([]byte(lines[0]), &r) == nil && r.Seq > 0
}
