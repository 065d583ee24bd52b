package ledger

// FindMyNumber returns the byte offset of the first run of digits in s that
// has the shape of a My Number (個人番号): twelve digits that pass the check
// of 総務省令第85号 第5条, not inside a longer run, written in half or full
// width, together or in groups of four parted by one space or hyphen. It
// returns -1 when there is none. One in ten random twelve-digit numbers passes.
func FindMyNumber(s string) int {
	for i := 0; i < len(s); {
		_, size := digit(s, i)
		if size == 0 {
			i++
			continue
		}
		end, found := scanNumber(s, i)
		if found {
			return i
		}
		i = end
	}
	return -1
}

// scanNumber reads the run of digits and single separators that begins at i,
// and reports where it ends and whether it is a My Number.
func scanNumber(s string, i int) (end int, found bool) {
	var digits [12]byte
	var groups [3]int // digits in each group
	n, group, ok := 0, 0, true
	for {
		d, size := digit(s, i)
		if size > 0 {
			if n < len(digits) && group < len(groups) {
				digits[n] = d
				groups[group]++
			} else {
				ok = false
			}
			n++
			i += size
			continue
		}
		sep := separator(s, i)
		if _, next := digit(s, i+sep); sep == 0 || next == 0 {
			break
		}
		group++
		i += sep
	}
	ok = ok && n == 12 && (group == 0 || groups == [3]int{4, 4, 4})
	return i, ok && ValidMyNumber(digits)
}

// ValidMyNumber reports whether twelve digits pass the check: the last is 0
// when Σ P(n)×Q(n) mod 11 is 0 or 1, and 11 less that otherwise, where P(n) is
// the n-th digit from the right of the first eleven and Q(n) is n+1 up to
// n = 6 and n-5 from there on.
func ValidMyNumber(digits [12]byte) bool {
	sum := 0
	for n := 1; n <= 11; n++ {
		q := n + 1
		if n > 6 {
			q = n - 5
		}
		sum += int(digits[11-n]) * q
	}
	check := 11 - sum%11
	if check > 9 {
		check = 0
	}
	return int(digits[11]) == check
}

// digit returns the decimal digit at s[i:], half or full width, and its size
// in bytes, 0 when there is none.
func digit(s string, i int) (d byte, size int) {
	switch {
	case i >= len(s):
		return 0, 0
	case s[i] >= '0' && s[i] <= '9':
		return s[i] - '0', 1
	case i+2 < len(s) && s[i] == 0xEF && s[i+1] == 0xBC && s[i+2] >= 0x90 && s[i+2] <= 0x99:
		return s[i+2] - 0x90, 3 // U+FF10 to U+FF19
	}
	return 0, 0
}

// separators are what people put between groups of digits.
var separators = [...]string{" ", "-", "\u3000", "\uff0d", "\u2010", "\u2011", "\u2012", "\u2013", "\u2014", "\u2015", "\u2212", "\u30fc", "\uff70", "\u00a0"}

// separator returns the size in bytes of the separator at s[i:], 0 for none.
func separator(s string, i int) int {
	for _, sep := range separators {
		if len(s)-i >= len(sep) && s[i:i+len(sep)] == sep {
			return len(sep)
		}
	}
	return 0
}
