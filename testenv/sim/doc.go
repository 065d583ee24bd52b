// Package sim is a deterministic simulation of a whole ledger: gateways with
// their outboxes on real files, a log in memory that fails, and watchdogs, on a
// clock that stands still until it is told to move. Everything happens on one
// goroutine, and everything random comes from one seed: the same seed gives the
// same history, byte for byte.
//
//	make sim SEED=17 N=1    one trial, with its history
//	make sim N=50000        the seeds from 0 on
//
// that is, go test ./testenv/sim -run TestSim -seed 17 -trials 1 -v.
//
// # A trial
//
// Two municipalities, the relay, the registry and the printer speak about six
// batches of twelve items. Each has a [producers.Outbox] and is brought to the
// log by its Pass. Of about 300 steps each is one of these, drawn at random:
//
//	keep      a party's next word goes into its outbox: whole, in part, with the
//	          wrong root, before the word it answers
//	again     the same slip with other salt; or, which is refused, another body
//	desk      a second program of a party says what its outbox has kept, as it was
//	          or with another body, past the outbox
//	pass      an outbox is emptied as far as the log lets it
//	crash     a gateway dies: between two steps, or in a pass, before or after any
//	          of its events was sent; it goes on with its file as it was then
//	away      a party is off line for up to four days
//	settle    what is below a seal is forgotten in the outboxes
//	wait      the clock moves by minutes, hours or days
//	tick      a watchdog ticks; while it decides, a gateway may get in first
//	watch     a watchdog stops, starts again knowing nothing, or is doubled
//	blind     the next reads of the watchdogs fail
//	takeover  another committer takes a fenced log over
//
// and 5 to 20 faults (see [testenv.Fault]) befall the appends. Then everything
// heals: outboxes are emptied, the clock passes every deadline, a watchdog ticks.
//
// # What must hold
//
//   - Every record that an outbox accepted is in the log exactly once, in the
//     order of keeping for each party and batch, in the bytes of one of those who
//     said it; or the log had another body under its id first, and then the entry
//     is refused for that.
//   - Every receipt in an outbox is the log's.
//   - Nothing is in the log that nobody said.
//   - Custody, as [projections.Custody] has it, is that of a model which goes
//     item by item through plain arrays; and a fold of the same words in another
//     order, in which each party keeps its own, gives the same hops, custody and
//     obligations.
//   - Every alert in the log is right: at its place in the batch, the model has
//     that obligation, late, with exactly these items, and nobody was told of them.
//     Every alert that was closed is about items of which none is owed any more.
//   - None is missing: after a tick that went through, and in which nobody spoke,
//     everything that the model has as late is in an open alert, and every open
//     alert is about something that is still owed.
//   - [testenv.CheckLedger].
//
// # Decisions
//
// 2026-11-22: What a watchdog should have done is judged at each tick and at each
// alert, not from a list of breaches. What was late and came before anybody
// looked is no alert, and a list would have to know when somebody looked.
//
// 2026-11-22: The log does not verify what was signed in the same world a moment
// ago: signatures are most of a trial's time. The outboxes do, and
// [testenv.CheckLedger] verifies whatever stands in the log at the end.
//
// 2026-11-22: A crash is a copy of the outbox's file. bbolt writes in place only
// in a transaction, and a simulation on one goroutine stands between two. Crashes
// within one are for the rig, which kills processes.
package sim
