package rig

import "todoke/testenv/sim"

// simulationRows are the rows that run on a virtual clock. Two trials run beside
// each other: each is one goroutine.
func simulationRows() []Row {
	return []Row{{
		Number: 1, Name: "simulation of gateways, log and watchdogs: 300 steps and 5 to 20 faults each",
		Oracle: "nothing lost, doubled or reordered; custody and alerts as in a naive model",
		Unit:   "seeds", Commit: 2000, Full: 50_000, PerTrial: 2, Run: beside(2, sim.Run),
	}}
}
