package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os/exec"
	"sync"
	"testing"
	"time"

	"todoke/ledger"
	"todoke/ledger/stream"
	"todoke/producers"
	"todoke/projections"
	"todoke/testenv"
)

// kills is how often the server is killed.
const kills = 20

// A crowd is parties that go on reporting while the server under them is
// killed, and remember every receipt.
type crowd struct {
	*testing.T
	data string

	mu       sync.Mutex
	receipts []ledger.Receipt
	unknown  [4][]producers.Report // said by each, and nobody knows
	next     int
}

// TestEveryReceiptSurvivesKilling kills a serving todoke with signal 9 at
// seeded moments under load. Every receipt that anybody got is in replay at its
// place, nothing is there twice, and batches says what a fold of replay says.
func TestEveryReceiptSurvivesKilling(t *testing.T) {
	c := &crowd{T: t, data: t.TempDir()}
	random := mathrand.New(mathrand.NewPCG(2015, 10))
	for round := range kills {
		server, receipts := c.serve(), len(c.receipts)
		ctx, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for party := range len(c.unknown) {
			all.Go(func() { c.talk(ctx, party) })
		}
		c.await(receipts + 1 + random.IntN(300))
		if err := server.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = server.Wait()
		stop()
		all.Wait()
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
	t.Logf("%d receipts", len(c.receipts))
	c.check()
}

// await waits until there are so many receipts.
func (c *crowd) await(n int) {
	for have := 0; have < n; time.Sleep(time.Millisecond) {
		c.mu.Lock()
		have = len(c.receipts)
		c.mu.Unlock()
		if c.Failed() || c.Context().Err() != nil {
			return
		}
	}
}

// serve starts a server and waits until its endpoint answers.
func (c *crowd) serve() *exec.Cmd {
	c.Helper()
	server := exec.Command("todoke", "--data", c.data, "serve")
	var log bytes.Buffer
	server.Stderr = &log
	if err := server.Start(); err != nil {
		c.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if e, err := stream.ReadEndpoint(c.data); err == nil && e.PID == server.Process.Pid {
			return server
		}
	}
	_ = server.Process.Kill()
	_ = server.Wait()
	c.Fatalf("server does not answer:\n%s", log.String())
	return nil
}

// talk reports as one relay until ctx is done, one batch after the other.
// What stayed unknown in an earlier round is said again, with the same slip.
func (c *crowd) talk(ctx context.Context, n int) {
	e, err := stream.ReadEndpoint(c.data)
	if err != nil {
		return // killed already
	}
	client, err := producers.Dial(ctx, e.URL)
	if err != nil {
		return
	}
	defer client.Close()
	party := ledger.Party(fmt.Sprintf("relay:%d", n))
	reporter, err := producers.New(producers.Config{Log: client, Party: party, Key: testenv.Key(c, string(party)), Now: time.Now, Rand: rand.Reader})
	if err != nil {
		c.Error(err)
		return
	}
	for ctx.Err() == nil {
		r := c.take(n)
		receipt, err := reporter.Report(ctx, r)
		c.mu.Lock()
		switch {
		case err == nil:
			c.receipts = append(c.receipts, receipt)
		case errors.Is(err, ledger.ErrRefused):
			c.Errorf("refused: %v", err)
		default:
			c.unknown[n] = append(c.unknown[n], r)
		}
		c.mu.Unlock()
	}
}

// take returns something to say: what is unknown first. The slip makes saying it
// again the same event.
func (c *crowd) take(n int) producers.Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	if again := c.unknown[n]; len(again) > 0 {
		c.unknown[n] = again[1:]
		return again[0]
	}
	c.next++
	return producers.Report{Kind: ledger.ImportCompleted, Batch: fmt.Sprintf("131229-20151005-%04d", 1+c.next%500),
		Items: ledger.Items{{First: 1, Last: uint32(1 + c.next)}}, Slip: fmt.Sprint("slip ", c.next)}
}

// check holds replay and batches against the receipts.
func (c *crowd) check() {
	var custody projections.Custody
	at := make(map[ledger.ID]ledger.Seq)
	for line := range c.lines("replay", "--json") {
		var row projections.EventRow
		if err := json.Unmarshal(line, &row); err != nil {
			c.Fatalf("%v in %s", err, line)
		}
		e, err := ledger.Decode(row.Record())
		if err != nil {
			c.Fatalf("event %d: %v", row.Seq, err)
		}
		if first, twice := at[e.ID()]; twice {
			c.Errorf("event %s is at %d and at %d", e.ID(), first, row.Seq)
		}
		at[e.ID()] = row.Seq
		custody.Apply(&e, nil)
	}
	for _, r := range c.receipts {
		if at[r.ID] != r.Seq {
			c.Errorf("receipt says %s is at %d, replay says %d", r.ID, r.Seq, at[r.ID])
		}
	}
	want := custody.Rows(time.Now())
	n := 0
	for line := range c.lines("batches", "--json") {
		expected, err := json.Marshal(want[n])
		if err != nil {
			c.Fatal(err)
		}
		if string(line) != string(expected) {
			c.Errorf("batches says\n%s\na fold of replay says\n%s", line, expected)
		}
		n++
	}
	if n != len(want) || n == 0 {
		c.Errorf("batches lists %d, a fold of replay %d", n, len(want))
	}
}

// lines yields what a command prints.
func (c *crowd) lines(args ...string) func(yield func([]byte) bool) {
	c.Helper()
	out, err := exec.Command("todoke", append([]string{"--data", c.data}, args...)...).Output()
	if err != nil {
		c.Fatalf("%v: %v", args, err)
	}
	return func(yield func([]byte) bool) {
		lines := bufio.NewScanner(bytes.NewReader(out))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if !yield(lines.Bytes()) {
				return
			}
		}
	}
}
