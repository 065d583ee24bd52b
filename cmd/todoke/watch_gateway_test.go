package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"todoke/ledger"
	"todoke/producers"
	"todoke/producers/intake"
	"todoke/testenv"
)

// TestGatewayWhoseOutboxIsDamagedSaysSo damages an entry before it is sent:
// delivering ends, nobody waits for what will not come, and the end says why.
func TestGatewayWhoseOutboxIsDamagedSaysSo(t *testing.T) {
	a := &app{commands: &commands{Data: t.TempDir(), Party: "municipality:131229"}, ctx: t.Context()}
	dir := filepath.Join(a.Data, "gateway")
	taken, err := intake.Open(intake.Config{Dir: dir, Municipality: "131229", Now: time.Now, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	log := testenv.NewLog(testenv.Config{T: t, ID: ledger.LedgerID{1}})
	g, err := a.openGateway(taken, dir, &source{Reader: log, Appender: log, close: func() {}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	record, err := g.reporter.Record(producers.Report{Kind: ledger.UploadCompleted, Batch: "131229-20151005-0001", Count: 5,
		Root: ledger.Root{9}, Slip: "slip", Document: ledger.Document{Kind: "file", Digest: [32]byte{1}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.outbox.Keep(record); err != nil {
		t.Fatal(err)
	}
	spoil(t, filepath.Join(dir, outboxName), record.Body)
	g.deliver()
	if left := g.flush(t.Context(), time.Hour); left != 1 || !g.over() {
		t.Errorf("%d are kept here, over: %v", left, g.over())
	}
	if err := g.guard(t.Context()); err != nil {
		t.Errorf("guard: %v; close says it", err)
	}
	if err := g.close(time.Hour); !errors.Is(err, producers.ErrDamaged) {
		t.Errorf("close: %v, want ErrDamaged", err)
	}
}

// spoil changes the last byte of every place where a file holds what.
func spoil(t *testing.T, name string, what []byte) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	places := 0
	for i := bytes.Index(text, what); i >= 0; i = bytes.Index(text, what) {
		last := i + len(what) - 1
		text[last]++
		if _, err := f.WriteAt(text[last:last+1], int64(last)); err != nil {
			t.Fatal(err)
		}
		places++
	}
	if places == 0 {
		t.Fatal("the file does not hold it")
	}
}
