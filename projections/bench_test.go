package projections_test

import (
	"fmt"
	"testing"
	"time"

	"todoke/ledger"
	"todoke/projections"
	"todoke/testenv"
)

// BenchmarkFold applies the twelve events of an ordinary batch, batch after
// batch, and judges every batch at the end: what a rebuild does beside reading
// and decoding.
func BenchmarkFold(b *testing.B) {
	const batches = 9_999
	var records []ledger.Record
	for n := range batches {
		records = append(records, ordinary(b, fmt.Sprintf("131229-20151005-%04d", n+1), ledger.Seq(len(records)))...)
	}
	b.ReportAllocs()
	for b.Loop() {
		var custody projections.Custody
		for i := range records {
			e, err := ledger.Decode(records[i])
			custody.Apply(&e, err)
		}
		if rows := custody.Rows(testenv.Start); len(rows) != batches || rows[0].Missing != 551 {
			b.Fatalf("%d rows, first %+v", len(rows), rows[0])
		}
	}
	b.ReportMetric(float64(len(records)*b.N)/b.Elapsed().Seconds(), "events/s")
}

// ordinary returns the stored records of a batch.
func ordinary(tb testing.TB, batch string, at ledger.Seq) []ledger.Record {
	items := ledger.AllItems(551)
	records := []ledger.Record{
		testenv.Claim(tb, ledger.LedgerID{}, batch, "1", items),
		testenv.Acknowledgement(tb, ledger.LedgerID{}, batch, "2", items),
	}
	for i := range records {
		records[i].Seq = at + ledger.Seq(i) + 1
		records[i].Header[ledger.HeaderTime] = []string{testenv.Start.Add(time.Duration(i) * time.Second).Format(ledger.TimeFormat)}
	}
	return records
}
