package intake

import (
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
	"strings"

	"todoke/ledger"
)

// maxNumber is the largest number of persons or 外字 of one item.
const maxNumber = 9999

// A judge holds the rows of a sheet against what one municipality may send.
type judge struct {
	sheet        *sheet
	municipality string
	harmless     []bool // by place in the header: long numbers are no personal numbers here
	// seen holds the line of every 送付先管理番号 by the first 128 bits of
	// its SHA-256 behind a random seed, 20 bytes for a number of any length.
	// Among 10 million rows two numbers that differ share a key with a chance
	// of about 10^-25, whatever the sender writes, since the seed is not
	// known before; and then a good file would be refused, never a bad one
	// taken.
	seen map[[16]byte]uint32
	key  []byte // the seed, and room for a number
}

func newJudge(s *sheet, c Config, seed [16]byte) *judge {
	j := &judge{sheet: s, municipality: c.Municipality, seen: map[[16]byte]uint32{}, key: seed[:]}
	for _, name := range s.header {
		j.harmless = append(j.harmless, slices.Contains(c.Harmless, name))
	}
	return j
}

// row notes every fault of one row.
func (j *judge) row(it item) {
	for place, digits := range it.digits {
		if digits >= 12 && !j.harmless[place] && ledger.FindMyNumber(it.fields[place]) >= 0 {
			j.sheet.add(it.line, place, FaultMyNumber, "there is what looks like a My Number; declare the column if it never holds one")
		}
	}
	for _, c := range []column{colNumber, colCode, colAddress, colHolder, colPersons, colGaiji} {
		if isBlank(j.field(it, c)) {
			j.add(it, c, FaultEmpty, "nothing is there")
		}
	}
	j.duplicate(it)
	j.code(it)
	if p := j.field(it, colPostcode); p != "" && postcode(p) == "" {
		j.add(it, colPostcode, FaultPostcode, "it is not a postcode of seven digits")
	}
	j.count(it, colPersons, 1)
	j.count(it, colGaiji, 0)
}

func (j *judge) field(it item, c column) string { return it.fields[j.sheet.places[c]] }

func (j *judge) add(it item, c column, f Fault, reason string) {
	j.sheet.add(it.line, j.sheet.places[c], f, reason)
}

func (j *judge) duplicate(it item) {
	n := fold(j.field(it, colNumber))
	if n == "" {
		return
	}
	hash := sha256.Sum256(append(j.key, n...))
	key := [16]byte(hash[:])
	if line, twice := j.seen[key]; twice {
		j.add(it, colNumber, FaultDuplicate, fmt.Sprintf("the same 送付先管理番号 stands in line %d", line))
		return
	}
	j.seen[key] = uint32(min(it.line, math.MaxUint32))
}

func (j *judge) code(it item) {
	code := fold(j.field(it, colCode))
	switch {
	case code == j.municipality, code == "":
	case !isDigits(code) || len(code) < 5 || len(code) > 6:
		j.add(it, colCode, FaultCode, "it is not a municipality code of six digits")
	case len(code) == 5:
		j.add(it, colCode, FaultFiveDigits, "it has five digits: a spreadsheet dropped the leading zero, or the check digit is missing")
	case !ledger.ValidMunicipality(code):
		j.add(it, colCode, FaultCheckDigit, "its check digit is wrong")
	default:
		j.add(it, colCode, FaultMunicipality, "it is another municipality than "+j.municipality)
	}
}

func (j *judge) count(it item, c column, least int) {
	f := j.field(it, c)
	if n, ok := number(f); !isBlank(f) && (!ok || n < least || n > maxNumber) {
		j.add(it, c, FaultNumber, fmt.Sprintf("it is not a number from %d to %d", least, maxNumber))
	}
}

// postcode returns seven digits, "" when s is not a postcode such as 125-0063,
// 1250063 or 〒１２５－００６３.
func postcode(s string) string {
	s = strings.TrimPrefix(fold(s), "〒")
	if len(s) == 8 && s[3] == '-' {
		s = s[:3] + s[4:]
	}
	if len(s) != 7 || !isDigits(s) {
		return ""
	}
	return s
}
