package ledger_test

import (
	"bytes"
	"errors"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"todoke/ledger"
)

// Hand-made msgpack, to build what Encode never would.

func str(s string) []byte { return append([]byte{0xa0 | byte(len(s))}, s...) }

func raw(b ...byte) []byte { return b }

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func array(values ...[]byte) []byte {
	return append([]byte{0x90 | byte(len(values))}, bytes.Join(values, nil)...)
}

// body returns a map of municipality, aggregate and the given keys and values.
func body(pairs ...[]byte) []byte {
	all := append([][]byte{str("m"), str("131229"), str("a"), str(batchID)}, pairs...)
	return append([]byte{0x80 | byte(len(all)/2)}, bytes.Join(all, nil)...)
}

// hostile are bodies that no reader may take.
var hostile = map[string][]byte{
	"nothing":                       {},
	"one code":                      {0x81},
	"no map":                        array(str("m")),
	"nil":                           {0xc0},
	"a map of 2^32":                 cat(raw(0xdf, 0xff, 0xff, 0xff, 0xff), str("m"), str("131229")),
	"a map in an extension":         cat(raw(0xc7, 0x00, 0x01), body()),
	"items of 2^32":                 body(str("i"), raw(0xdd, 0xff, 0xff, 0xff, 0xff)),
	"items of 2^32, 60 KB at hand":  cat(body(str("i"), raw(0xdd, 0xff, 0xff, 0xff, 0xff)), make([]byte, 60_000)),
	"towns of 2^32":                 cat(body(str("t"), raw(0xdd, 0xff, 0xff, 0xff, 0xff)), make([]byte, 60_000)),
	"evidence of 2^32":              cat(body(str("v"), raw(0xdd, 0xff, 0xff, 0xff, 0xff)), make([]byte, 60_000)),
	"a town's items of 2^31":        cat(body(str("t"), cat(raw(0x91, 0x93), str("町"), raw(1, 0xdd, 0x7f, 0xff, 0xff, 0xff))), make([]byte, 60_000)),
	"a string of 2^32":              body(str("q"), raw(0xdb, 0xff, 0xff, 0xff, 0xff)),
	"binary of 2^32":                body(str("k"), raw(0xc6, 0xff, 0xff, 0xff, 0xff)),
	"an unknown array of 2^32":      body(str("?"), raw(0xdd, 0xff, 0xff, 0xff, 0xff)),
	"an unknown map of 2^32":        body(str("?"), raw(0xdf, 0xff, 0xff, 0xff, 0xff)),
	"10,000 nested arrays":          body(str("?"), cat(bytes.Repeat([]byte{0x91}, 10_000), raw(5))),
	"10,000 nested maps":            body(str("?"), cat(bytes.Repeat(cat(raw(0x81), str("?")), 10_000), raw(5))),
	"10,000 nested 32-bit arrays":   body(str("?"), cat(bytes.Repeat([]byte{0xdd, 0, 0, 0, 1}, 10_000), raw(5))),
	"a key twice":                   body(str("n"), raw(5), str("n"), raw(5)),
	"the first key twice":           body(str("m"), str("131229")),
	"keys out of order":             body(str("n"), raw(5), str("f"), str("notification-card/1")),
	"a number as key":               body(raw(5), raw(5)),
	"a key that is not UTF-8":       body(raw(0xa1, 0xff), raw(5)),
	"500,000 items, none at hand":   body(str("i"), raw(0xdd, 0, 0x07, 0xa1, 0x20)),
	"4,097 pieces of evidence":      body(str("v"), cat(raw(0xdc, 0x10, 0x01), bytes.Repeat([]byte{1}, 4097))),
	"4,097 towns":                   body(str("t"), cat(raw(0xdc, 0x10, 0x01), bytes.Repeat(array(str("町"), raw(1), array()), 4097))),
	"a float":                       body(str("n"), raw(0xca, 0x40, 0xa0, 0, 0)),
	"NaN":                           body(str("n"), raw(0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 1)),
	"NaN under an unknown key":      body(str("?"), raw(0xcb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 1)),
	"an extension":                  body(str("n"), raw(0xd4, 1, 5)),
	"an unknown extension":          body(str("?"), raw(0xd4, 1, 5)),
	"an unknown huge extension":     body(str("?"), raw(0xc9, 0xff, 0xff, 0xff, 0xff, 1)),
	"a timestamp extension":         body(str("u"), raw(0xd6, 0xff, 0, 0, 0, 0)),
	"text that is not UTF-8":        body(str("q"), raw(0xa2, 0x8f, 0xae)), // CP932
	"the unused code":               body(str("?"), raw(0xc1)),
	"nil for a number":              body(str("n"), raw(0xc0)),
	"nil for a text":                body(str("q"), raw(0xc0)),
	"nil for a time":                body(str("u"), raw(0xc0)),
	"nil for a root":                body(str("r"), raw(0xc0)),
	"true for a number":             body(str("n"), raw(0xc3)),
	"text for a number":             body(str("n"), str("5")),
	"a number for a text":           body(str("q"), raw(5)),
	"a negative number":             body(str("n"), raw(0xff)),
	"a negative number of 64 bits":  body(str("n"), raw(0xd3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)),
	"a count above the largest":     body(str("n"), raw(0xce, 0, 0x98, 0x96, 0x81)),
	"a count of 2^32+1":             body(str("n"), raw(0xcf, 0, 0, 0, 1, 0, 0, 0, 1)),
	"no items":                      body(str("i"), array()),
	"half a pair of items":          body(str("i"), array(raw(0))),
	"an empty range":                body(str("i"), array(raw(0), raw(0))),
	"touching ranges":               body(str("i"), array(raw(0), raw(5), raw(0), raw(5))),
	"an item above the largest":     body(str("i"), array(raw(0xce, 0, 0x98, 0x96, 0x80), raw(1))),
	"items that wrap around":        body(str("i"), array(raw(0), raw(0xce, 0, 0x98, 0x96, 0x80), raw(1), raw(0xce, 0xff, 0xff, 0xff, 0xff))),
	"a basis that is none":          body(str("b"), raw(4)),
	"a grade that is none":          body(str("g"), raw(5)),
	"a side that is none":           body(str("e"), raw(4)),
	"a cause that is none":          body(str("c"), raw(4)),
	"a root of 31 bytes":            body(str("r"), cat(raw(0xc4, 31), make([]byte, 31))),
	"a root of 33 bytes":            body(str("r"), cat(raw(0xc4, 33), make([]byte, 33))),
	"a digest of 5 bytes":           body(str("d"), array(str("file"), str(""), raw(0xc4, 5, 1, 2, 3, 4, 5))),
	"a document of two":             body(str("d"), array(str("file"), str(""))),
	"a document of four":            body(str("d"), array(str("file"), str(""), raw(0xc4, 0), raw(5))),
	"a town of two":                 body(str("t"), array(array(str("町"), raw(1)))),
	"a document of two and a gap":   cat(raw(0x84), body(str("d"), array(str("file"), str("")))[1:], raw(0xa0), str("p"), str("x")),
	"a town of two and a gap":       cat(raw(0x84), body(str("t"), array(array(str("町"), raw(1))))[1:], raw(0x90), str("p"), str("x")),
	"a municipality of 7 digits":    cat(raw(0x82), str("m"), str("1312290"), str("a"), str(batchID)),
	"an aggregate of 49 characters": cat(raw(0x82), str("m"), str("131229"), str("a"), raw(0xd9, 49), bytes.Repeat([]byte{'a'}, 49)),
	"a reason of 401 bytes":         body(str("q"), cat(raw(0xda, 0x01, 0x91), bytes.Repeat([]byte{'a'}, 401))),
	"a byte behind the map":         append(body(), 0),
	"two bodies":                    cat(body(), body()),
	"a pair too few":                cat(raw(0x83), body()[1:]),
}

func TestHostileBodies(t *testing.T) {
	for name, p := range hostile {
		t.Run(name, func(t *testing.T) {
			var b ledger.Body
			if _, err := ledger.DecodeBody(p, &b); !errors.Is(err, ledger.ErrMalformed) {
				t.Errorf("read: %v, want ErrMalformed", err)
			}
			r := record(t, drafts()[ledger.OrderSent])
			r.Body = p
			if _, err := ledger.Decode(stored(r)); !errors.Is(err, ledger.ErrMalformed) {
				t.Errorf("Decode: %v, want ErrMalformed", err)
			}
			if _, err := ledger.Admit(testLedger, sign(t, r)); !errors.Is(err, ledger.ErrMalformed) || !errors.Is(err, ledger.ErrRefused) {
				t.Errorf("Admit: %v, want ErrMalformed", err)
			}
		})
	}
}

// TestHostileBodiesAreCheap keeps what a body makes a reader allocate within a
// multiple of its own size.
func TestHostileBodiesAreCheap(t *testing.T) {
	for name, p := range hostile {
		var b ledger.Body
		ledger.DecodeBody(p, &b) // the pooled coder is not the body's fault
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		ledger.DecodeBody(p, &b)
		runtime.ReadMemStats(&after)
		if n, most := after.TotalAlloc-before.TotalAlloc, uint64(32<<10+64*len(p)); n > most {
			t.Errorf("%s: %d bytes allocated for a body of %d, want at most %d", name, n, len(p), most)
		}
	}
}

func TestBodySize(t *testing.T) {
	b := ledger.Body{Municipality: "131229", Aggregate: "rules", Pack: make([]byte, ledger.MaxBody)}
	if _, err := ledger.Encode(&b); !errors.Is(err, ledger.ErrTooLarge) {
		t.Errorf("Encode: %v, want ErrTooLarge", err)
	}
	if _, err := ledger.DecodeBody(make([]byte, ledger.MaxBody+1), &b); !errors.Is(err, ledger.ErrTooLarge) {
		t.Errorf("DecodeBody: %v, want ErrTooLarge", err)
	}
	b.Pack = b.Pack[:ledger.MaxBody-100]
	p, err := ledger.Encode(&b)
	if err != nil {
		t.Fatal(err)
	}
	var back ledger.Body
	if _, err := ledger.DecodeBody(p, &back); err != nil || len(back.Pack) != len(b.Pack) {
		t.Errorf("%d bytes of pack read back, %v", len(back.Pack), err)
	}
}

// TestLongestItems is the most scattered batch that fits in one event.
func TestLongestItems(t *testing.T) {
	var b ledger.Body
	for n := uint32(1); n < 200_000; n += 2 {
		b.Items = append(b.Items, ledger.Range{First: n, Last: n})
	}
	p, err := ledger.Encode(&b)
	if err != nil {
		t.Fatal(err)
	}
	var back ledger.Body
	if _, err := ledger.DecodeBody(p, &back); err != nil || !back.Items.Equal(b.Items) {
		t.Errorf("%d ranges in %d bytes read back as %d, %v", len(b.Items), len(p), len(back.Items), err)
	}
}

func TestTruncatedBodies(t *testing.T) {
	for kind, d := range drafts() {
		p, err := ledger.Encode(&d.Body)
		if err != nil {
			t.Fatal(err)
		}
		for n := range p {
			var b ledger.Body
			if _, err := ledger.DecodeBody(p[:n], &b); !errors.Is(err, ledger.ErrMalformed) {
				t.Errorf("%s: %d of %d bytes: %v, want ErrMalformed", kind, n, len(p), err)
			}
		}
	}
}

// TestLaterVersion: a field of a later version is kept and reported by a
// reader, and refused on the way in.
func TestLaterVersion(t *testing.T) {
	for name, value := range map[string][]byte{
		"a number":   raw(0xcd, 1, 0),
		"a text":     str("new"),
		"binary":     raw(0xc4, 2, 0, 0),
		"true":       raw(0xc3),
		"eight deep": cat(bytes.Repeat([]byte{0x91}, 8), raw(5)),
		"a map":      cat(raw(0x82), str("x"), raw(1), str("y"), array(str("z"))),
	} {
		t.Run(name, func(t *testing.T) {
			d := drafts()[ledger.OrderAccepted]
			r := record(t, d)
			r.Body = cat(raw(r.Body[0]+1), r.Body[1:], str("?"), value)
			e, err := ledger.Decode(stored(r))
			if err != nil || !e.UnknownField || !reflect.DeepEqual(e.Content, d.Body) || !bytes.Equal(e.Body, r.Body) {
				t.Errorf("Decode: %+v, unknown field %v, %v", e.Content, e.UnknownField, err)
			}
			if _, err := ledger.Admit(testLedger, sign(t, r)); !errors.Is(err, ledger.ErrMalformed) {
				t.Errorf("Admit: %v, want ErrMalformed", err)
			}
		})
	}
}

// TestOneFormOnly: what a reader may understand and yet is not the one form of
// a body does not get in, for two forms would have two digests.
func TestOneFormOnly(t *testing.T) {
	plain := body(str("f"), str("notification-card/1"), str("n"), raw(5), str("b"), raw(1))
	for name, p := range map[string][]byte{
		"a number in 16 bits":  body(str("f"), str("notification-card/1"), str("n"), raw(0xcd, 0, 5), str("b"), raw(1)),
		"a string in 8 bits":   body(str("f"), cat(raw(0xd9, 19), []byte("notification-card/1")), str("n"), raw(5), str("b"), raw(1)),
		"binary for a string":  body(str("f"), cat(raw(0xc4, 19), []byte("notification-card/1")), str("n"), raw(5), str("b"), raw(1)),
		"binary for a key":     body(raw(0xc4, 1, 'f'), str("notification-card/1"), str("n"), raw(5), str("b"), raw(1)),
		"a map in 16 bits":     cat(raw(0xde, 0, plain[0]&15), plain[1:]),
		"a field that is zero": body(str("f"), str("notification-card/1"), str("n"), raw(5), str("b"), raw(1), str("g"), raw(0)),
		"an empty text":        body(str("f"), str("notification-card/1"), str("n"), raw(5), str("b"), raw(1), str("q"), str("")),
		"an empty list":        body(str("f"), str("notification-card/1"), str("n"), raw(5), str("b"), raw(1), str("t"), array()),
		"an empty document":    body(str("f"), str("notification-card/1"), str("n"), raw(5), str("b"), raw(1), str("d"), array(str(""), str(""), raw(0xc4, 0))),
	} {
		t.Run(name, func(t *testing.T) {
			r := record(t, drafts()[ledger.OrderAccepted])
			r.Body = p
			if _, err := ledger.Admit(testLedger, sign(t, r)); !errors.Is(err, ledger.ErrMalformed) {
				t.Errorf("Admit: %v, want ErrMalformed", err)
			}
			r.Body = plain
			if _, err := ledger.Admit(testLedger, sign(t, r)); err != nil {
				t.Errorf("the plain form: %v", err)
			}
		})
	}
}

// TestLengthsAtTheEdges: where msgpack's short forms end and the next begin.
func TestLengthsAtTheEdges(t *testing.T) {
	size := func(b ledger.Body) int {
		p, err := ledger.Encode(&b)
		if err != nil {
			t.Fatal(err)
		}
		var back ledger.Body
		if unknown, err := ledger.DecodeBody(p, &back); err != nil || unknown || !reflect.DeepEqual(back, b) {
			t.Errorf("read back:\n%+v\nwant:\n%+v\n%v", back, b, err)
		}
		return len(p) - 1 // without the code of the map
	}
	for n, want := range map[uint32]int{1: 1, 127: 1, 128: 2, 255: 2, 256: 3, 65535: 3, 65536: 5, ledger.MaxItem: 5} {
		if have := size(ledger.Body{Count: n}); have != 2+want {
			t.Errorf("count %d takes %d bytes, want %d", n, have-2, want)
		}
	}
	for n, head := range map[int]int{1: 1, 31: 1, 32: 2, 255: 2, 256: 3, 400: 3} {
		if have := size(ledger.Body{Reason: strings.Repeat("a", n)}); have != 2+head+n {
			t.Errorf("a reason of %d bytes takes %d", n, have-2)
		}
	}
	for n, head := range map[int]int{1: 2, 255: 2, 256: 3, 65535: 3, 65536: 5} {
		if have := size(ledger.Body{Pack: make([]byte, n)}); have != 2+head+n {
			t.Errorf("a pack of %d bytes takes %d", n, have-2)
		}
	}
	for n, head := range map[int]int{1: 1, 15: 1, 16: 3, ledger.MaxAggregate: 3} {
		if have := size(ledger.Body{Evidence: slices.Repeat([]ledger.Seq{1}, n)}); have != 2+head+n {
			t.Errorf("%d pieces of evidence take %d bytes", n, have-2)
		}
	}
}

func TestFarAwayTimes(t *testing.T) {
	for year, ok := range map[int]bool{1600: false, 1700: true, 1970: true, 2261: true, 2300: false} {
		b := ledger.Body{Due: time.Date(year, 1, 1, 0, 0, 0, 1, time.UTC)}
		p, err := ledger.Encode(&b)
		if (err == nil) != ok {
			t.Errorf("%d: %v", year, err)
			continue
		}
		var back ledger.Body
		if _, err := ledger.DecodeBody(p, &back); ok && (err != nil || !back.Due.Equal(b.Due)) {
			t.Errorf("%d: read back as %v, %v", year, back.Due, err)
		}
	}
}

// TestEveryBodyRoundTrips: whatever a body holds, reading gives it back, and
// there is one form only.
func TestEveryBodyRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := anyBody().Draw(t, "body")
		p, err := ledger.Encode(&b)
		if err != nil {
			t.Fatal(err)
		}
		var back ledger.Body
		unknown, err := ledger.DecodeBody(p, &back)
		if err != nil || unknown || !reflect.DeepEqual(b, back) {
			t.Fatalf("read back:\n%+v\nwant:\n%+v\n%v", back, b, err)
		}
		again, err := ledger.Encode(&back)
		if err != nil || !bytes.Equal(p, again) {
			t.Fatalf("written again:\n%x\nwant:\n%x\n%v", again, p, err)
		}
	})
}

// anyBody draws a body in which each field is there or not.
func anyBody() *rapid.Generator[ledger.Body] {
	return rapid.Custom(func(t *rapid.T) (b ledger.Body) {
		token := rapid.StringMatching(`[a-z0-9-]{0,48}`)
		text := func(most int) string {
			return strings.ToValidUTF8(clipTo(rapid.String().Draw(t, "text"), most), "")
		}
		number := rapid.Uint32Range(0, ledger.MaxItem)
		moment := rapid.Map(rapid.Int64(), func(n int64) time.Time { return time.Unix(0, n).UTC() })
		b = ledger.Body{
			Municipality: rapid.StringMatching(`([0-9]{6})?`).Draw(t, "municipality"), Aggregate: token.Draw(t, "aggregate"),
			Flow: token.Draw(t, "flow"), Speaker: ledger.Party(text(97)), Items: someItems().Draw(t, "items"), Count: number.Draw(t, "count"),
			Basis: ledger.Basis(rapid.IntRange(0, 3).Draw(t, "basis")), Grade: ledger.Grade(rapid.IntRange(0, 4).Draw(t, "grade")),
			Document: ledger.Document{Kind: token.Draw(t, "document"), Date: token.Draw(t, "date")}, Posting: token.Draw(t, "posting"),
			Reason: text(400), Hop: token.Draw(t, "hop"), Side: ledger.Side(rapid.IntRange(0, 3).Draw(t, "side")),
			Reopen: rapid.Uint32Range(0, ledger.MaxAggregate).Draw(t, "reopen"), Cause: ledger.Cause(rapid.IntRange(0, 3).Draw(t, "cause")),
			OwedBy: text(97), ClaimedBy: text(97), Holder: text(97), Story: token.Draw(t, "story"),
		}
		for _, p := range [][]byte{b.Root[:], b.Document.Digest[:], b.Ledger[:]} {
			if rapid.Bool().Draw(t, "has digest") {
				copy(p, rapid.SliceOfN(rapid.Byte(), len(p), len(p)).Draw(t, "digest"))
			}
		}
		if rapid.Bool().Draw(t, "is alert") {
			b.Due, b.ClaimedAt = moment.Draw(t, "due"), moment.Draw(t, "claimed")
			for _, s := range rapid.SliceOfN(rapid.Uint64Range(0, 1<<63-1), 0, 20).Draw(t, "evidence") {
				b.Evidence = append(b.Evidence, ledger.Seq(s))
			}
		}
		for range rapid.IntRange(0, 20).Draw(t, "towns") {
			b.Towns = append(b.Towns, ledger.Town{Name: text(96), Count: number.Draw(t, "count"), Items: someItems().Draw(t, "town")})
		}
		if pack := rapid.SliceOfN(rapid.Byte(), 0, 400).Draw(t, "pack"); len(pack) > 0 {
			b.Pack = slices.Clip(pack)
		}
		return b
	})
}

func clipTo(s string, most int) string { return s[:min(len(s), most)] }
