package intake

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"todoke/ledger"
)

// MaxColumns is the most columns that a file may have.
const MaxColumns = 256

// A column is one that this package looks for.
type column int

const (
	colNumber column = iota
	colCode
	colPostcode
	colAddress
	colBuilding
	colHolder
	colPersons
	colGaiji
	columnCount
)

// name returns what the header calls the column.
func (c column) name() string {
	return [columnCount]string{"送付先管理番号", "市町村コード", "郵便番号", "住所", "方書", "世帯主氏名", "対象人数", "外字数"}[c]
}

// An item is one row of a sheet, which becomes one item of a batch.
type item struct {
	line   int
	raw    []byte   // what is committed to; valid until the next item
	fields []string // decoded; valid until the next item
	digits []int    // how many digits each field has
}

// A sheet reads a file as header, rows and END row, and judges what does not
// need to know whose file it is. Sender and receivers of a file read it
// through a sheet, and so cut and count its rows alike.
type sheet struct {
	rows    *rows
	text    *decoder
	header  []string         // names of all columns
	places  [columnCount]int // where in the header the columns are that are looked for
	refusal *Refusal
	digits  []int
	endLine int // of the END row; 0 before it came
}

// openSheet reads the header. It returns a *Refusal when it is none that can
// be read, or the reader's error.
func openSheet(r io.Reader) (*sheet, error) {
	s := &sheet{refusal: new(Refusal)}
	file := bufio.NewReaderSize(r, chunk)
	encoding := ""
	switch head, _ := file.Peek(3); {
	case bytes.HasPrefix(head, []byte("\xFF\xFE")), bytes.HasPrefix(head, []byte("\xFE\xFF")):
		s.refusal.addf(1, FaultUTF16, "the file is in UTF-16: save it as UTF-8 or CP932")
		return nil, s.refusal
	case bytes.Equal(head, []byte("\xEF\xBB\xBF")):
		encoding = UTF8BOM
		if _, err := file.Discard(len(head)); err != nil {
			return nil, err
		}
	}
	s.rows = newRows(file)
	first, err := s.rows.next()
	switch {
	case err == io.EOF:
		s.refusal.addf(0, FaultNoRows, "the file is empty")
		return nil, s.refusal
	case err != nil:
		return nil, s.stop(err)
	}
	s.readHeader(first, encoding)
	if err := s.refusal.asError(); err != nil {
		return nil, err
	}
	return s, nil
}

// readHeader finds encoding and columns, or notes why it cannot. Without a BOM
// it is CP932 unless it is valid UTF-8: no column's name in CP932 is.
func (s *sheet) readHeader(first row, encoding string) {
	if bytes.IndexByte(first.raw, 0) >= 0 {
		s.refusal.addf(first.line, FaultUTF16, "there are NUL bytes: the file is perhaps in UTF-16; save it as UTF-8 or CP932")
		return
	}
	if !s.sound(first) {
		return
	}
	if encoding == "" {
		encoding = CP932
		if utf8.Valid(first.raw) {
			encoding = UTF8
		}
	}
	s.text = newDecoder(encoding)
	for _, name := range s.text.decode(first.fields) {
		s.header = append(s.header, strings.Clone(name))
	}
	if len(s.header) > MaxColumns {
		s.refusal.addf(first.line, FaultTooWide, "there are %d columns, at most %d are read", len(s.header), MaxColumns)
		return
	}
	s.findColumns(first.line)
}

// findColumns finds the place of every column that is looked for.
func (s *sheet) findColumns(line int) {
	var missing []string
	for c := range columnCount {
		if s.places[c] = slices.Index(s.header, c.name()); s.places[c] < 0 {
			missing = append(missing, c.name())
		}
	}
	if len(missing) == int(columnCount) {
		s.refusal.addf(line, FaultHeader, "the first row is not a header in UTF-8 or CP932: none of the columns %s is there", strings.Join(missing, ", "))
		return
	}
	if len(missing) > 0 {
		s.refusal.addf(line, FaultMissing, "columns are missing: %s", strings.Join(missing, ", "))
	}
	for i, name := range s.header {
		if fault, _ := inspect(name); fault != "" {
			s.add(line, i, fault, reasonOf(fault, s.text.encoding))
		} else if ledger.FindMyNumber(name) >= 0 {
			s.add(line, i, FaultMyNumber, "the name of the column looks like a My Number")
		} else if before := slices.Index(s.header, name); before < i {
			s.add(line, i, FaultRepeated, fmt.Sprintf("has the same name as column %d", before+1))
		}
	}
}

// next returns the next row that reads well. It notes the others and passes
// over them. It returns io.EOF at the end, when END was checked, a *Refusal
// when reading on makes no sense, or the reader's error.
func (s *sheet) next() (item, error) {
	for {
		r, err := s.rows.next()
		if err == io.EOF {
			return item{}, s.end()
		}
		if err != nil {
			return item{}, s.stop(err)
		}
		if it, ok := s.read(r); ok {
			return it, nil
		}
		if s.refusal.Rows > ledger.MaxItem {
			s.refusal.addf(r.line, FaultTooMany, "there are more than %d rows", ledger.MaxItem)
			return item{}, s.refusal
		}
	}
}

// read makes an item of a row, and reports whether it is one.
func (s *sheet) read(r row) (item, bool) {
	if s.endLine > 0 {
		s.refusal.addf(r.line, FaultPastEnd, "there is a row behind the END row of line %d", s.endLine)
		return item{}, false
	}
	fields := s.text.decode(r.fields)
	if isEnd(fields) && r.err == nil {
		s.readEnd(r.line, fields)
		return item{}, false
	}
	s.refusal.Rows++
	if !s.sound(r) {
		return item{}, false
	}
	if len(fields) != len(s.header) {
		s.refusal.addf(r.line, FaultWidth, "there are %d fields for %d columns", len(fields), len(s.header))
		return item{}, false
	}
	good := s.refusal.Rows <= ledger.MaxItem
	s.digits = s.digits[:0]
	for i, f := range fields {
		fault, digits := inspect(f)
		if s.digits = append(s.digits, digits); fault != "" {
			s.add(r.line, i, fault, reasonOf(fault, s.text.encoding))
			good = false
		}
	}
	return item{r.line, r.raw, fields, s.digits}, good
}

// sound reports whether the row is well-formed CSV, and notes what is not.
func (s *sheet) sound(r row) bool {
	good := true
	if r.blank > 0 {
		s.refusal.addf(r.line-r.blank, FaultBlankLine, "the line is blank, and rows follow")
		good = false
	}
	if r.err != nil {
		s.add(r.line, len(r.fields), FaultQuote, reasonOf(FaultQuote, ""))
		return false
	}
	if bytes.HasSuffix(r.raw, []byte("\r")) {
		s.add(r.line, len(r.fields)-1, FaultControl, "a CR stands alone: rows end with LF or CRLF")
		return false
	}
	return good
}

// isEnd reports whether the row is the END row or was meant to be. Programs
// that write tables fill it up with empty fields.
func isEnd(fields []string) bool {
	if len(fields) == 0 || fields[0] != "END" {
		return false
	}
	for _, f := range fields[min(2, len(fields)):] {
		if f != "" {
			return false
		}
	}
	return true
}

// readEnd checks the END row against the rows that were read.
func (s *sheet) readEnd(line int, fields []string) {
	s.endLine = line
	count, ok := 0, false
	if len(fields) > 1 {
		count, ok = number(fields[1])
	}
	switch {
	case !ok:
		s.refusal.addf(line, FaultEndForm, "the last row is not END,<count>")
	case count != s.refusal.Rows:
		s.refusal.addf(line, FaultEndCount, "the END row counts %d rows, there are %d", count, s.refusal.Rows)
	}
}

// end returns what the end of the file means.
func (s *sheet) end() error {
	if s.refusal.Rows == 0 {
		s.refusal.addf(0, FaultNoRows, "the file has no row")
	}
	if err := s.refusal.asError(); err != nil {
		return err
	}
	return io.EOF
}

// stop returns what an error of the rows means.
func (s *sheet) stop(err error) error {
	if errors.Is(err, errRowTooLong) {
		s.refusal.addf(s.rows.line, FaultTooLong, "the row is longer than %d bytes: perhaps a quote is not closed", MaxRow)
		return s.refusal
	}
	return fmt.Errorf("read file: %w", err)
}

// add notes a problem of the field at a place in the header.
func (s *sheet) add(line, place int, f Fault, reason string) {
	p := Problem{Line: line, Column: place + 1, Fault: f, Reason: reason}
	for c := range columnCount {
		if place < len(s.header) && s.header[place] == c.name() {
			p.Name = c.name()
		}
	}
	s.refusal.add(p)
}

// reasonOf returns the sentence for a fault of text or form.
func reasonOf(f Fault, encoding string) string {
	switch {
	case f == FaultNUL:
		return "there is a NUL byte"
	case f == FaultControl:
		return "there is a control character, or one that nobody sees"
	case f == FaultQuote:
		return "a quote stands inside an unquoted field, is not closed, or has text behind it"
	case encoding == CP932:
		return "there are bytes that CP932 does not define; 外字 (F040 to F9FC) cannot be read"
	}
	return "there are bytes that are not UTF-8, or the mark of a character lost before (U+FFFD)"
}

// number reads a decimal number of up to eight digits, in half or full width.
func number(s string) (int, bool) {
	s = fold(s)
	if len(s) > 8 || !isDigits(s) {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}
