package producers

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"todoke/ledger"
	"todoke/testenv"
)

// BenchmarkKeep keeps one event after the other: each is on the disk before the
// next.
func BenchmarkKeep(b *testing.B) {
	o := openOutbox(b, outboxConfig(b.TempDir()))
	records := make([]ledger.Record, b.N)
	for i := range records {
		records[i] = claimOf(b, 1+i%1000, fmt.Sprint("slip-", i))
	}
	b.ResetTimer()
	for _, r := range records {
		keep(b, o, r)
	}
}

// BenchmarkDeliver brings what is kept into a ledger in memory, a thousand
// batches beside each other.
func BenchmarkDeliver(b *testing.B) {
	o := openOutbox(b, outboxConfig(b.TempDir()))
	fill(b, o, b.N, KeptHere)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	b.ResetTimer()
	go func() { _ = o.Run(ctx, newLog(b)) }()
	if n, err := o.Flush(ctx); n != 0 || err != nil {
		b.Fatalf("%d remain, %v", n, err)
	}
}

// BenchmarkOpen opens an outbox of 100,000 entries that are in the ledger, or
// that are all still to be sent.
func BenchmarkOpen(b *testing.B) {
	for _, state := range []State{InLedger, KeptHere} {
		b.Run(fmt.Sprintf("100,000 %s", state), func(b *testing.B) {
			c := outboxConfig(b.TempDir())
			o := openOutbox(b, c)
			fill(b, o, 100_000, state)
			closeOutbox(b, o)
			before := heap()
			for b.Loop() {
				o = openOutbox(b, c)
				b.StopTimer()
				b.ReportMetric(float64(heap()-before), "B-heap")
				closeOutbox(b, o)
				b.StartTimer()
			}
		})
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// fill writes n entries in a state, many in a transaction.
func fill(b *testing.B, o *Outbox, n int, state State) {
	b.Helper()
	for len(o.numbers) < n {
		after := o.tally
		var entries []Entry
		for range min(2000, n-len(o.numbers)) {
			r := claimOf(b, 1+int(after.next)%1000, fmt.Sprint("slip-", after.next))
			e := Entry{Record: r, Kept: testenv.Start, State: state, number: after.next}
			e.ID, _ = ledger.ParseID(r.Header.Get(ledger.HeaderID))
			if state == InLedger {
				e.Receipt = ledger.Receipt{Ledger: o.id, Incarnation: 1, Seq: ledger.Seq(e.number), Time: testenv.Start, ID: e.ID}
			}
			after.next++
			*after.of(state)++
			after.bytes += sizeOf(r)
			entries = append(entries, e)
		}
		if err := o.file.write(after, entries, nil); err != nil {
			b.Fatal(err)
		}
		o.tally = after
		for _, e := range entries {
			o.load(e)
		}
	}
}
