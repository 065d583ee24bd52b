package producers

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"todoke/ledger"
	"todoke/testenv"
)

const ward = ledger.Party("municipality:131229")

// outboxConfig returns what an outbox of the ward's is opened with.
func outboxConfig(dir string) OutboxConfig {
	return OutboxConfig{
		File: filepath.Join(dir, "outbox"), Party: ward, Ledger: ledger.LedgerID{1},
		Now: testenv.NewClock().Now, Rand: rand.NewChaCha8([32]byte{7}),
	}
}

func openOutbox(t testing.TB, c OutboxConfig) *Outbox {
	t.Helper()
	o, err := OpenOutbox(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeOutbox(t, o) })
	return o
}

// closeOutbox closes without waiting for anything.
func closeOutbox(t testing.TB, o *Outbox) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := o.Close(ctx); err != nil {
		t.Error(err)
	}
}

// claimOf returns the ward's claim for the n-th batch of the day.
func claimOf(t testing.TB, n int, slip string) ledger.Record {
	t.Helper()
	return testenv.Claim(t, ledger.LedgerID{1}, fmt.Sprintf("131229-20151005-%04d", n), slip, ledger.AllItems(551))
}

func keep(t testing.TB, o *Outbox, r ledger.Record) Entry {
	t.Helper()
	e, err := o.Keep(r)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func entriesOf(t testing.TB, o *Outbox) (entries []Entry) {
	t.Helper()
	for e, err := range o.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	return entries
}

func newLog(t testing.TB) *testenv.Log {
	return testenv.NewLog(testenv.Config{T: t, ID: ledger.LedgerID{1}})
}

// again returns the event of claimOf as a second call makes it: with another
// salt, and so with another signature.
func again(t testing.TB, n int, slip string) ledger.Record {
	t.Helper()
	r := claimOf(t, n, slip)
	e, err := ledger.Admit(ledger.LedgerID{1}, r)
	if err != nil {
		t.Fatal(err)
	}
	return testenv.Sign(t, ledger.LedgerID{1}, ledger.Draft{
		Author: e.Author, Subject: e.Subject, DocumentKey: slip, Body: e.Content, Salt: [16]byte{9},
	})
}

func TestKeep(t *testing.T) {
	first := claimOf(t, 1, "slip")
	other := testenv.Claim(t, ledger.LedgerID{1}, "131229-20151005-0001", "slip", ledger.AllItems(550))
	spoiled := claimOf(t, 1, "slip-2")
	spoiled.Body = append(bytes.Clone(spoiled.Body), 0)
	for name, c := range map[string]struct {
		give ledger.Record
		want error
	}{
		"an event that is new":               {claimOf(t, 1, "slip-2"), nil},
		"the same event again":               {first, nil},
		"the same event with another salt":   {again(t, 1, "slip"), nil},
		"the same id with another body":      {other, ledger.ErrIDReused},
		"another author":                     {testenv.Acknowledgement(t, ledger.LedgerID{1}, "131229-20151005-0001", "slip", ledger.AllItems(5)), ledger.ErrOtherParty},
		"an event signed for another ledger": {testenv.Claim(t, ledger.LedgerID{2}, "131229-20151005-0001", "slip-3", ledger.AllItems(5)), ledger.ErrSignature},
		"bytes that are no event":            {spoiled, ledger.ErrMalformed},
		"nothing":                            {ledger.Record{}, ledger.ErrRefused},
	} {
		t.Run(name, func(t *testing.T) {
			c2 := outboxConfig(t.TempDir())
			o := openOutbox(t, c2)
			want := keep(t, o, first)
			before := o.Counts()
			e, err := o.Keep(c.give)
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if err != nil && o.Counts() != before {
				t.Errorf("it holds %+v, and %+v before", o.Counts(), before)
			}
			if err == nil && e.ID == want.ID && !reflect.DeepEqual(e, want) {
				t.Errorf("the entry is\n%+v, and was\n%+v", e, want)
			}
			entries := entriesOf(t, o)
			closeOutbox(t, o)
			if again := entriesOf(t, openOutbox(t, c2)); !reflect.DeepEqual(again, entries) {
				t.Errorf("opened again it holds\n%+v, and held\n%+v", again, entries)
			}
		})
	}
}

func TestEntrySaysWhatWasKept(t *testing.T) {
	o := openOutbox(t, outboxConfig(t.TempDir()))
	r := claimOf(t, 1, "slip")
	id, _ := ledger.ParseID(r.Header.Get(ledger.HeaderID))
	want := Entry{ID: id, Record: claimOf(t, 1, "slip"), Kept: testenv.Start, State: KeptHere, number: 1}
	if e := keep(t, o, r); !reflect.DeepEqual(e, want) {
		t.Errorf("kept\n%+v, want\n%+v", e, want)
	}
	r.Body[0], r.Header[ledger.HeaderSalt][0] = 0, "" // which is the caller's
	if e, there, err := o.Entry(id); !there || err != nil || !reflect.DeepEqual(e, want) {
		t.Errorf("there: %v\n%+v, %v, want\n%+v", there, e, err, want)
	}
	if e, there, err := o.Entry(ledger.ID{}); there || err != nil {
		t.Errorf("for an id that is not there: %v, %+v, %v", there, e, err)
	}
	if _, err := os.Stat(o.config.File); err != nil {
		t.Error(err)
	}
}

func TestFileIsForItsOwnerAlone(t *testing.T) {
	c := outboxConfig(filepath.Join(t.TempDir(), "a", "b"))
	openOutbox(t, c)
	for path, want := range map[string]os.FileMode{c.File: 0o600, filepath.Dir(c.File): 0o700 | os.ModeDir} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
	if names, _ := os.ReadDir(filepath.Dir(c.File)); len(names) != 1 {
		t.Errorf("beside the outbox there are %v", names)
	}
}

func TestOutboxIsBounded(t *testing.T) {
	c := outboxConfig(t.TempDir())
	size := int64(sizeOf(claimOf(t, 1, "slip-0")))
	c.MaxBytes = 3*size + size/2
	o := openOutbox(t, c)
	for i := range 3 {
		keep(t, o, claimOf(t, 1, fmt.Sprintf("slip-%d", i)))
	}
	_, err := o.Keep(claimOf(t, 1, "slip-3"))
	var full *OutboxFullError
	if !errors.Is(err, ErrOutboxFull) || !errors.As(err, &full) || full.Used != 3*size || full.Limit != c.MaxBytes {
		t.Errorf("error %v (%+v), want %d of %d bytes used", err, full, 3*size, c.MaxBytes)
	}
	if got := o.Counts(); got != (Counts{KeptHere: 3, Bytes: 3 * size}) {
		t.Errorf("it holds %+v", got)
	}
	keep(t, o, claimOf(t, 1, "slip-2")) // which takes no room
}

func TestOpenOutboxRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		before func(t *testing.T, c *OutboxConfig)
		want   error
	}{
		"another party":                           {func(t *testing.T, c *OutboxConfig) { c.Party = "relay:2" }, ledger.ErrOtherParty},
		"another ledger":                          {func(t *testing.T, c *OutboxConfig) { c.Ledger = ledger.LedgerID{2} }, ledger.ErrOtherLedger},
		"a newer format":                          {func(t *testing.T, c *OutboxConfig) { changeState(t, c.File, newer) }, ledger.ErrNewer},
		"a file in use":                           {func(t *testing.T, c *OutboxConfig) { openOutbox(t, *c) }, ledger.ErrLocked},
		"an empty file":                           {func(t *testing.T, c *OutboxConfig) { writeFile(t, c.File, nil) }, ErrDamaged},
		"a short file":                            {func(t *testing.T, c *OutboxConfig) { writeFile(t, c.File, []byte("outbox")) }, ErrDamaged},
		"a file of something else":                {func(t *testing.T, c *OutboxConfig) { writeFile(t, c.File, bytes.Repeat([]byte("abc"), 40000)) }, ErrDamaged},
		"another bbolt database":                  {func(t *testing.T, c *OutboxConfig) { removeBucket(t, c.File, stateBucket) }, ErrDamaged},
		"entries that went missing":               {func(t *testing.T, c *OutboxConfig) { removeEntry(t, c.File, 2) }, ErrDamaged},
		"a state that is no state":                {func(t *testing.T, c *OutboxConfig) { changeState(t, c.File, func([]byte) []byte { return nil }) }, ErrDamaged},
		"a folder":                                {func(t *testing.T, c *OutboxConfig) { c.File = t.TempDir() }, os.ErrInvalid},
		"a file that is not there, and no ledger": {func(t *testing.T, c *OutboxConfig) { c.File, c.Ledger = c.File+"x", ledger.LedgerID{} }, os.ErrInvalid},
		"no file":                                 {func(t *testing.T, c *OutboxConfig) { c.File = "" }, os.ErrInvalid},
		"no party":                                {func(t *testing.T, c *OutboxConfig) { c.Party = "" }, os.ErrInvalid},
		"no clock":                                {func(t *testing.T, c *OutboxConfig) { c.Now = nil }, os.ErrInvalid},
		"no randomness":                           {func(t *testing.T, c *OutboxConfig) { c.Rand = nil }, os.ErrInvalid},
		"a negative bound":                        {func(t *testing.T, c *OutboxConfig) { c.MaxBytes = -1 }, os.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			config := outboxConfig(t.TempDir())
			o := openOutbox(t, config)
			for i := range 3 {
				keep(t, o, claimOf(t, 1, fmt.Sprintf("slip-%d", i)))
			}
			closeOutbox(t, o)
			c.before(t, &config)
			_, err := OpenOutbox(config)
			if err == nil || c.want != os.ErrInvalid && !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
	t.Run("not the ledger that it belongs to already", func(t *testing.T) {
		config := outboxConfig(t.TempDir())
		closeOutbox(t, openOutbox(t, config))
		config.Ledger = ledger.LedgerID{}
		if o := openOutbox(t, config); o.ID() != (ledger.LedgerID{1}) {
			t.Errorf("ledger %s", o.ID())
		}
	})
}

func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// update changes the database behind an outbox's back.
func update(t *testing.T, path string, change func(*bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(change), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func changeState(t *testing.T, path string, change func([]byte) []byte) {
	update(t, path, func(tx *bbolt.Tx) error {
		b, key := tx.Bucket([]byte(stateBucket)), []byte(stateKey)
		return b.Put(key, change(bytes.Clone(b.Get(key))))
	})
}

// newer returns a state as a later version writes it: with a field more.
func newer(state []byte) []byte {
	content := append(state[sha256.Size:], 0xc0)
	content[0], content[1] = content[0]+1, keptFormat+1
	return withSum(stateDomain, nil, content)
}

func removeBucket(t *testing.T, path, name string) {
	update(t, path, func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte(name)) })
}

func removeEntry(t *testing.T, path string, number uint64) {
	update(t, path, func(tx *bbolt.Tx) error { return tx.Bucket([]byte(entryBucket)).Delete(key(number)) })
}

// A hostile log refuses some events, and answers with the errors of a script
// before the log behind it hears of the attempt.
type hostile struct {
	*testenv.Log
	script []error
	refuse map[string]error // by event id
}

func (h *hostile) Append(ctx context.Context, r ledger.Record) (ledger.Receipt, error) {
	if err := h.refuse[r.Header.Get(ledger.HeaderID)]; err != nil {
		return ledger.Receipt{}, err
	}
	if len(h.script) > 0 {
		err := h.script[0]
		if h.script = h.script[1:]; err != nil {
			return ledger.Receipt{}, err
		}
	}
	return h.Log.Append(ctx, r)
}

func TestPassOffersTheFirstOfEachBatchOnce(t *testing.T) {
	o, log := openOutbox(t, outboxConfig(t.TempDir())), newLog(t)
	for i, n := range []int{2, 1, 2, 3, 2, 1} {
		keep(t, o, claimOf(t, n, fmt.Sprint("slip-", i)))
	}
	for _, want := range []struct {
		batches   string
		remaining int
		moved     bool
	}{{"2 1 3", 3, true}, {"2 1 3 2 1", 1, true}, {"2 1 3 2 1 2", 0, true}, {"2 1 3 2 1 2", 0, false}} {
		remaining, moved, err := o.Pass(t.Context(), log)
		if err != nil {
			t.Fatal(err)
		}
		if got := batchesIn(t, log); got != want.batches || remaining != want.remaining || moved != want.moved {
			t.Errorf("the ledger holds batches %s, %d remain, moved %v; want %+v", got, remaining, moved, want)
		}
	}
	checkDelivered(t, o, log)
}

// batchesIn returns the numbers of the batches in the order of their events.
func batchesIn(t *testing.T, log *testenv.Log) string {
	t.Helper()
	var numbers []string
	for _, r := range recordsOf(t, log) {
		s, _ := ledger.ParseSubject(r.Subject)
		numbers = append(numbers, strings.TrimLeft(s.Aggregate[len(s.Aggregate)-4:], "0"))
	}
	return strings.Join(numbers, " ")
}

func recordsOf(t testing.TB, log *testenv.Log) (records []ledger.Record) {
	t.Helper()
	head, err := log.Head(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for r, err := range log.Read(context.Background(), 1, head) {
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	return records
}

// checkDelivered holds an outbox against the ledger that it delivered to: each
// entry that it says is there is there, once, in its own bytes and at its
// receipt; no other is; and the order within a batch is that of keeping.
func checkDelivered(t testing.TB, o *Outbox, log *testenv.Log) {
	t.Helper()
	stored := make(map[string]ledger.Record)
	for _, r := range recordsOf(t, log) {
		id := r.Header.Get(ledger.HeaderID)
		if _, twice := stored[id]; twice {
			t.Errorf("event %s is there twice", id)
		}
		stored[id] = r
	}
	last := make(map[string]ledger.Seq)
	for _, e := range entriesOf(t, o) {
		r, there := stored[e.ID.String()]
		if delete(stored, e.ID.String()); there != (e.State == InLedger) {
			t.Errorf("event %s is %s, and in the ledger: %v", e.ID, e.State, there)
		}
		if e.State != InLedger {
			continue
		}
		at := r.Header.Get(ledger.HeaderTime)
		if e.Receipt.Seq != r.Seq || e.Receipt.ID != e.ID || e.Receipt.Incarnation != 1 || e.Receipt.Ledger != o.ID() || e.Receipt.Time.Format(ledger.TimeFormat) != at {
			t.Errorf("event %s is at %d since %s, its receipt says %+v", e.ID, r.Seq, at, e.Receipt)
		}
		sent := ledger.Record{Subject: r.Subject, Header: maps.Clone(r.Header), Body: r.Body}
		delete(sent.Header, ledger.HeaderTime)
		if !reflect.DeepEqual(sent, e.Record) {
			t.Errorf("event %s is in the ledger as\n%+v, and was kept as\n%+v", e.ID, sent, e.Record)
		}
		if key := laneOf(r); e.Receipt.Seq < last[key] {
			t.Errorf("event %s of %s was kept later and stands before %d", e.ID, key, last[key])
		} else {
			last[key] = e.Receipt.Seq
		}
	}
	if len(stored) > 0 {
		t.Errorf("the ledger has events that were never kept: %v", stored)
	}
	testenv.CheckLedger(t, log)
}

func TestPassTriesAgain(t *testing.T) {
	for name, c := range map[string]struct {
		arm    testenv.Fault
		script error
		there  bool // when it is asked again
	}{
		"not written, unknown":       {arm: testenv.NotWritten},
		"written, unknown":           {arm: testenv.Written, there: true},
		"written late, unknown":      {arm: testenv.Late, there: true},
		"unavailable":                {arm: testenv.Unavailable},
		"fenced":                     {script: ledger.ErrFenced},
		"the ledger's disk is full":  {script: ledger.ErrStorageFull},
		"the ledger's clock is off":  {script: ledger.ErrClock},
		"closing":                    {script: ledger.ErrClosed},
		"an attempt that took long":  {script: context.DeadlineExceeded},
		"an error that nobody knows": {script: errors.New("a surprise")},
	} {
		t.Run(name, func(t *testing.T) {
			o, log := openOutbox(t, outboxConfig(t.TempDir())), &hostile{Log: newLog(t), script: []error{c.script}}
			log.Arm(c.arm)
			for i := range 2 {
				keep(t, o, claimOf(t, 1, fmt.Sprint("slip-", i)))
			}
			if remaining, moved, err := o.Pass(t.Context(), log); remaining != 2 || moved || err != nil {
				t.Errorf("first pass: %d remain, moved %v, %v", remaining, moved, err)
			}
			for want := 1; want >= 0; want-- {
				if remaining, moved, err := o.Pass(t.Context(), log); remaining != want || !moved || err != nil {
					t.Errorf("pass: %d remain, moved %v, %v", remaining, moved, err)
				}
			}
			if first := entriesOf(t, o)[0]; first.Receipt.Duplicate != c.there {
				t.Errorf("receipt %+v", first.Receipt)
			}
			checkDelivered(t, o, log.Log)
		})
	}
}

func TestPassRecordsARefusal(t *testing.T) {
	config := outboxConfig(t.TempDir())
	o, log := openOutbox(t, config), newLog(t)
	e := keep(t, o, claimOf(t, 1, "slip-0"))
	keep(t, o, claimOf(t, 1, "slip-1"))
	refusal := fmt.Errorf("the gate knows no such key: %w", ledger.ErrScope)
	refusing := &hostile{Log: log, refuse: map[string]error{e.ID.String(): refusal}}
	for range 2 {
		if _, _, err := o.Pass(t.Context(), refusing); err != nil {
			t.Fatal(err)
		}
	}
	closeOutbox(t, o)
	o = openOutbox(t, config)
	e, _, err := o.Entry(e.ID)
	if err != nil || e.State != Refused || !errors.Is(e.Refusal, ledger.ErrScope) || e.Refusal.Error() != refusal.Error() {
		t.Errorf("entry %+v, %v", e, err)
	}
	if got := o.Counts(); got.Refused != 1 || got.InLedger != 1 || got.KeptHere != 0 {
		t.Errorf("counts %+v", got)
	}
	if _, err := o.Append(t.Context(), e.Record); !errors.Is(err, ledger.ErrScope) {
		t.Errorf("said again: %v", err)
	}
	checkDelivered(t, o, log)
}

func TestPassBelievesNoReceiptForAnother(t *testing.T) {
	for name, spoil := range map[string]func(*ledger.Receipt){
		"event":    func(r *ledger.Receipt) { r.ID[0]++ },
		"ledger":   func(r *ledger.Receipt) { r.Ledger[0]++ },
		"sequence": func(r *ledger.Receipt) { r.Seq = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			o, log := openOutbox(t, outboxConfig(t.TempDir())), newLog(t)
			keep(t, o, claimOf(t, 1, "slip"))
			if remaining, moved, err := o.Pass(t.Context(), &forger{log, spoil}); remaining != 1 || moved || err != nil {
				t.Errorf("%d remain, moved %v, %v", remaining, moved, err)
			}
			if remaining, _, _ := o.Pass(t.Context(), log); remaining != 0 {
				t.Errorf("%d remain", remaining)
			}
			checkDelivered(t, o, log)
		})
	}
}

// A forger spoils receipts.
type forger struct {
	*testenv.Log
	spoil func(*ledger.Receipt)
}

func (f *forger) Append(ctx context.Context, r ledger.Record) (ledger.Receipt, error) {
	receipt, err := f.Log.Append(ctx, r)
	f.spoil(&receipt)
	return receipt, err
}

func TestDeliveryToAnotherLedgerIsRefused(t *testing.T) {
	o := openOutbox(t, outboxConfig(t.TempDir()))
	keep(t, o, claimOf(t, 1, "slip"))
	other := testenv.NewLog(testenv.Config{T: t, ID: ledger.LedgerID{2}})
	if remaining, _, err := o.Pass(t.Context(), other); !errors.Is(err, ledger.ErrOtherLedger) || remaining != 1 {
		t.Errorf("Pass: %d remain, %v", remaining, err)
	}
	if err := o.Run(t.Context(), other); !errors.Is(err, ledger.ErrOtherLedger) {
		t.Errorf("Run: %v", err)
	}
}

func TestPassStopsWithTheContext(t *testing.T) {
	o, log := openOutbox(t, outboxConfig(t.TempDir())), newLog(t)
	keep(t, o, claimOf(t, 1, "slip"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if remaining, moved, err := o.Pass(ctx, log); remaining != 1 || moved || !errors.Is(err, context.Canceled) {
		t.Errorf("%d remain, moved %v, %v", remaining, moved, err)
	}
	if remaining, _, err := o.Pass(t.Context(), log); remaining != 0 || err != nil {
		t.Errorf("%d remain, %v", remaining, err)
	}
}

func TestStatesHaveTheirWords(t *testing.T) {
	for s, want := range map[State]string{KeptHere: "kept here", InLedger: "in the ledger", Refused: "refused", 9: "state 9"} {
		if s.String() != want {
			t.Errorf("%q, want %q", s, want)
		}
	}
}

func TestClosedOutbox(t *testing.T) {
	o := openOutbox(t, outboxConfig(t.TempDir()))
	e := keep(t, o, claimOf(t, 1, "slip"))
	closeOutbox(t, o)
	if n, err := o.Close(t.Context()); n != 1 || err != nil {
		t.Errorf("closed again: %d, %v", n, err)
	}
	_, keepErr := o.Keep(e.Record)
	_, appendErr := o.Append(t.Context(), e.Record)
	_, _, entryErr := o.Entry(e.ID)
	_, flushErr := o.Flush(t.Context())
	var entriesErr error
	for _, err := range o.Entries() {
		entriesErr = err
	}
	for name, err := range map[string]error{"Keep": keepErr, "Append": appendErr, "Entry": entryErr, "Flush": flushErr, "Entries": entriesErr} {
		if !errors.Is(err, ledger.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := o.Run(t.Context(), newLog(t)); err != nil {
		t.Errorf("Run: %v", err)
	}
}
