package ledger_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"todoke/ledger"
)

// TestGoldenBodies holds the bytes of one event of each kind against files that
// are never edited: events that were stored with these bytes must be read for
// ever. -update only adds files for new kinds.
func TestGoldenBodies(t *testing.T) {
	all := drafts()
	for _, kind := range ledger.Kinds() {
		t.Run(kind.String(), func(t *testing.T) {
			d, ok := all[kind]
			if !ok {
				t.Fatalf("no golden event: add one to drafts and run make golden")
			}
			body, err := ledger.Encode(&d.Body)
			if err != nil {
				t.Fatal(err)
			}
			name := filepath.Join("testdata/golden", kind.String())
			golden(t, name+".hex", hexLines(body), false)
			golden(t, name+".txt", annotate(t, body), true)

			if r := record(t, d); !bytes.Equal(r.Body, body) {
				t.Errorf("the record has another body:\n%x\n%x", r.Body, body)
			}
			e, err := ledger.Decode(stored(record(t, d)))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(e.Content, d.Body) || e.UnknownField {
				t.Errorf("read back:\n%+v\nwant:\n%+v", e.Content, d.Body)
			}
		})
	}
	if len(all) != len(ledger.Kinds()) {
		t.Errorf("drafts has %d kinds, the program speaks %d", len(all), len(ledger.Kinds()))
	}
}

// TestGoldenRecord holds a whole signed record, headers and all.
func TestGoldenRecord(t *testing.T) {
	r := record(t, drafts()[ledger.UploadCompleted])
	var text strings.Builder
	fmt.Fprintf(&text, "ledger %s\nsubject %s\n", testLedger, r.Subject)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(&text, "%s: %s\n", name, r.Header.Get(name))
	}
	text.WriteString("\n" + hexLines(r.Body))
	golden(t, "testdata/golden/record.txt", text.String(), false)
}

// TestGoldenKinds holds the codes of all kinds, reserved ones too: a code is
// never given to another kind.
func TestGoldenKinds(t *testing.T) {
	var text strings.Builder
	for code := range 1000 {
		k := ledger.Kind(code)
		if parsed, err := ledger.ParseKind(k.String()); err == nil {
			if parsed != k {
				t.Errorf("%s is %d and %d", k, k, parsed)
			}
			fmt.Fprintf(&text, "%d %s\n", code, k)
		}
	}
	golden(t, "testdata/golden/kinds.txt", text.String(), true)
}

// golden compares text with a file. With -update it writes the file when it is
// not there yet, or when it may be replaced.
func golden(t *testing.T, name, text string, replace bool) {
	t.Helper()
	have, err := os.ReadFile(name)
	if *update && (replace || os.IsNotExist(err)) {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != text {
		t.Errorf("%s holds:\n%s\nhave:\n%s", name, have, text)
	}
}

func hexLines(p []byte) string {
	var b strings.Builder
	for line := range slices.Chunk(p, 32) {
		fmt.Fprintf(&b, "% x\n", line)
	}
	return b.String()
}

// annotate writes msgpack for people: a value a line, its bytes on the left. It
// is a reader of its own, so that a mistake of the codec is not repeated here.
func annotate(t *testing.T, p []byte) string {
	t.Helper()
	a := &annotator{t: t, rest: p}
	a.value(0)
	if len(a.rest) > 0 {
		t.Fatalf("%d bytes are left", len(a.rest))
	}
	return a.out.String()
}

type annotator struct {
	t    *testing.T
	rest []byte
	out  strings.Builder
}

// value writes one value and, indented, what is in it.
func (a *annotator) value(depth int) {
	code := a.rest[0]
	switch {
	case code < 0x80:
		a.line(depth, 1, fmt.Sprint(code))
	case code < 0x90:
		a.line(depth, 1, fmt.Sprintf("map of %d", code&15))
		a.values(depth+1, 2*int(code&15))
	case code < 0xa0:
		a.line(depth, 1, fmt.Sprintf("array of %d", code&15))
		a.values(depth+1, int(code&15))
	case code < 0xc0:
		n := int(code & 31)
		a.line(depth, 1+n, fmt.Sprintf("%q", a.rest[1:1+n]))
	case code == 0xc4:
		a.line(depth, 2+int(a.rest[1]), fmt.Sprintf("binary of %d", a.rest[1]))
	case code == 0xd9:
		n := int(a.rest[1])
		a.line(depth, 2+n, fmt.Sprintf("%q", a.rest[2:2+n]))
	case code >= 0xcc && code <= 0xcf:
		size, n := 1<<(code-0xcc), uint64(0)
		for _, b := range a.rest[1 : 1+size] {
			n = n<<8 | uint64(b)
		}
		a.line(depth, 1+size, fmt.Sprint(n))
	case code == 0xde:
		n := int(a.rest[1])<<8 | int(a.rest[2])
		a.line(depth, 3, fmt.Sprintf("map of %d", n))
		a.values(depth+1, 2*n)
	default:
		a.t.Fatalf("no golden event needs the type %#x; teach the annotator", code)
	}
}

func (a *annotator) values(depth, n int) {
	for range n {
		a.value(depth)
	}
}

// line writes the next n bytes, sixteen on a line, and their meaning.
func (a *annotator) line(depth, n int, meaning string) {
	for part := range slices.Chunk(a.rest[:n], 16) {
		line := fmt.Sprintf("%-48s%s%s", fmt.Sprintf("% x", part), strings.Repeat("  ", depth), meaning)
		a.out.WriteString(strings.TrimRight(line, " ") + "\n")
		meaning = ""
	}
	a.rest = a.rest[n:]
}
