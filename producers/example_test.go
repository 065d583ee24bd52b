package producers_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"todoke/ledger"
	"todoke/producers"
)

// memory stands for a ledger here: a client of a running one is used in the
// same way.
type memory map[string]ledger.Receipt

func (m memory) ID() ledger.LedgerID { return ledger.LedgerID{1} }

func (m memory) Append(_ context.Context, r ledger.Record) (ledger.Receipt, error) {
	id := r.Header.Get(ledger.HeaderID)
	receipt, there := m[id]
	if !there {
		receipt = ledger.Receipt{Ledger: m.ID(), Seq: ledger.Seq(len(m) + 1)}
		receipt.ID, _ = ledger.ParseID(id)
		m[id] = receipt
	}
	receipt.Duplicate = there
	return receipt, nil
}

// A relay says that it has imported a batch. It gives the number of its own
// import slip, so that saying it again, after a crash for instance, is the
// same event and not a second one.
func Example() {
	keys, err := os.MkdirTemp("", "keys")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(keys)

	party := ledger.Party("relay:2")
	key, err := producers.LocalKey(keys, party, rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	reporter, err := producers.New(producers.Config{
		Log: memory{}, Party: party, Key: key, Now: time.Now, Rand: rand.Reader,
	})
	if err != nil {
		log.Fatal(err)
	}
	for range 2 {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		receipt, err := reporter.Report(ctx, producers.Report{
			Kind:  ledger.ImportCompleted,
			Batch: "131229-20151005-0042",
			Count: 5228,
			Slip:  "import-2015-000117",
		})
		cancel()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("in the ledger at %d, there before: %v\n", receipt.Seq, receipt.Duplicate)
	}
	// Output:
	// in the ledger at 1, there before: false
	// in the ledger at 1, there before: true
}

// A relay keeps its reports in an outbox, whether or not the ledger is there.
// Beside its work, Run delivers them when it is.
func ExampleOutbox() {
	dir, err := os.MkdirTemp("", "outbox")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	ctx, party, far := context.Background(), ledger.Party("relay:2"), memory{}
	key, err := producers.LocalKey(dir, party, rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	outbox, err := producers.OpenOutbox(producers.OutboxConfig{
		File: filepath.Join(dir, "outbox"), Party: party, Ledger: far.ID(), Now: time.Now, Rand: rand.Reader,
	})
	if err != nil {
		log.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- outbox.Run(ctx, far) }() // delivers until the outbox is closed

	reporter, err := producers.New(producers.Config{Log: outbox, Party: party, Key: key, Now: time.Now, Rand: rand.Reader})
	if err != nil {
		log.Fatal(err)
	}
	record, err := reporter.Record(producers.Report{
		Kind: ledger.ImportCompleted, Batch: "131229-20151005-0042", Count: 5228, Slip: "import-2015-000117",
	})
	if err != nil {
		log.Fatal(err)
	}
	entry, err := outbox.Keep(record) // on this machine's disk; the ledger may be away
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(entry.State)

	if _, err := outbox.Flush(ctx); err != nil { // only to see what becomes of it
		log.Fatal(err)
	}
	entry, _, err = outbox.Entry(entry.ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(entry.State, "at", entry.Receipt.Seq)

	remaining, err := outbox.Close(ctx) // what remains is sent after the next start
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(remaining, "remain")
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
	// Output:
	// kept here
	// in the ledger at 1
	// 0 remain
}
