package intake

import "fmt"

// maxProblems is how many problems a refusal keeps; the others are counted.
const maxProblems = 1000

// A Fault says what is wrong with a row, as a code that never changes.
type Fault string

// The faults of a file as a whole.
const (
	FaultUTF16     Fault = "utf-16"      // UTF-16, or NUL bytes in the header
	FaultHeader    Fault = "header"      // no header row in CP932 or UTF-8
	FaultMissing   Fault = "missing"     // a needed column is not there
	FaultRepeated  Fault = "repeated"    // two columns have one name
	FaultTooWide   Fault = "too-wide"    // more columns than [MaxColumns]
	FaultTooLong   Fault = "too-long"    // a row is longer than [MaxRow] bytes
	FaultTooMany   Fault = "too-many"    // more rows than a batch may have items
	FaultNoRows    Fault = "no-rows"     // no row at all
	FaultEndCount  Fault = "end-count"   // the last row counts other than was read
	FaultEndForm   Fault = "end-form"    // the last row is not END,<count>
	FaultPastEnd   Fault = "past-end"    // a row behind the END row
	FaultBlankLine Fault = "blank-line"  // a blank line between rows
	FaultQuote     Fault = "quote"       // quoting is broken
	FaultWidth     Fault = "field-count" // more or fewer fields than columns
)

// The faults of one field.
const (
	FaultEncoding     Fault = "encoding"           // bytes that are no character
	FaultControl      Fault = "control"            // a control character
	FaultNUL          Fault = "nul"                // a NUL byte
	FaultEmpty        Fault = "empty"              // nothing in a mandatory column
	FaultFiveDigits   Fault = "five-digits"        // a code that lost a digit
	FaultCode         Fault = "code"               // not six digits
	FaultCheckDigit   Fault = "check-digit"        // a code whose check digit is wrong
	FaultMunicipality Fault = "other-municipality" // the code of another municipality
	FaultPostcode     Fault = "postcode"           // not seven digits
	FaultNumber       Fault = "number"             // not a number in its bounds
	FaultDuplicate    Fault = "duplicate"          // a 送付先管理番号 that came before
	FaultMyNumber     Fault = "my-number"          // what looks like a My Number
)

// A Problem is one reason to refuse a file. It says where and why, in fixed
// words and numbers of lines, columns and rows. Never a value from the file:
// not even a column's name unless it is one that this package looks for.
type Problem struct {
	Line   int    `json:"line"`             // from 1, where the row begins; 0 for the file as a whole
	Column int    `json:"column,omitempty"` // from 1; 0 for the row as a whole
	Name   string `json:"name,omitempty"`   // of a column that this package looks for
	Fault  Fault  `json:"fault"`
	Reason string `json:"reason"` // a sentence
}

// String returns the problem as one line.
func (p Problem) String() string {
	switch {
	case p.Line == 0:
		return p.Reason
	case p.Name != "":
		return fmt.Sprintf("line %d, column %d (%s): %s", p.Line, p.Column, p.Name, p.Reason)
	case p.Column != 0:
		return fmt.Sprintf("line %d, column %d: %s", p.Line, p.Column, p.Reason)
	}
	return fmt.Sprintf("line %d: %s", p.Line, p.Reason)
}

// A Refusal is the report on a file that was not taken. It is an error, and an
// [ErrRefused]. It holds nothing of what the file holds.
type Refusal struct {
	Rows     int       `json:"rows"`           // that were read, good and bad, without header and END
	Problems []Problem `json:"problems"`       // in the order of lines, the first 1,000
	More     int       `json:"more,omitempty"` // how many problems are left out
}

// Error says how much is wrong and what is the first of it.
func (r *Refusal) Error() string {
	if len(r.Problems) == 0 {
		return ErrRefused.Error()
	}
	return fmt.Sprintf("%v: %d problems in %d rows, first %v", ErrRefused, len(r.Problems)+r.More, r.Rows, r.Problems[0])
}

// Is reports whether target is [ErrRefused].
func (r *Refusal) Is(target error) bool { return target == ErrRefused }

// add notes a problem.
func (r *Refusal) add(p Problem) {
	if len(r.Problems) == maxProblems {
		r.More++
		return
	}
	r.Problems = append(r.Problems, p)
}

// addf notes a problem of a whole row, or of the file when line is 0.
func (r *Refusal) addf(line int, f Fault, format string, args ...any) {
	r.add(Problem{Line: line, Fault: f, Reason: fmt.Sprintf(format, args...)})
}

// asError returns the refusal, nil when nothing is wrong.
func (r *Refusal) asError() error {
	if len(r.Problems) == 0 {
		return nil
	}
	return r
}
