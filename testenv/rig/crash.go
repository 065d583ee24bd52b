package rig

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"todoke/ledger"
	"todoke/testenv/fault"
)

// A point is a place in the run of a program at which it is killed, or told that
// the disk has failed: before the nth call of a name on the files under a path.
type point struct {
	script script
	call   string
	under  string // from the top of the program's folder
	nth    int
}

// String returns the name of the point.
func (p point) String() string {
	return fmt.Sprintf("%s: %s %s %d", p.script.name, p.call, p.under, p.nth)
}

// A script is a program that is always made to do the same.
type script struct {
	name  string
	spans []span
	run   func(c *crash)
}

// A span is the first so many calls of a name under a path.
type span struct {
	under, call string
	points      int
}

// The broker's names in a ledger's folder.
const (
	brokerFolder  = "jetstream/$G"
	streamFolder  = brokerFolder + "/streams/LEDGER"
	blockFolder   = streamFolder + "/msgs"
	stagingFolder = streamFolder + "/batches"
)

// putInPlace returns the calls that put a file in place as a whole.
func putInPlace(name string) []span {
	return []span{{name + ".new", "open", 1}, {name + ".new", "write", 1}, {name + ".new", "sync", 1}, {name + ".new", "rename", 1}}
}

// scripts returns the programs with their calls.
func scripts() []script {
	// Of two parties each.
	keys := []span{{"keys", "open", 2}, {"keys", "write", 2}, {"keys", "sync", 4}, {"keys", "link", 2}, {"keys", "remove", 2}}
	return []script{
		{"serve", slices.Concat([]span{
			{"lock", "open", 1}, {"lock", "truncate", 1}, {"lock", "write", 1},
			{brokerFolder, "mkdir", 7}, {streamFolder, "open", 4}, {streamFolder, "write", 2}, {streamFolder, "sync", 2}, {streamFolder, "rename", 2},
			{blockFolder, "write", 8}, {blockFolder, "sync", 8},
			{stagingFolder, "mkdir", 4}, {stagingFolder, "open", 4}, {stagingFolder, "write", 3}, {stagingFolder, "sync", 3}, {stagingFolder, "rename", 3}, {stagingFolder, "remove", 6},
			{"endpoint", "remove", 1}, {blockFolder + "/index.db", "open", 1}, {blockFolder + "/index.db", "write", 1},
		}, putInPlace("making"), putInPlace("ledger"), putInPlace("endpoint"), keys), crashServe},
		{"gateway", []span{
			{"", "mkdir", 1}, {"", "open", 3}, {"", "write", 12}, {"", "sync", 12}, {"", "truncate", 2}, {"", "link", 2}, {"", "remove", 2},
		}, crashGateway},
		{"intake", slices.Concat([]span{
			{"gateway", "mkdir", 4}, {"gateway", "open", 5}, {"gateway", "truncate", 1}, {"gateway", "write", 5}, {"gateway", "sync", 9}, {"gateway", "rename", 2},
			{blockFolder, "write", 3}, {blockFolder, "sync", 3},
		}, putInPlace("ledger"), keys), crashIntake},
	}
}

// points returns all points, those of different scripts by turns as long as
// each script has some.
func points() (all []point) {
	var lanes [][]point
	longest := 0
	for _, s := range scripts() {
		var lane []point
		for _, span := range s.spans {
			for n := range span.points {
				lane = append(lane, point{s, span.call, span.under, n + 1})
			}
		}
		lanes, longest = append(lanes, lane), max(longest, len(lane))
	}
	for i := range longest {
		for _, lane := range lanes {
			if i < len(lane) {
				all = append(all, lane[i])
			}
		}
	}
	return all
}

// crashes is what happens at a point: the program is killed, or the call fails.
var crashes = [...]syscall.Errno{0, syscall.EIO, syscall.ENOSPC}

func crashRows(p *program) []Row {
	all := points()
	return []Row{{
		Number: 3, Name: "kill, EIO and ENOSPC at named calls of serve, a gateway and intake",
		Oracle: "the next run goes on; every receipt is true; nothing is there twice or half",
		Unit:   "crash points", Commit: 60, Full: len(all) * len(crashes) * 2,
		Run: scoped(func(tb testing.TB, seed uint64) {
			n, lanes := uint64(len(all)), uint64(len(scripts()))
			round, place := seed/n, seed%n
			crashing(tb, p, all[place], crashes[(round+place/lanes)%uint64(len(crashes))])
		}),
	}}
}

// A crash is the trial of one point.
type crash struct {
	*house
	point
	failure syscall.Errno // 0: killed
	traced  *fault.Traced
}

// crashing runs a script into its point, then once more to its end, and looks at
// what is there.
func crashing(tb testing.TB, p *program, at point, failure syscall.Errno) {
	c := &crash{house: newHouse(tb, p, filepath.Join(tb.TempDir(), "data")), point: at, failure: failure}
	defer func() {
		if c.Failed() {
			c.Logf("at %s, answered %v", at, failure)
		}
	}()
	at.script.run(c)
}

// trace starts the program, with what goes wrong at the point of its folder.
func (c *crash) trace(cmd *exec.Cmd, folder string) *fault.Traced {
	c.Helper()
	c.traced = fault.StartTraced(c, cmd, fault.Tampering{Under: filepath.Join(folder, c.under), Calls: []string{c.call}, Nth: c.nth, Error: c.failure})
	return c.traced
}

// hit reports whether the program has come to the point.
func (c *crash) hit() bool { return len(c.traced.Calls()) >= c.nth }

// ended checks that the program came to its point, and how it ends: by itself it
// ends well, or with status 3 and a sentence.
func (c *crash) ended() {
	c.Helper()
	err := c.traced.Wait()
	if !c.hit() {
		c.Errorf("the program did not come to its point, only to %d: %s", len(c.traced.Calls()), c.traced.Said())
	}
	if c.failure == 0 || err == nil {
		return
	}
	if said := c.traced.Said(); err.Error() != "exit status 3" || !strings.Contains(said, "todoke: ") {
		c.Errorf("the program ended with %v: %s", err, said)
	}
}

// crashServe begins a ledger, takes single events and then several at once, and
// ends in order.
func crashServe(c *crash) {
	server := c.trace(c.serveCommand(), c.data)
	if _, up := c.reach(server.Process); up {
		c.talkUntil(server.Process, 1, 4)
		c.talkUntil(server.Process, 30, 60)
	}
	server.Terminate()
	c.ended()
	again := c.serve()
	c.talkUntil(again, 1, 4)
	c.talkUntil(again, 30, 60)
	c.stop(again)
	c.check()
}

// talkUntil lets parties say what such a crowd says always, until it has so many
// receipts, or the server does not answer well.
func (c *crash) talkUntil(server *fault.Process, parties, receipts int) {
	c.Helper()
	crowd := c.talk("crowd", parties)
	defer crowd.hush()
	c.until("there are receipts", func() bool {
		return crowd.answered() >= receipts || !running(server) || c.traced.Process == server && crowd.troubled()
	})
}

// crashGateway keeps six events in two batches and brings them to a server.
func crashGateway(c *crash) {
	server := c.serve()
	d := c.newDesk(1, "relay:9")
	d.gateway.Dir, d.gateway.Lanes, d.gateway.Events = filepath.Join(d.gateway.Dir, "gateway"), 2, 3
	first := c.trace(d.gateway.command(c), d.gateway.Dir)
	err := first.Wait()
	if !c.hit() {
		c.Errorf("the gateway did not come to its point: %s", first.Said())
	}
	lines := first.Rest()
	if i := slices.IndexFunc(lines, isComplaint); err != nil && c.failure != 0 && i >= 0 {
		lines = lines[:i] // it may say so, and end
	}
	d.hear(lines)
	d.process = fault.Start(c, d.gateway.command(c))
	if err := d.process.Wait(); err != nil {
		c.Errorf("the gateway does not go on: %v", err)
	}
	d.hear(d.process.Rest())
	d.deliver()
	c.stop(server)
	found := c.check()
	said := 0
	for batch := range d.gateway.Lanes * 20 {
		said += found.batches[batchOf(500+batch)]
	}
	if want := d.gateway.Lanes * d.gateway.Events; len(d.kept) != want || c.count() != want || said != want {
		c.Errorf("%d events were kept, %d have receipts and %d are in the ledger, want %d", len(d.kept), c.count(), said, want)
	}
}

// isComplaint reports whether a gateway says why it ends.
func isComplaint(line string) bool { return strings.HasPrefix(line, "error: ") }

// upload is a municipality's file.
const upload = `送付先管理番号,市町村コード,郵便番号,住所,方書,世帯主氏名,対象人数,外字数
00000001,131229,125-0063,葛飾区白鳥2-1,,世帯0001,3,0
00000002,131229,125-0063,葛飾区白鳥2-2,,世帯0002,1,0
END,2
`

// crashIntake takes a file into a folder in which there is nothing.
func crashIntake(c *crash) {
	file := filepath.Join(c.TempDir(), "upload.csv")
	if err := os.WriteFile(file, []byte(upload), 0o600); err != nil {
		c.Fatal(err)
	}
	args := []string{"--json", "--party", "municipality:131229", "intake", file}
	c.trace(c.command(args...), c.data)
	c.ended()
	before, _ := c.taken(c.traced.Rest())
	for range 2 {
		again := fault.Start(c, c.command(args...))
		if err := again.Wait(); err != nil {
			c.Fatalf("intake does not go on: %v: %s", err, again.Said())
		}
		batch, whole := c.taken(again.Rest())
		if !whole || before != "" && batch != before {
			c.Errorf("the file became batch %q, and was batch %q before", batch, before)
		}
		before = batch
	}
	if found := c.check(); len(c.receipts) != 1 || found.batches[before] != 1 {
		c.Errorf("the file has %d receipts and %d events, want one", len(c.receipts), found.batches[before])
	}
}

// taken reads which batch a file became, and notes the receipt.
func (c *crash) taken(lines []string) (batch string, whole bool) {
	var row struct {
		Batch   string
		Receipt *ledger.Receipt
	}
	if len(lines) == 0 || json.Unmarshal([]byte(lines[0]), &row) != nil || row.Receipt == nil {
		return row.Batch, false
	}
	c.given(*row.Receipt)
	return row.Batch, true
}
