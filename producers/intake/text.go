package intake

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/transform"
	"golang.org/x/text/width"
)

// The encodings of a file, as they stand in the manifest.
const (
	UTF8    = "UTF-8"
	UTF8BOM = "UTF-8 with BOM"
	CP932   = "CP932"
)

// A decoder turns the fields of a row into text. It decodes field by field,
// behind the cut, so that a broken character cannot reach into its neighbour.
type decoder struct {
	encoding string
	cp932    transform.Transformer
	from, to []byte
	ends     []int
	fields   []string
}

func newDecoder(encoding string) *decoder {
	return &decoder{encoding: encoding, cp932: japanese.ShiftJIS.NewDecoder().Transformer}
}

// decode returns the fields as UTF-8, with U+FFFD for what CP932 does not
// know. What was UTF-8 is returned as it is, valid or not. The slice is valid
// until the next call.
func (d *decoder) decode(fields []string) []string {
	if d.encoding != CP932 {
		return fields
	}
	d.to, d.ends, d.fields = d.to[:0], d.ends[:0], d.fields[:0]
	for _, f := range fields {
		d.appendCP932(f)
		d.ends = append(d.ends, len(d.to))
	}
	text, begin := string(d.to), 0 // one allocation for the row
	for _, end := range d.ends {
		d.fields = append(d.fields, text[begin:end])
		begin = end
	}
	return d.fields
}

func (d *decoder) appendCP932(field string) {
	if isASCII(field) {
		d.to = append(d.to, field...)
		return
	}
	const growth = utf8.UTFMax // bytes of UTF-8 for one byte, at most
	d.from = append(d.from[:0], field...)
	used := len(d.to)
	d.to = slices.Grow(d.to, growth*len(d.from))
	n, _, err := d.cp932.Transform(d.to[used:cap(d.to)], d.from, true)
	d.to = d.to[:used+n]
	if err != nil { // cannot be: there is room. If it were, the field is refused.
		d.to = utf8.AppendRune(d.to, utf8.RuneError)
	}
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// isDigits reports whether s is one or more of 0 to 9.
func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// isBlank reports whether s has nothing but spaces.
func isBlank(s string) bool {
	for _, r := range s {
		if !unicode.IsSpace(r) {
			return false
		}
	}
	return true
}

// inspect returns the first fault of a text, "" for none, and how many decimal
// digits it has, in half and full width. A line feed is no fault: only a
// quoted field can hold one.
func inspect(s string) (fault Fault, digits int) {
	for _, r := range s {
		switch {
		case r >= '0' && r <= '9', r >= '０' && r <= '９':
			digits++
		case isInvisible(r):
			return FaultControl, digits
		case r >= ' ' && r < 0x7F, r > 0x9F && r != utf8.RuneError, r == '\n':
		case r == 0:
			return FaultNUL, digits
		case r == utf8.RuneError:
			return FaultEncoding, digits
		default:
			return FaultControl, digits
		}
	}
	return "", digits
}

// isInvisible reports whether r is a character that nobody sees and that hides
// or turns what stands beside it: a soft hyphen, a zero-width character, a mark of
// direction. Variation selectors are none: names have them.
func isInvisible(r rune) bool {
	return r == 0xAD || r == 0xFEFF || r >= 0x200B && r <= 0x200F || r >= 0x2028 && r <= 0x202E || r >= 0x2060 && r <= 0x206F
}

// fold returns s as it is compared: without spaces around it, full width as
// half width. What was folded is never kept and never committed to.
func fold(s string) string {
	if !isASCII(s) {
		s = width.Fold.String(s)
	}
	return strings.TrimSpace(s)
}
