package intake

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// countRows counts the rows of a file in its own way, one byte at a time: the
// header, blank lines and a row that begins with END are none.
func countRows(text []byte) int {
	text = bytes.TrimPrefix(text, []byte("\xEF\xBB\xBF"))
	count, quoted, begin := -1, false, 0
	end := func(i int) {
		if row := bytes.Trim(text[begin:i], "\r\n"); len(row) > 0 && !endRow(row) {
			count++
		}
		begin = i + 1
	}
	for i, c := range text {
		switch {
		case c == '"':
			quoted = !quoted
		case c == '\n' && !quoted:
			end(i)
		}
	}
	end(len(text))
	return count
}

// endRow reports whether a row is END, a number, and nothing more.
func endRow(row []byte) bool {
	first, rest, _ := bytes.Cut(row, []byte(","))
	_, rest, _ = bytes.Cut(rest, []byte(","))
	return (string(first) == "END" || string(first) == `"END"`) && len(bytes.Trim(rest, `,"`)) == 0
}

// FuzzFile looks for a file that makes the reader panic, that is taken with
// another number of rows than it has, or that sender and receiver read in two
// ways.
func FuzzFile(f *testing.F) {
	files, err := filepath.Glob("testdata/*.csv")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, text := range []string{
		"", "\xFF\xFE", "\"", headerRow, file(rowOf(1), "END,1"), file("\"END\",1"), cp932(f, file(rowOf(1))),
		file(with(1, colBuilding, "\"\r\n\"\"\n\"")), file(rowOf(1)) + "\r", file(with(1, colNumber, "END")),
	} {
		f.Add([]byte(text))
	}
	towns := katsushikaTowns(f) // read once: it takes longer than most files
	f.Fuzz(func(t *testing.T, text []byte) {
		c := testConfig("")
		c.Towns = towns
		m, err := Check(t.Context(), c, bytes.NewReader(text))
		count, _, rootErr := RootOf([32]byte{}, bytes.NewReader(text), nil)
		if err != nil {
			var r *Refusal
			if !errors.As(err, &r) || len(r.Problems) == 0 || len(r.Problems) > maxProblems {
				t.Fatalf("error %v is not a refusal that says why", err)
			}
			return
		}
		if want := countRows(text); int(m.Count) != want {
			t.Fatalf("taken with %d rows, it has %d", m.Count, want)
		}
		if rootErr != nil || count != m.Count {
			t.Fatalf("the sender counts %d rows, the receiver %d (%v)", m.Count, count, rootErr)
		}
		checkPartition(t, m.Towns, int(m.Count))
	})
}

// FuzzRows looks for bytes that are lost or doubled between the file and the
// rows that are cut from it.
func FuzzRows(f *testing.F) {
	for _, text := range []string{"a,b\nc,d", "\r\n\"a\r\n\"\"b\"\r\n\n", "a\r\r\n", "\"", "a\"b\nc", "\x95\\,\x83[\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := cutRows(t, bytes.NewReader(text))
		if err != nil {
			t.Fatal(err) // no input of this size is too long
		}
		rest := text
		for _, r := range list {
			rest = bytes.TrimLeft(rest, "\r\n")
			raw := bytes.TrimLeft(r.raw, "\r\n")
			if !bytes.HasPrefix(rest, raw) {
				t.Fatalf("row %q is not next in %q", r.raw, rest)
			}
			rest = rest[len(raw):]
		}
		if len(bytes.Trim(rest, "\r\n")) > 0 {
			t.Fatalf("no row has %q", rest)
		}
	})
}

// FuzzManifest looks for a manifest that is read and not written back alike.
func FuzzManifest(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := decodeManifest(text)
		if err != nil {
			return
		}
		m.Report() // must not panic
		again, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeManifest(again); err != nil {
			t.Fatalf("not read back: %v", err)
		}
	})
}
