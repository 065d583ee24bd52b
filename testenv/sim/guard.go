package sim

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"todoke/consumers/watchdog"
	"todoke/ledger"
)

// maxDogs is how many watchdogs there are at once.
const maxDogs = 3

// errBlind is what a watchdog hears whose reads fail.
var errBlind = errors.New("the connection is gone")

// A dog is a watchdog with its own way to the log.
type dog struct {
	*watchdog.Watchdog
	name string
	own  ledger.Seq // events that it added in this tick
}

func (w *world) newDog() {
	w.slips++
	d := &dog{name: fmt.Sprint("watchdog ", w.slips)}
	var err error
	d.Watchdog, err = watchdog.New(watchdog.Config{
		Log: &door{w.log, w, d}, Party: "watchdog", Key: w.guard, Now: w.clock.Now, Rand: w.bytes,
	})
	if err != nil {
		w.Fatal(err)
	}
	w.dogs = append(w.dogs, d)
	w.tell("%s starts", d.name)
}

// changeGuard stops a watchdog, starts it again, or starts another one beside it.
func (w *world) changeGuard() {
	switch w.random.IntN(3) {
	case 0:
		w.stopDog(0)
	case 1:
		w.stopDog(0)
		w.newDog()
	default:
		if len(w.dogs) < maxDogs {
			w.newDog()
		}
	}
}

func (w *world) stopDog(i int) {
	if i < len(w.dogs) {
		w.tell("%s stops", w.dogs[i].name)
		w.dogs = slices.Delete(w.dogs, i, i+1)
	}
}

// tick lets every watchdog tick, and looks whether it has done what it should. With
// company a gateway may get in before its decisions.
func (w *world) tick(company bool) {
	if w.asleep {
		return
	}
	if len(w.dogs) == 0 && w.chance(4) { // somebody has noticed
		w.newDog()
	}
	w.speaking = company
	for i := 0; i < len(w.dogs); i++ {
		d := w.dogs[i]
		d.own = 0
		before := w.head()
		err := d.Tick(w.background())
		w.tell("%s ticks: %v", d.name, err)
		switch {
		case errors.Is(err, ledger.ErrFenced):
			w.stopDog(i)
			i--
		case err == nil && w.head() == before+d.own: // nobody spoke meanwhile
			w.watched(d)
		}
	}
	w.speaking = false
}

// watched holds the alerts against the model, after a tick that went through.
func (w *world) watched(d *dog) {
	w.model.read(w)
	for _, batch := range w.batches {
		for _, wrong := range w.model.books[batch].watched(w.clock.Now()) {
			w.find("%s: batch %s: %s", d.name, batch, wrong)
		}
	}
}

// A door is a watchdog's way to the log: reads fail, and others get in first.
type door struct {
	ledger.Log
	world *world
	dog   *dog
}

// Head implements [ledger.Reader].
func (d *door) Head(ctx context.Context) (ledger.Seq, error) {
	if d.fails() {
		return 0, errBlind
	}
	return d.Log.Head(ctx)
}

// Read implements [ledger.Reader]. It ends early when it fails.
func (d *door) Read(ctx context.Context, first, last ledger.Seq) iter.Seq2[ledger.Record, error] {
	if !d.fails() {
		return d.Log.Read(ctx, first, last)
	}
	return func(yield func(ledger.Record, error) bool) {
		for r, err := range d.Log.Read(ctx, first, first+(last-first)/2) {
			if !yield(r, err) {
				return
			}
		}
		yield(ledger.Record{}, errBlind)
	}
}

func (d *door) fails() bool {
	if d.world.blind == 0 || d.world.chance(2) {
		return false
	}
	d.world.blind--
	return true
}

// Decide implements [ledger.Log].
func (d *door) Decide(ctx context.Context, head ledger.Seq, decision ...ledger.Record) (ledger.Receipt, error) {
	w := d.world
	if w.speaking && w.chance(2) {
		w.gateways[w.random.IntN(len(w.gateways))].pass(0)
	}
	for _, r := range decision {
		w.remember(r)
	}
	receipt, err := d.Log.Decide(ctx, head, decision...)
	if err == nil && !receipt.Duplicate {
		d.dog.own++
	}
	w.tell("  %s says %s on %d: %s", d.dog.name, decision[0].Subject, head, outcome(receipt, err))
	return receipt, err
}
