package rig

import (
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"testing"
	"time"

	"todoke/testenv/fault"
)

// kills is how many processes are killed in one trial.
const kills = 10

func killRows(p *program) []Row {
	return []Row{{
		Number: 2, Name: "kill -9 of the server, of gateways and of commands, under load",
		Oracle: "every receipt is found again; what an outbox kept is there once, in order; incarnations count up",
		Unit:   "kills", Commit: 4 * kills, Full: 100 * kills, PerTrial: kills, Light: kills,
		Run: scoped(func(tb testing.TB, seed uint64) { killProcesses(tb, p, seed) }),
	}}
}

// A killing is the trial that kills.
type killing struct {
	*house
	random  *mathrand.Rand
	desks   []*desk
	server  *fault.Process
	started int // processes that may have opened the ledger for appending
	served  int // of them, those that said that they serve
}

// killProcesses kills them in random order while two gateways and a crowd report.
func killProcesses(tb testing.TB, p *program, seed uint64) {
	k := &killing{house: newHouse(tb, p, tb.TempDir()), random: mathrand.New(mathrand.NewPCG(seed, 2))}
	k.begin()
	for i := range 2 {
		d := k.newDesk(seed, fmt.Sprintf("relay:%d", 100+i))
		d.open()
		k.desks = append(k.desks, d)
	}
	for n := range kills {
		k.round(n)
		if k.Failed() {
			k.Fatalf("at kill %d", n)
		}
	}
	k.end()
}

// begin starts the server and leaves it to itself.
func (k *killing) begin() {
	k.Helper()
	k.server, k.started = k.start(), k.started+1
}

// round kills one process, at a moment of its own.
func (k *killing) round(n int) {
	k.Helper()
	if k.server != nil && k.random.IntN(4) == 0 {
		k.while(100) // it is still starting
		k.killServer()
		return
	}
	if k.server == nil {
		if k.random.IntN(4) == 0 {
			k.killCommand(n)
			return
		}
		k.begin()
	}
	if _, up := k.reach(k.server); !up {
		k.Fatalf("the server has ended: %v: %s", k.server.Wait(), k.server.Said())
	}
	c := k.talk(fmt.Sprint("crowd ", n), 24)
	defer c.hush()
	least := k.count() + k.random.IntN(200)
	k.until("the crowd gets receipts", func() bool { return k.count() >= least })
	k.while(3) // into the middle of something
	if k.random.IntN(3) == 0 {
		d := k.desks[k.random.IntN(len(k.desks))]
		d.kill()
		d.open()
		return
	}
	k.killServer()
}

// while waits for up to so many milliseconds.
func (k *killing) while(most int) {
	time.Sleep(time.Duration(k.random.IntN(most*1000)) * time.Microsecond)
}

func (k *killing) killServer() {
	k.Helper()
	k.server.Kill9()
	if strings.Contains(k.server.Said(), "ledger serves") {
		k.served++
	}
	k.server = nil
}

// killCommand kills a command that appends to the folder by itself.
func (k *killing) killCommand(n int) {
	k.Helper()
	k.started++
	command := fault.Start(k, k.command("--json", "--party", "relay:7", "report", "import.completed",
		"--batch", batchOf(9000), "--count", "3", "--slip", fmt.Sprint("command ", n)))
	k.while(150)
	command.Kill9()
	if r, whole := receiptOf(command.Rest()); whole {
		k.given(r)
	}
}

// end lets everything be said, and looks at what is there.
func (k *killing) end() {
	k.Helper()
	for _, d := range k.desks {
		d.kill()
	}
	if k.server == nil {
		k.begin()
	}
	if _, up := k.reach(k.server); !up {
		k.Fatalf("the server has ended: %v: %s", k.server.Wait(), k.server.Said())
	}
	for _, d := range k.desks {
		d.deliver()
	}
	k.stop(k.server)
	k.served++
	if found := k.check(); len(found.starts) < k.served || len(found.starts) > k.started {
		k.Errorf("there are %d incarnations, of %d starts, %d of which served", len(found.starts), k.started, k.served)
	}
	k.Logf("%d receipts", k.count())
}
