package ledger_test

import (
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"todoke/ledger"
)

// No number that passes the check stands in these files: each is computed here,
// from eleven digits, by the weights of the ordinance written out.

// checkDigit returns the twelfth digit for the first eleven.
func checkDigit(eleven string) byte {
	sum := 0
	for i, weight := range []int{6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2} {
		sum += int(eleven[i]-'0') * weight
	}
	if rest := sum % 11; rest > 1 {
		return '0' + byte(11-rest)
	}
	return '0'
}

func myNumber(eleven string) string { return eleven + string(checkDigit(eleven)) }

func fullWidth(s string) string {
	return strings.Map(func(r rune) rune { return r - '0' + '０' }, s)
}

// grouped parts twelve digits, of either width, in three fours.
func grouped(s, separator string) string {
	r := []rune(s)
	return string(r[:4]) + separator + string(r[4:8]) + separator + string(r[8:])
}

// TestCheckDigit: the published sample, and each way in which the rest of 11
// can turn out.
func TestCheckDigit(t *testing.T) {
	for eleven, want := range map[string]byte{
		"12345678901": '8', // and so the sample card's 2 is wrong on purpose
		"00000000000": '0', // rest 0
		"00000000006": '0', // rest 1
		"00000000001": '9', // rest 2
		"00000000005": '1', // rest 10
	} {
		if have := checkDigit(eleven); have != want {
			t.Errorf("%s: %c, want %c", eleven, have, want)
		}
	}
}

func TestOneCheckDigitOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		eleven := rapid.StringMatching(`[0-9]{11}`).Draw(t, "eleven")
		for d := byte('0'); d <= '9'; d++ {
			var digits [12]byte
			for i, c := range []byte(eleven + string(d)) {
				digits[i] = c - '0'
			}
			if have, want := ledger.ValidMyNumber(digits), d == checkDigit(eleven); have != want {
				t.Fatalf("%s with %c is valid: %v, want %v", eleven, d, have, want)
			}
		}
	})
}

func TestFindMyNumber(t *testing.T) {
	n := myNumber("23456789012")
	bad := n[:11] + string('0'+(n[11]-'0'+1)%10)
	for text, want := range map[string]int{
		n:                                  0,
		"x" + n:                            1,
		"氏名" + n + "様":                     len("氏名"),
		fullWidth(n):                       0,
		n[:6] + fullWidth(n[6:]):           0,
		grouped(n, " "):                    0,
		grouped(n, "-"):                    0,
		grouped(n, "－"):                    0,
		grouped(n, "ー"):                    0,
		grouped(fullWidth(n), "　"):         0,
		grouped(n, "\u00a0"):               0,
		"03-" + n:                          3,
		n + "-03":                          0,
		"2015 " + grouped(n, " "):          5,
		grouped(n, " ") + " 2015":          0,
		"1, " + n:                          3,
		bad + "," + n:                      13,
		n + "号":                            0,
		"":                                 -1,
		"123456789012":                     -1, // the usual sample card
		bad:                                -1,
		grouped(bad, " "):                  -1,
		n[:11]:                             -1,
		n + "0":                            -1, // inside a longer run
		"0" + n:                            -1,
		grouped(n, "  "):                   -1,
		grouped(n, ","):                    -1,
		n[:4] + " " + n[4:8] + "-" + n[8:]: -1, // how many, from and to
		n[:4] + "-" + n[4:8] + "－" + n[8:]: 0,
		n[:3] + "-" + n[3:7] + n[7:]:       -1, // 3 and 9
		n[:6] + "-" + n[6:]:                -1,
		"131229-20151005-0042":             -1,
		"2015-10-05T01:30:00.123456789":    -1,
		"125-0063":                         -1,
		"\xef\xbc":                         -1,
	} {
		if have := ledger.FindMyNumber(text); have != want {
			t.Errorf("%q: %d, want %d", text, have, want)
		}
	}
}

// TestFindMyNumberAgainstRegexp compares with a second way to say the same.
func TestFindMyNumberAgainstRegexp(t *testing.T) {
	piece := rapid.OneOf(
		rapid.StringMatching(`[0-9]{4}`), rapid.StringMatching(`[0-9]{1,14}`), rapid.StringMatching(`[０-９]{4}`),
		rapid.Map(rapid.StringMatching(`[0-9]{11}`), myNumber),
		rapid.Map(rapid.StringMatching(`[0-9]{11}`), func(s string) string { return grouped(myNumber(s), "-") }),
		rapid.Map(rapid.StringMatching(`[0-9]{11}`), func(s string) string { return fullWidth(myNumber(s)) }),
		rapid.SampledFrom([]string{" ", "-", "　", "  ", "x", "丁目", ",", "\xff"}),
	)
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(piece, 0, 12).Draw(t, "pieces"), "")
		if have, want := ledger.FindMyNumber(text), findByRegexp(text); have != want {
			t.Fatalf("%q: %d, want %d", text, have, want)
		}
	})
}

var (
	chains = regexp.MustCompile(`[0-9０-９]+(?:[ \-\x{3000}\x{ff0d}\x{2010}-\x{2015}\x{2212}\x{30fc}\x{ff70}\x{00a0}][0-9０-９]+)*`)
	runs   = regexp.MustCompile(`[0-9０-９]+`)
)

// findByRegexp cuts text into chains of digits, those into groups, and tries
// every group and every three neighbours.
func findByRegexp(text string) int {
	for _, chain := range chains.FindAllStringIndex(text, -1) {
		var groups []string
		var starts []int
		var spaced []bool // whether there is a space before the group
		for _, run := range runs.FindAllStringIndex(text[chain[0]:chain[1]], -1) {
			from, to := chain[0]+run[0], chain[0]+run[1]
			groups = append(groups, halfWidth(text[from:to]))
			starts = append(starts, from)
			before, _ := utf8.DecodeLastRuneInString(text[:from])
			spaced = append(spaced, unicode.IsSpace(before))
		}
		for i, g := range groups {
			if len(g) == 12 && checkDigit(g) == g[11] {
				return starts[i]
			}
			if i >= 2 && len(groups[i-2]) == 4 && len(groups[i-1]) == 4 && len(g) == 4 && spaced[i-1] == spaced[i] {
				if joined := groups[i-2] + groups[i-1] + g; checkDigit(joined) == joined[11] {
					return starts[i-2]
				}
			}
		}
	}
	return -1
}

func halfWidth(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '０' && r <= '９' {
			return r - '０' + '0'
		}
		return r
	}, s)
}
