package ledger_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"todoke/ledger"
)

// twelve is an event of twelve fields: a 登録 notice that a ward wrote down, with
// as much detail as such a notice can have.
func twelve() *ledger.Body {
	return &ledger.Body{
		Municipality: "131229", Aggregate: batchID, Flow: "notification-card/1", Speaker: "registry:jlis",
		Items: ledger.Items{{First: 1, Last: 551}, {First: 560, Last: 2000}}, Count: 1992, Root: testRoot, Basis: ledger.BasisRoot,
		Grade: ledger.CounterpartyAsserted, Document: ledger.Document{Kind: "notice", Date: "2015-10-05", Digest: testRoot},
		Posting: "20151005-7", Reason: "read out on the phone",
	}
}

// twelveRaw has the same values, for msgpack's own way through reflection with
// a coder that is used again and again: the anchor.
type twelveRaw struct {
	A, B, C, D string
	E          []uint32
	F          uint32
	G          []byte
	H, I       uint8
	J, K       string
	L          []byte
}

func newTwelveRaw() *twelveRaw {
	b := twelve()
	return &twelveRaw{
		b.Municipality, b.Aggregate, b.Flow, string(b.Speaker), []uint32{0, 551, 8, 1441}, b.Count, b.Root[:],
		uint8(b.Basis), uint8(b.Grade), b.Posting, b.Reason, b.Document.Digest[:],
	}
}

func BenchmarkEncode(b *testing.B) {
	b.Run("body", func(b *testing.B) {
		event := twelve()
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ledger.Encode(event); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("raw", func(b *testing.B) {
		var out bytes.Buffer
		encoder := msgpack.NewEncoder(&out)
		encoder.UseCompactInts(true)
		encoder.UseArrayEncodedStructs(true)
		event := newTwelveRaw()
		b.ReportAllocs()
		for b.Loop() {
			out.Reset()
			if err := encoder.Encode(event); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	b.Run("body", func(b *testing.B) {
		p, err := ledger.Encode(twelve())
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			var event ledger.Body
			if _, err := ledger.DecodeBody(p, &event); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("raw", func(b *testing.B) {
		var out bytes.Buffer
		encoder := msgpack.NewEncoder(&out)
		encoder.UseCompactInts(true)
		encoder.UseArrayEncodedStructs(true)
		if err := encoder.Encode(newTwelveRaw()); err != nil {
			b.Fatal(err)
		}
		in := bytes.NewReader(nil)
		decoder := msgpack.NewDecoder(in)
		b.ReportAllocs()
		for b.Loop() {
			var event twelveRaw
			in.Reset(out.Bytes())
			if err := decoder.Decode(&event); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAdmit(b *testing.B) {
	r := record(b, drafts()[ledger.ImportRegistered])
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ledger.Admit(testLedger, r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeRecord(b *testing.B) {
	r := stored(record(b, drafts()[ledger.ImportRegistered]))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ledger.Decode(r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMissing is what a batch lacks: all items without those acknowledged
// in parts of ten, every tenth item missing.
func BenchmarkMissing(b *testing.B) {
	for _, n := range []int{5_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var here ledger.Items
			for first := uint32(1); int(first)+8 <= n; first += 10 {
				here = append(here, ledger.Range{First: first, Last: first + 8})
			}
			all := ledger.AllItems(n)
			b.ReportAllocs()
			for b.Loop() {
				if missing := all.Minus(here); len(missing) == 0 {
					b.Fatal("nothing is missing")
				}
			}
		})
	}
}

func BenchmarkCommit(b *testing.B) {
	row := []byte("S1,131229,125-0063,東京都葛飾区白鳥二丁目1番1号,,世帯主,2,0")
	committer := ledger.NewCommitter([32]byte{1})
	var root ledger.RootBuilder
	b.ReportAllocs()
	for b.Loop() {
		root.Add(committer.Commit(1, row))
	}
}

func BenchmarkFindMyNumber(b *testing.B) {
	row := "S1,131229,125-0063,東京都葛飾区白鳥二丁目１番１号,白鳥ハイツ１０１号室,世帯主,2,0"
	b.SetBytes(int64(len(row)))
	for b.Loop() {
		if ledger.FindMyNumber(row) >= 0 {
			b.Fatal("found")
		}
	}
}
