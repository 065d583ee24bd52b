package watchdog

import (
	"container/heap"
	"time"

	"todoke/ledger"
)

// timers hold, for each batch, the earliest due time ahead of it: one timer a
// batch, however many obligations it has.
type timers struct {
	heap  timerHeap
	index map[*ledger.Batch]*timer
}

// A timer is one entry of the heap.
type timer struct {
	due   int64 // nanoseconds since 1970
	place int   // in the heap
	batch *ledger.Batch
}

func newTimers() timers { return timers{index: make(map[*ledger.Batch]*timer)} }

// set makes the timer of b that of the next obligation of j, or removes it.
func (t *timers) set(b *ledger.Batch, j *ledger.Judgement, now time.Time) {
	next, some := j.Next(now)
	have := t.index[b]
	switch {
	case !some && have != nil:
		heap.Remove(&t.heap, have.place)
		delete(t.index, b)
	case !some:
	case have != nil:
		have.due = next.UnixNano()
		heap.Fix(&t.heap, have.place)
	default:
		have = &timer{due: next.UnixNano(), batch: b}
		t.index[b] = have
		heap.Push(&t.heap, have)
	}
}

// expired removes and returns a batch whose due time lies before now, nil when
// there is none. A word at the due time itself is in time, so that moment has
// to be over.
func (t *timers) expired(now time.Time) *ledger.Batch {
	if len(t.heap) == 0 || t.heap[0].due >= now.UnixNano() {
		return nil
	}
	first := heap.Pop(&t.heap).(*timer)
	delete(t.index, first.batch)
	return first.batch
}

// next returns the earliest due time, and false when there is no timer.
func (t *timers) next() (time.Time, bool) {
	if len(t.heap) == 0 {
		return time.Time{}, false
	}
	return time.Unix(0, t.heap[0].due).UTC(), true
}

// timerHeap is a container/heap.
type timerHeap []*timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, k int) bool { return h[i].due < h[k].due }
func (h timerHeap) Swap(i, k int) {
	h[i], h[k] = h[k], h[i]
	h[i].place, h[k].place = i, k
}
func (h *timerHeap) Push(x any) {
	e := x.(*timer)
	e.place = len(*h)
	*h = append(*h, e)
}
func (h *timerHeap) Pop() any {
	last := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = nil
	*h = (*h)[:len(*h)-1]
	return last
}
