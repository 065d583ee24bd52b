// Package rig is the fault rig: rows of trials that break a ledger on purpose and
// look whether anything acknowledged was lost, doubled or reordered. Every trial
// has a seed, and is the same again with the same seed, as far as real processes
// can be.
//
// A row is run in three ways, always by the same function:
//
//   - make test-system runs the commit column, as root; make test only what is
//     light of it.
//   - make soak MINUTES=n goes on with every row where the last soak stopped, by
//     turns, until the time is over, and writes docs/reliability.md.
//   - go test ./testenv/rig -run TestSeed -row 2 -seed 17 runs one trial.
//
// A seed that found something becomes a named test of the room that was wrong.
//
// # What a trial promises
//
// It makes everything it needs in a folder of its own, ends every process it
// started, reads no clock to decide whether it passed, and ends with
// [testenv.CheckLedger] on what is left.
package rig

import (
	"cmp"
	"slices"
	"testing"
)

// A Row is one kind of fault.
type Row struct {
	Number int    // as in the plan that docs/reliability.md shows
	Name   string // what is done
	Oracle string // what must hold afterwards
	Unit   string // what is counted: seeds, kills, operations
	// Commit and Full are how many trials the commit column and the full column
	// have, in units.
	Commit, Full int
	// PerTrial is how many units one trial is, 1 when it is 0.
	PerTrial int
	// Light is how much of the commit column make test runs: what needs no
	// rights and takes seconds.
	Light int
	// Run is one trial.
	Run func(tb testing.TB, seed uint64)
}

// trials returns how many trials make up so many units.
func (r Row) trials(units int) int {
	per := max(r.PerTrial, 1)
	return (units + per - 1) / per
}

// Rows returns all rows, by number.
func Rows() []Row {
	p := new(program)
	rows := slices.Concat(simulationRows(), processRows(p), clusterRows(p), linearRows(), replayRows())
	slices.SortStableFunc(rows, func(a, b Row) int { return cmp.Compare(a.Number, b.Number) })
	return rows
}
