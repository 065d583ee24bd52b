package intake

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"io"
)

const (
	// MaxRow is the most bytes that one row may have.
	MaxRow = 1 << 20
	chunk  = 64 << 10 // bytes read at a time
)

// A row is one CSV record and the bytes that it was cut from.
type row struct {
	line   int      // its first line, from 1
	blank  int      // how many blank lines stand before it
	raw    []byte   // without line ending; valid until the next row
	fields []string // quotes undone, still in the file's encoding
	err    *csv.ParseError
}

// rows cuts a file into rows. Cutting comes before decoding: the second byte
// of a CP932 character is never a quote, a comma or a line ending, so that
// bytes can be cut in either encoding.
type rows struct {
	tape *tape
	csv  *csv.Reader
	line int // the first line that no row has taken
}

func newRows(r io.Reader) *rows {
	t := &tape{src: r}
	c := csv.NewReader(bufio.NewReaderSize(t, chunk))
	c.ReuseRecord = true
	c.FieldsPerRecord = -1 // counted by the sheet, which names the line
	return &rows{tape: t, csv: c, line: 1}
}

// next returns the next row. It returns io.EOF at the end, errRowTooLong, or
// the error of the file's reader. Blank lines at the end belong to no row.
func (r *rows) next() (row, error) {
	fields, err := r.csv.Read()
	raw := r.tape.cut(r.csv.InputOffset())
	out := row{fields: fields}
	if err != nil && !errors.As(err, &out.err) {
		return row{}, err
	}
	lines := bytes.Count(raw, []byte("\n"))
	// encoding/csv passes over blank lines without a word.
	for trimmed := trimBlankLine(raw); len(trimmed) < len(raw); trimmed = trimBlankLine(raw) {
		raw = trimmed
		out.blank++
	}
	out.line, out.raw = r.line+out.blank, trimLineEnding(raw)
	if len(out.raw) > MaxRow {
		return row{}, errRowTooLong
	}
	r.line += lines
	return out, nil
}

func trimBlankLine(raw []byte) []byte {
	if rest, ok := bytes.CutPrefix(raw, []byte("\n")); ok {
		return rest
	}
	return bytes.TrimPrefix(raw, []byte("\r\n"))
}

// trimLineEnding takes LF or CRLF off. A CR alone is no line ending, although
// encoding/csv drops one at the end of a file: it stays, and is refused as the
// control character that it is.
func trimLineEnding(raw []byte) []byte {
	raw, ended := bytes.CutSuffix(raw, []byte("\n"))
	if ended {
		raw = bytes.TrimSuffix(raw, []byte("\r"))
	}
	return raw
}

// tape lies under encoding/csv and remembers the bytes that went through,
// until they are cut into rows. What it remembers is bounded by one row.
type tape struct {
	src    io.Reader
	kept   []byte // went through and is not cut off before the current row
	cutOff int    // how much of kept is cut
	offset int64  // of kept[cutOff] in the file
}

// Read returns errRowTooLong when more than MaxRow bytes went through without
// a cut.
func (t *tape) Read(p []byte) (int, error) {
	if len(t.kept)-t.cutOff > MaxRow {
		return 0, errRowTooLong
	}
	t.kept = t.kept[:copy(t.kept, t.kept[t.cutOff:])]
	t.cutOff = 0
	n, err := t.src.Read(p)
	t.kept = append(t.kept, p[:n]...)
	return n, err
}

// cut returns the bytes from the last cut up to an offset in the file. They
// are valid until the next Read.
func (t *tape) cut(end int64) []byte {
	n := int(end - t.offset)
	b := t.kept[t.cutOff : t.cutOff+n]
	t.cutOff += n
	t.offset = end
	return b
}
