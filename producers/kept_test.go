package producers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"todoke/ledger"
	"todoke/testenv"
)

// fullOutbox makes an outbox with entries in every state, some of many pages,
// and with pages that are free, and returns its config and what is in it.
func fullOutbox(t testing.TB) (OutboxConfig, []Entry, Counts) {
	t.Helper()
	c := outboxConfig(t.TempDir())
	c.Sealed = func(_ context.Context, e Entry) (Verdict, error) {
		return []Verdict{Proven, Disproved, NotYet, NotYet}[e.number%4], nil
	}
	o, log := openOutbox(t, c), &hostile{Log: newLog(t), refuse: make(map[string]error)}
	for i := range 60 {
		var items ledger.Items
		for n := range uint32(1 + i%3*i%3*1500) {
			items = append(items, ledger.Range{First: 2*n + 1, Last: 2*n + 1})
		}
		e := keep(t, o, testenv.Claim(t, o.ID(), fmt.Sprintf("131229-20151005-%04d", 1+i%20), fmt.Sprint("slip-", i), items))
		if i%10 == 3 {
			log.refuse[e.ID.String()] = ledger.ErrScope
		}
	}
	for range 2 { // of the three that each batch has
		if _, _, err := o.Pass(t.Context(), log); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := o.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	entries, counts := entriesOf(t, o), o.Counts()
	closeOutbox(t, o)
	if counts.KeptHere == 0 || counts.InLedger == 0 || counts.Refused == 0 || counts.Sealed == 0 {
		t.Fatalf("counts %+v", counts)
	}
	return c, entries, counts
}

// checkSpoiled opens an outbox whose file was changed: it is refused as damaged,
// or it holds what it held, and goes on holding it when it is used.
func checkSpoiled(t *testing.T, c OutboxConfig, file []byte, entries []Entry, counts Counts) (refused bool) {
	t.Helper()
	c.File = filepath.Join(t.TempDir(), "outbox")
	writeFile(t, c.File, file)
	o, err := OpenOutbox(c)
	if err != nil {
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("error %v, want ErrDamaged", err)
		}
		if after, _ := os.ReadFile(c.File); !bytes.Equal(after, file) {
			t.Error("the file that was refused is not left as it was")
		}
		return true
	}
	if got := entriesOf(t, o); o.Counts() != counts || !reflect.DeepEqual(got, entries) {
		t.Errorf("it holds %+v and other entries than were kept", o.Counts())
	}
	for i := range 3 {
		entries = append(entries[:len(entries):len(entries)], keep(t, o, claimOf(t, i+1, "slip-after")))
	}
	closeOutbox(t, o)
	o = openOutbox(t, c)
	if !reflect.DeepEqual(entriesOf(t, o), entries) {
		t.Error("after it was used it holds other entries than were kept")
	}
	closeOutbox(t, o)
	return false
}

func TestDamageIsFoundBeforeAnythingIsHandedOut(t *testing.T) {
	c, entries, counts := fullOutbox(t)
	whole, err := os.ReadFile(c.File)
	if err != nil {
		t.Fatal(err)
	}
	pages := len(whole) / os.Getpagesize()
	random := rand.New(rand.NewPCG(1, 2))
	for name, flip := range map[string]struct {
		times int
		where func() int // the bit
	}{
		"anywhere":         {100, func() int { return random.IntN(8 * len(whole)) }},
		"in a head":        {60, func() int { return 8*os.Getpagesize()*random.IntN(2) + random.IntN(8*80) }},
		"in a page's head": {100, func() int { return 8*os.Getpagesize()*random.IntN(pages) + random.IntN(8*80) }},
	} {
		t.Run("one bit "+name, func(t *testing.T) {
			refused := 0
			for range flip.times {
				spoiled := bytes.Clone(whole)
				bit := flip.where()
				spoiled[bit/8] ^= 1 << (bit % 8)
				if checkSpoiled(t, c, spoiled, entries, counts) {
					refused++
				}
				if t.Failed() {
					t.Fatalf("bit %d of byte %d", bit%8, bit/8)
				}
			}
			t.Logf("%d of %d refused", refused, flip.times)
			if refused == 0 {
				t.Error("nothing was refused")
			}
		})
	}
	t.Run("cut off", func(t *testing.T) {
		for i := range 30 {
			size := random.IntN(len(whole))
			if i%2 == 0 {
				size -= size % os.Getpagesize()
			}
			if checkSpoiled(t, c, whole[:size], entries, counts); t.Failed() {
				t.Fatalf("cut to %d of %d bytes", size, len(whole))
			}
		}
	})
	t.Run("a sector or a page of something else", func(t *testing.T) {
		noise := rand.NewChaCha8([32]byte{1})
		for i := range 60 {
			spoiled := bytes.Clone(whole)
			size := []int{512, os.Getpagesize()}[i%2]
			at := random.IntN(len(whole)/size) * size
			switch block := spoiled[at : at+size]; i % 3 {
			case 0:
				clear(block)
			case 1:
				copy(block, whole[random.IntN(len(whole)/size)*size:])
			case 2:
				noise.Read(block)
			}
			if checkSpoiled(t, c, spoiled, entries, counts); t.Failed() {
				t.Fatalf("%d bytes at %d", size, at)
			}
		}
	})
}

// TestLastCommitIsNotLostInSilence spoils the newer head alone: bbolt would open
// the file as it was before the last entry.
func TestLastCommitIsNotLostInSilence(t *testing.T) {
	c := outboxConfig(t.TempDir())
	o := openOutbox(t, c)
	for i := range 2 { // once for each head
		keep(t, o, claimOf(t, 1, fmt.Sprint("slip-", i)))
		whole, err := os.ReadFile(c.File)
		if err != nil {
			t.Fatal(err)
		}
		for head := range 2 {
			spoiled := bytes.Clone(whole)
			spoiled[head*os.Getpagesize()+16+56]++ // its checksum
			if !checkSpoiled(t, c, spoiled, entriesOf(t, o), o.Counts()) {
				t.Errorf("after %d entries, without head %d: not refused", i+1, head)
			}
		}
	}
}

func TestEntryRoundTrips(t *testing.T) {
	c, entries, _ := fullOutbox(t)
	for _, e := range entries {
		value := encodeEntry(e)
		got, err := decodeEntry(c.Ledger, e.number, value)
		if err != nil || !reflect.DeepEqual(got, e) {
			t.Errorf("%+v came back as %+v, %v", e, got, err)
		}
		if _, err := decodeEntry(c.Ledger, e.number+1, value); !errors.Is(err, ErrDamaged) {
			t.Errorf("under the number of another: %v", err)
		}
	}
}

func TestStateRoundTrips(t *testing.T) {
	want := keptState{party: ward, ledger: ledger.LedgerID{1}, tally: tally{7, 1, 2, 3, 4, 1 << 40}}
	got, err := decodeState(encodeState(want))
	if err != nil || got != want {
		t.Errorf("%+v came back as %+v, %v", want, got, err)
	}
}

// TestEntryGolden holds the bytes of an entry against those of the first
// version: an outbox may be older than the program that opens it.
func TestEntryGolden(t *testing.T) {
	e := Entry{
		number: 3, State: InLedger, Kept: time.Date(2015, 10, 5, 0, 0, 0, 1, time.UTC),
		Record: ledger.Record{
			Subject: "ledger.v1.131229.131229-20151005-0042.upload.completed",
			Header:  ledger.Header{ledger.HeaderID: {"000102030405060708090a0b0c0d0e0f"}, "B": {"b"}},
			Body:    []byte{0x80},
		},
		Receipt: ledger.Receipt{Incarnation: 2, Seq: 300, Time: testenv.Start},
		Earlier: []ledger.Receipt{{Incarnation: 1, Seq: 200, Time: testenv.Start, Duplicate: true}},
	}
	refused := Entry{number: 4, State: Refused, Kept: testenv.Start, Record: e.Record, Refusal: ledger.FromCode("scope", "party may not say this")}
	state := keptState{party: ward, ledger: ledger.LedgerID{1}, tally: tally{5, 0, 1, 1, 2, 300}}
	got := fmt.Sprintf("%x\n%x\n%x\n", encodeEntry(e), encodeEntry(refused), encodeState(state))
	path := filepath.Join("testdata", "outbox-1.golden")
	want, err := os.ReadFile(path)
	if err != nil || got != string(want) {
		t.Errorf("the format has changed (%v):\n%s, want\n%s", err, got, want)
	}
}

// FuzzDecodeEntry reads any bytes behind a right checksum: what is accepted is
// canonical.
func FuzzDecodeEntry(f *testing.F) {
	c, entries, _ := fullOutbox(f)
	for _, e := range entries {
		if value := encodeEntry(e); len(value) < 2048 {
			f.Add(e.number, value[32:])
		}
	}
	f.Fuzz(func(t *testing.T, number uint64, content []byte) {
		value := withSum(entryDomain, key(number), content)
		e, err := decodeEntry(c.Ledger, number, value)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("error %v, want ErrDamaged", err)
			}
			return
		}
		if again := encodeEntry(e); !bytes.Equal(again, value) {
			t.Errorf("%x was read as %+v, which is %x", value, e, again)
		}
		if err := e.check(); err != nil {
			t.Error(err)
		}
	})
}

// FuzzDecodeState does the same for the state.
func FuzzDecodeState(f *testing.F) {
	f.Add(encodeState(keptState{party: ward, ledger: ledger.LedgerID{1}, tally: tally{7, 1, 2, 3, 4, 1 << 40}})[32:])
	f.Fuzz(func(t *testing.T, content []byte) {
		value := withSum(stateDomain, nil, content)
		s, err := decodeState(value)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ledger.ErrNewer) {
				t.Errorf("error %v, want ErrDamaged or ErrNewer", err)
			}
			return
		}
		if again := encodeState(s); !bytes.Equal(again, value) {
			t.Errorf("%x was read as %+v, which is %x", value, s, again)
		}
	})
}
