package intake

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// cutRows returns the rows of s as line, blank lines before it, raw bytes.
func cutRows(t *testing.T, r io.Reader) (list []row, err error) {
	t.Helper()
	rows := newRows(r)
	for {
		one, err := rows.next()
		if err == io.EOF {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		one.raw = []byte(string(one.raw))
		list = append(list, one)
	}
}

func TestRowsAreCutToTheByte(t *testing.T) {
	type cut struct {
		line, blank int
		raw         string
	}
	for name, c := range map[string]struct {
		give string
		want []cut
	}{
		"LF":                           {"a,b\nc,d\n", []cut{{1, 0, "a,b"}, {2, 0, "c,d"}}},
		"CRLF":                         {"a,b\r\nc,d\r\n", []cut{{1, 0, "a,b"}, {2, 0, "c,d"}}},
		"no ending at the end":         {"a,b\nc,d", []cut{{1, 0, "a,b"}, {2, 0, "c,d"}}},
		"quotes stay":                  {"\"a\",\"b\"\"c\"\n", []cut{{1, 0, `"a","b""c"`}}},
		"line endings in quotes stay":  {"a,\"b\r\nc\nd\"\r\ne,f\n", []cut{{1, 0, "a,\"b\r\nc\nd\""}, {4, 0, "e,f"}}},
		"spaces stay":                  {" a , b \n", []cut{{1, 0, " a , b "}}},
		"blank lines are counted":      {"\n\r\na,b\n\nc,d\n", []cut{{3, 2, "a,b"}, {5, 1, "c,d"}}},
		"blank lines at the end":       {"a,b\n\r\n\n", []cut{{1, 0, "a,b"}}},
		"CP932 with odd second bytes":  {"\x95\\,\x94|\n\x83[,\x89]\n", []cut{{1, 0, "\x95\\,\x94|"}, {2, 0, "\x83[,\x89]"}}},
		"a CR at the end of the file":  {"a,b\r", []cut{{1, 0, "a,b\r"}}},
		"two CRs at the end of a line": {"a,b\r\r\nc,d\n", []cut{{1, 0, "a,b\r"}, {2, 0, "c,d"}}},
		"nothing":                      {"", nil},
		"nothing but blank lines":      {"\n\r\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			for how, r := range map[string]io.Reader{
				"at once":      strings.NewReader(c.give),
				"byte by byte": iotest.OneByteReader(strings.NewReader(c.give)),
				"end and data": iotest.DataErrReader(strings.NewReader(c.give)),
			} {
				list, err := cutRows(t, r)
				if err != nil || len(list) != len(c.want) {
					t.Fatalf("%s: %d rows, %v; want %d", how, len(list), err, len(c.want))
				}
				for i, want := range c.want {
					if got := (cut{list[i].line, list[i].blank, string(list[i].raw)}); got != want {
						t.Errorf("%s: row %d is %+v, want %+v", how, i, got, want)
					}
				}
			}
		})
	}
}

func TestRowsOverManyReads(t *testing.T) {
	line := strings.Repeat("x", 777) + ",\"" + strings.Repeat("y\n", 333) + "\""
	list, err := cutRows(t, strings.NewReader(strings.Repeat(line+"\r\n", 500)))
	if err != nil || len(list) != 500 {
		t.Fatalf("%d rows, %v", len(list), err)
	}
	for i, r := range list {
		if string(r.raw) != line || r.line != 1+i*334 {
			t.Fatalf("row %d at line %d is %.40q", i, r.line, r.raw)
		}
	}
}

// endless repeats a text for ever and counts what was read of it.
type endless struct {
	text string
	read int
}

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = e.text[(e.read+i)%len(e.text)]
	}
	e.read += len(p)
	return len(p), nil
}

func TestRowsAreBounded(t *testing.T) {
	for name, c := range map[string]struct{ begin, text string }{
		"a line without end":   {"", "x"},
		"a quote without end":  {"a,\"", "x\r\n"},
		"nothing but newlines": {"", "\n"},
		"nothing but commas":   {"", ","},
	} {
		t.Run(name, func(t *testing.T) {
			e := &endless{text: c.text}
			if _, err := cutRows(t, io.MultiReader(strings.NewReader(c.begin), e)); !errors.Is(err, errRowTooLong) {
				t.Fatalf("error %v, want errRowTooLong", err)
			}
			if e.read > MaxRow+4*chunk {
				t.Errorf("%d bytes were read", e.read)
			}
		})
	}
	t.Run("a row of the most bytes is read", func(t *testing.T) {
		list, err := cutRows(t, strings.NewReader(strings.Repeat("x", MaxRow)+"\r\na\n"))
		if err != nil || len(list) != 2 || len(list[0].raw) != MaxRow {
			t.Errorf("%d rows, %v", len(list), err)
		}
	})
	t.Run("a row of one byte more is not", func(t *testing.T) {
		if _, err := cutRows(t, strings.NewReader(strings.Repeat("x", MaxRow+1)+"\n")); !errors.Is(err, errRowTooLong) {
			t.Errorf("error %v, want errRowTooLong", err)
		}
	})
}

func TestRowsReturnTheReadersError(t *testing.T) {
	broken := errors.New("the disk is gone")
	list, err := cutRows(t, io.MultiReader(strings.NewReader("a,b\nc,"), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || len(list) != 1 {
		t.Errorf("%d rows, %v", len(list), err)
	}
}
