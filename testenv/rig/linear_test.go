package rig

import (
	"math"
	"testing"

	"github.com/anishathalye/porcupine"

	"todoke/ledger"
)

// TestAnAnswerThatCannotBeHasNoOrder holds answers about a batch of three events
// against the model.
func TestAnAnswerThatCannotBeHasNoOrder(t *testing.T) {
	a, b, c, d := ledger.ID{1}, ledger.ID{2}, ledger.ID{3}, ledger.ID{4}
	f := course{place: map[ledger.ID]int{a: 0, b: 1, c: 2}}
	for _, seq := range []ledger.Seq{5, 7, 9} {
		f.events = append(f.events, ledger.Event{Record: ledger.Record{Seq: seq}})
	}
	add := func(id ledger.ID) move { return move{event: id} }
	on := func(id ledger.ID, head ledger.Seq) move { return move{event: id, decided: true, head: head} }
	const never = math.MaxInt64
	op := func(call, end int64, m move, o reply) porcupine.Operation {
		return porcupine.Operation{Call: call, Return: end, Input: m, Output: o}
	}
	before := []porcupine.Operation{op(1, 2, add(a), reply{wasStored, 5}), op(3, 4, on(b, 5), reply{wasStored, 7})}
	last := op(50, 51, move{look: true}, reply{isAt, 9})
	for name, test := range map[string]struct {
		ops []porcupine.Operation
		ok  bool
	}{
		"one after the other":                         {[]porcupine.Operation{op(5, 6, add(c), reply{wasStored, 9})}, true},
		"unknown, and stored":                         {[]porcupine.Operation{op(5, never, add(c), reply{what: isUnknown})}, true},
		"unknown, and seen by the next":               {[]porcupine.Operation{op(5, never, add(c), reply{what: isUnknown}), op(6, 7, add(c), reply{wasThere, 9})}, true},
		"unknown, and stored much later":              {[]porcupine.Operation{op(5, never, on(c, 7), reply{what: isUnknown}), op(8, 9, move{look: true}, reply{isAt, 7})}, true},
		"a conflict on an old head":                   {[]porcupine.Operation{op(5, 6, on(d, 5), reply{what: hasMoved}), op(5, 8, add(c), reply{wasStored, 9})}, true},
		"lost":                                        {nil, false},
		"not written, and there":                      {[]porcupine.Operation{op(5, 6, add(c), reply{what: wasNot})}, false},
		"a receipt for another place":                 {[]porcupine.Operation{op(5, 6, add(c), reply{wasStored, 8})}, false},
		"stored twice":                                {[]porcupine.Operation{op(5, 6, add(c), reply{wasStored, 9}), op(7, 8, add(c), reply{wasStored, 9})}, false},
		"said to be there before it was":              {[]porcupine.Operation{op(5, 6, add(c), reply{wasThere, 9})}, false},
		"a decision on an old head":                   {[]porcupine.Operation{op(5, 6, on(c, 5), reply{wasStored, 9})}, false},
		"a conflict with nobody":                      {[]porcupine.Operation{op(5, 6, on(d, 7), reply{what: hasMoved}), op(7, 8, add(c), reply{wasStored, 9})}, false},
		"a head below what was acknowledged":          {[]porcupine.Operation{op(5, 6, add(c), reply{wasStored, 9}), op(7, 8, move{look: true}, reply{isAt, 7})}, false},
		"an unknown decision on what was never there": {[]porcupine.Operation{op(5, never, on(c, 6), reply{what: isUnknown})}, false},
	} {
		t.Run(name, func(t *testing.T) {
			history := append(append(append([]porcupine.Operation(nil), before...), test.ops...), last)
			if ok := porcupine.CheckOperations(f.model(), history); ok != test.ok {
				t.Errorf("an order exists: %t", ok)
			}
		})
	}
}
