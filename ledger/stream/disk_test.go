package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"todoke/ledger"
	"todoke/ledger/rule"
	"todoke/testenv"
	"todoke/testenv/fault"
)

// onDisk is a ledger on a small disk of its own.
type onDisk struct {
	*testing.T
	disk   *fault.Disk
	cfg    Config
	ledger *Ledger
}

func newOnDisk(t *testing.T) *onDisk {
	t.Helper()
	disk := fault.NewDisk(t, 24<<20)
	d := &onDisk{T: t, disk: disk, cfg: Config{
		Dir: filepath.Join(disk.Dir(), "data"), Now: testenv.NewClock().Now, Rand: rand.Reader, Party: "operator:local", Key: testenv.Key(t, "operator:local"),
		Opening: Opening{Pack: rule.Default().Text()},
	}}
	d.open()
	t.Cleanup(func() { d.ledger.Close() })
	return d
}

func (d *onDisk) open() {
	d.Helper()
	l, err := Open(d.Context(), d.cfg)
	if err != nil {
		d.Fatal(err)
	}
	d.ledger = l
	l.committer.reader.patience = 300 * time.Millisecond
}

func (d *onDisk) claim(slip string) ledger.Record {
	d.Helper()
	return testenv.Claim(d, d.ledger.ID(), batch, slip, ledger.Items{{First: 1, Last: 551}})
}

func (d *onDisk) append(slip string) (ledger.Receipt, error) {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), 2*time.Second)
	defer cancel()
	return d.ledger.Append(ctx, d.claim(slip))
}

// decision is one of 60 events, of which each is large.
func (d *onDisk) decision() (records []ledger.Record) {
	d.Helper()
	var evidence []ledger.Seq
	for i := range ledger.Seq(4000) {
		evidence = append(evidence, 1<<40+i)
	}
	for i := range 60 {
		records = append(records, testenv.Sign(d, d.ledger.ID(), ledger.Draft{
			Author: "watchdog", DocumentKey: fmt.Sprint("alert ", i),
			Subject: ledger.Subject{Municipality: batch[:6], Aggregate: batch, Kind: ledger.AlertRaised},
			Body:    ledger.Body{Hop: "upload", Side: ledger.AcknowledgementSide, Due: testenv.Start, Cause: ledger.Absence, Evidence: evidence},
		}))
	}
	return records
}

func TestFullDiskIsAnOutcome(t *testing.T) {
	d := newOnDisk(t)
	if _, err := d.append("before"); err != nil {
		t.Fatal(err)
	}
	d.disk.Fill(900 << 10)
	for range 2 {
		if _, err := d.append("while it is full"); !errors.Is(err, ledger.ErrStorageFull) || !errors.Is(err, ledger.ErrUnavailable) {
			t.Fatalf("error is %v, want ErrStorageFull", err)
		}
	}
	if again, err := d.append("before"); err != nil || !again.Duplicate {
		t.Errorf("what is there already: %+v, %v", again, err)
	}
	testenv.CheckLedger(t, d.ledger)
	d.disk.Free()
	if receipt, err := d.append("while it is full"); err != nil || receipt.Duplicate {
		t.Errorf("with room again: %+v, %v", receipt, err)
	}
	testenv.CheckLedger(t, d.ledger)
}

// TestDiskFillsInTheMomentBetween lets the committer believe that there is room, so
// that the broker itself meets the end of the disk.
func TestDiskFillsInTheMomentBetween(t *testing.T) {
	for name, write := range map[string]func(*onDisk) (ledger.Receipt, error){
		"a single": func(d *onDisk) (ledger.Receipt, error) { return d.append("slip") },
		"a decision of many events": func(d *onDisk) (ledger.Receipt, error) {
			ctx, cancel := context.WithTimeout(d.Context(), 2*time.Second)
			defer cancel()
			return d.ledger.Decide(ctx, 3, d.decision()...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newOnDisk(t)
			if _, err := d.append("before"); err != nil {
				t.Fatal(err)
			}
			d.ledger.disk.free = func(string) (uint64, error) { return 1 << 40, nil }
			d.disk.Fill(300 << 10)
			_, err := write(d)
			for i := 0; err == nil && i < 1000; i++ {
				_, err = d.append(fmt.Sprint("fills ", i))
			}
			if !errors.Is(err, ledger.ErrUnknown) && !errors.Is(err, ledger.ErrUnavailable) {
				t.Fatalf("error is %v, want one that lets it be sent again", err)
			}
			if _, err := d.ledger.Head(t.Context()); err != nil {
				t.Errorf("ask for the head of a full ledger: %v", err)
			}
			d.disk.Free()
			for range 20 {
				if _, err = write(d); err == nil {
					break
				}
			}
			if err != nil {
				t.Fatalf("with room again: %v", err)
			}
			testenv.CheckLedger(t, d.ledger)
			head, _ := d.ledger.head()
			if err := d.ledger.Close(); err != nil {
				t.Fatal(err)
			}
			d.open()
			testenv.CheckLedger(t, d.ledger)
			if again, _ := d.ledger.head(); again != head {
				t.Errorf("the ledger came back at %d, it was at %d", again, head)
			}
		})
	}
}

// TestUnfinishedBatchWantsRoom: a broker that opens a store with an unfinished batch
// on a full disk forgets the rest of it.
func TestUnfinishedBatchWantsRoom(t *testing.T) {
	d := newOnDisk(t)
	if err := d.ledger.Close(); err != nil {
		t.Fatal(err)
	}
	staged := filepath.Join(d.cfg.Dir, "jetstream", "$G", "streams", Name, "batches", "x", "msgs")
	if err := errors.Join(os.MkdirAll(staged, 0o700), os.WriteFile(filepath.Join(staged, "1.blk"), make([]byte, 4<<20), 0o600)); err != nil {
		t.Fatal(err)
	}
	d.disk.Fill(2 << 20)
	if _, err := Open(t.Context(), d.cfg); !errors.Is(err, ledger.ErrStorageFull) {
		t.Fatalf("open: error is %v, want ErrStorageFull", err)
	}
	d.disk.Free()
	d.open()
	testenv.CheckLedger(t, d.ledger)
}

// TestStreamThatWentBackIsDamage deletes the stream and makes it again, between two
// looks at its configuration.
func TestStreamThatWentBackIsDamage(t *testing.T) {
	l := newLedger(t)
	for i := range 5 {
		if _, err := l.Append(t.Context(), testenv.Claim(t, l.ID(), batch, fmt.Sprint("stored ", i), ledger.AllItems(9))); err != nil {
			t.Fatal(err)
		}
	}
	js, err := jetstream.New(l.inside)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), Name); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), l.required(l.id)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []error{ledger.ErrUnknown, ledger.ErrGap} {
		if _, err := l.Append(t.Context(), testenv.Claim(t, l.ID(), batch, "after", ledger.AllItems(9))); !errors.Is(err, want) {
			t.Errorf("append: error is %v, want %v", err, want)
		}
	}
	if err := l.Run(t.Context()); !errors.Is(err, ledger.ErrGap) {
		t.Errorf("run: error is %v, want ErrGap", err)
	}
}

// TestNothingIsSentBehindADiskInDoubt: the rest of a group waits until it is known
// what became of the first.
func TestNothingIsSentBehindADiskInDoubt(t *testing.T) {
	l := newLedger(t)
	e, err := ledger.Admit(l.ID(), testenv.Claim(t, l.ID(), batch, "slip", ledger.AllItems(9)))
	if err != nil {
		t.Fatal(err)
	}
	c := l.committer
	before, _ := c.head()
	waits := &request{events: []ledger.Event{e}, answer: make(chan answer, 1)}
	c.sick = true
	c.store([]*request{waits})
	if err := (<-waits.answer).err; !errors.Is(err, ledger.ErrStorageFull) {
		t.Errorf("error is %v, want ErrStorageFull", err)
	}
	if head, err := l.Reader.Head(t.Context()); err != nil || head != before {
		t.Errorf("head is %d, %v; it was %d", head, err, before)
	}
}

// TestDiskErrorsAreToldApart feeds the broker's log an error of the disk
// that is not that it is full.
func TestDiskErrorsAreToldApart(t *testing.T) {
	for number, full := range map[syscall.Errno]bool{syscall.ENOSPC: true, syscall.EDQUOT: true, syscall.EIO: false, syscall.EROFS: false} {
		var said brokerLog
		said.Errorf("write of %s: %v", "1.blk", &os.PathError{Op: "write", Path: "1.blk", Err: number})
		said.Errorf("and %d more", 3)
		if said.wasFull() != full {
			t.Errorf("%v: taken for a full disk: %v", number, said.wasFull())
		}
	}
}
