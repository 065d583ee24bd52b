package intake_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"todoke/producers/intake"
)

// A ward's gateway takes a file, and knows it when it comes again. What
// Manifest.Report returns goes to the ledger through a producers.Reporter; the
// file and the batch key go to the relay on the dedicated line.
func Example() {
	dir, err := os.MkdirTemp("", "gateway")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	gateway, err := intake.Open(intake.Config{
		Dir: dir, Municipality: "131229", Rand: rand.Reader,
		Now: func() time.Time { return time.Date(2015, 10, 5, 0, 0, 0, 0, time.UTC) },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer gateway.Close()

	for range 2 {
		file, err := os.Open("testdata/cp932-crlf.csv")
		if err != nil {
			log.Fatal(err)
		}
		m, err := gateway.Take(context.Background(), file)
		file.Close()
		var refusal *intake.Refusal
		if errors.As(err, &refusal) {
			for _, problem := range refusal.Problems {
				fmt.Println(problem)
			}
			return
		} else if err != nil {
			log.Fatal(err)
		}
		fmt.Println(m.Batch, m.Count, "items", m.Encoding, "known:", m.Known)
		for _, town := range m.Towns {
			fmt.Println(" ", town.Name, town.Items)
		}
	}
	// Output:
	// 131229-20151005-0001 26 items CP932 known: false
	//   白鳥二丁目 1-12
	//   西亀有三丁目 13-24
	//   その他 25-26
	// 131229-20151005-0001 26 items CP932 known: true
	//   白鳥二丁目 1-12
	//   西亀有三丁目 13-24
	//   その他 25-26
}
