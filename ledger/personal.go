package ledger

import "unicode/utf8"

// FindMyNumber returns the byte offset of the first digits in s that have the
// shape of a My Number (個人番号): twelve digits that pass the check of
// 総務省令第85号 第5条, written in half or full width, together and not inside a
// longer run, or as three groups of four parted by one space each or one hyphen
// each, whatever groups stand before and behind. It returns -1 when there are
// none. One in ten random twelve-digit numbers passes.
func FindMyNumber(s string) int {
	var last [3]group // the newest at the end, one separator between each two
	for i := 0; i < len(s); {
		if c := s[i]; (c < '0' || c > '9') && c != fullWidthLead {
			i++
			continue
		}
		g := groupAt(s, i)
		if g.n == 0 {
			i++
			continue
		}
		last = [3]group{last[1], last[2], g}
		switch {
		case g.n == 12 && ValidMyNumber(g.digits):
			return g.start
		case inFours(last) && ValidMyNumber(joined(last)):
			return last[0].start
		}
		i = g.end + g.gap
		if _, size := digit(s, i); size == 0 {
			last = [3]group{}
		}
	}
	return -1
}

// A group is a run of digits, of which the first twelve are kept, and the
// separator behind it.
type group struct {
	start, end int // byte offsets
	n          int
	digits     [12]byte
	gap        int  // size of the separator in bytes, 0 for none
	hyphen     bool // and not a space
}

// groupAt returns the run of digits that begins at s[i:].
func groupAt(s string, i int) group {
	g := group{start: i, end: i}
	for {
		d, size := digit(s, g.end)
		if size == 0 {
			g.gap, g.hyphen = separator(s, g.end)
			return g
		}
		if g.n < len(g.digits) {
			g.digits[g.n] = d
		}
		g.n++
		g.end += size
	}
}

// inFours reports whether the groups have four digits each and separators of
// one kind.
func inFours(groups [3]group) bool {
	return groups[0].n == 4 && groups[1].n == 4 && groups[2].n == 4 && groups[0].hyphen == groups[1].hyphen
}

// joined returns the digits of three groups of four.
func joined(groups [3]group) (digits [12]byte) {
	for i, g := range groups {
		copy(digits[4*i:], g.digits[:4])
	}
	return digits
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

// fullWidthLead is the first byte of a full-width digit in UTF-8.
const fullWidthLead = 0xEF

// digit returns the decimal digit at s[i:], half or full width, and its size
// in bytes, 0 when there is none.
func digit(s string, i int) (d byte, size int) {
	switch {
	case i >= len(s):
		return 0, 0
	case s[i] >= '0' && s[i] <= '9':
		return s[i] - '0', 1
	case i+2 < len(s) && s[i] == fullWidthLead && s[i+1] == 0xBC && s[i+2] >= 0x90 && s[i+2] <= 0x99:
		return s[i+2] - 0x90, 3 // U+FF10 to U+FF19
	}
	return 0, 0
}

// separator returns the size in bytes of what stands at s[i:], when it is
// something that people put between groups of digits, and whether it is a
// hyphen, or what is taken for one.
func separator(s string, i int) (size int, hyphen bool) {
	r, size := utf8.DecodeRuneInString(s[i:])
	switch r {
	case ' ', '\u3000', '\u00a0':
		return size, false
	case '-', '\uff0d', '\u2010', '\u2011', '\u2012', '\u2013', '\u2014', '\u2015', '\u2212', '\u30fc', '\uff70':
		return size, true
	}
	return 0, false
}
