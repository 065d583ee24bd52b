package rig

import (
	mathrand "math/rand/v2"
	"testing"
	"time"

	"todoke/ledger"
	"todoke/testenv/fault"
)

// shortPauses is how many seeds have pauses below two seconds. The others have
// up to thirty.
const shortPauses = 10

func pauseRows(p *program) []Row {
	const together = 2
	return []Row{{
		Number: 9, Name: "SIGSTOP of the server, with its watchdog, and of gateways, under load",
		Oracle: "no alert twice and none in vain; one that comes late comes once; receipts are true",
		Unit:   "pauses", Commit: shortPauses, Full: 30, PerTrial: together, Light: together,
		Run: beside(together, func(tb testing.TB, seed uint64) { pausing(tb, p, seed) }),
	}}
}

// pausing stops a process in the middle of everything and lets it go on later,
// while batches come of which some are never answered for.
func pausing(tb testing.TB, p *program, seed uint64) {
	random := mathrand.New(mathrand.NewPCG(seed, 9))
	h := newHouse(tb, p, tb.TempDir(), hastyRules(tb)...)
	server := h.serve()
	d := h.newDesk(seed, "relay:100")
	d.open()
	c := h.talk("crowd", 8)
	defer c.hush()
	victims := [][]*fault.Process{{server}, {d.process}, {server, d.process}}[seed%3]
	silent := h.uploads(0, random)
	h.until("the crowd gets receipts", func() bool { return c.count() > 100 })
	for _, v := range victims {
		v.Stop()
	}
	time.Sleep(pauseOf(seed, random))
	for _, v := range victims {
		v.Continue()
	}
	silent = append(silent, h.uploads(100, random)...)
	more := h.count() + 100
	h.until("the crowd gets receipts again", func() bool { return h.count() >= more })
	h.until("every alert is raised", func() bool { return h.raised() >= len(silent) })
	c.hush()
	d.kill()
	d.deliver()
	h.stop(server)
	found := h.check()
	h.checkAlerts(found)
	for _, batch := range silent {
		if !found.alerted(batch) {
			h.Errorf("nobody was told that %s is not answered for", batch)
		}
	}
}

// pauseOf draws for how long a process stands still.
func pauseOf(seed uint64, random *mathrand.Rand) time.Duration {
	if seed < shortPauses {
		return 200*time.Millisecond + time.Duration(random.Int64N(int64(1800*time.Millisecond)))
	}
	return time.Second + time.Duration(random.Int64N(int64(29*time.Second)))
}

// uploads claims ten batches, answers for some of them at once, and returns the
// others.
func (h *house) uploads(first int, random *mathrand.Rand) (silent []string) {
	h.Helper()
	for i := range 10 {
		batch := 2000 + first + i
		h.mustReport("municipality:131229", uploadOf(batch))
		if random.IntN(2) == 0 {
			h.mustReport("relay:2", answerTo(batch))
		} else {
			silent = append(silent, batchOf(batch))
		}
	}
	return silent
}

// raised returns how many alerts of uploads have been raised.
func (h *house) raised() int {
	h.Helper()
	wait(h.Context(), 50*time.Millisecond)
	return len(h.ask("--json", "replay", "--kind", ledger.AlertRaised.String()))
}
