package intake

import (
	_ "embed"
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// The groups that are no town.
const (
	otherTowns  = "その他"  // what is too small to be named
	unknownTown = "町名不明" // neither town nor postcode
)

// maxTownName is the most bytes of a town's name. 4,096 names of that length
// fit in an event.
const maxTownName = 60

// katsushika is the table of 葛飾区. Names: Geolonia 住所データ (CC BY 4.0),
// from 大字・町丁目レベル位置参照情報 of the Ministry of Land; postcodes:
// Japan Post.
//
//go:embed katsushika_towns.csv
var katsushika string

// Towns finds the town of an address. Its zero value knows none.
type Towns struct {
	// bases holds the towns by name without 丁目 and by its number: 白鳥二丁目
	// is under 白鳥 and 2, 水元公園 under itself and 0.
	bases map[string]map[int]string
	// lengths holds the lengths of the bases in bytes, longest first, by
	// their first character.
	lengths map[rune][]int
	wards   []string // 葛飾区: what may stand before a town
}

// ReadTowns reads the towns of one municipality from a table: CSV in UTF-8
// with a header and at least the columns lgcode (municipality code), ward and
// town. Rows of other municipalities are passed over; it returns an error when
// none is left.
func ReadTowns(r io.Reader, municipality string) (*Towns, error) {
	rows, err := csv.NewReader(r).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read towns: %w", err)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("read towns: the table is empty")
	}
	code, ward, town := slices.Index(rows[0], "lgcode"), slices.Index(rows[0], "ward"), slices.Index(rows[0], "town")
	if min(code, ward, town) < 0 {
		return nil, fmt.Errorf("read towns: the table needs the columns lgcode, ward and town")
	}
	t := &Towns{bases: map[string]map[int]string{}, lengths: map[rune][]int{}}
	for i, row := range rows[1:] {
		if row[code] != municipality {
			continue
		}
		if err := t.add(row[ward], row[town]); err != nil {
			return nil, fmt.Errorf("read towns: row %d: %w", i+2, err)
		}
	}
	if len(t.bases) == 0 {
		return nil, fmt.Errorf("read towns: no row is of municipality %s", municipality)
	}
	for base := range t.bases {
		first, _ := utf8.DecodeRuneInString(base)
		t.lengths[first] = append(t.lengths[first], len(base))
	}
	for first, lengths := range t.lengths {
		slices.SortFunc(lengths, func(a, b int) int { return b - a })
		t.lengths[first] = slices.Compact(lengths)
	}
	return t, nil
}

func (t *Towns) add(ward, town string) error {
	fault, _ := inspect(town)
	if fault != "" || len(town) == 0 || len(town) > maxTownName || town == otherTowns || town == unknownTown {
		return fmt.Errorf("the name of a town must be 1 to %d bytes of text, and not %s or %s", maxTownName, otherTowns, unknownTown)
	}
	base, number := splitTown(plain(town))
	if t.bases[base] == nil {
		t.bases[base] = map[int]string{}
	}
	t.bases[base][number] = town
	if ward != "" && !slices.Contains(t.wards, ward) {
		t.wards = append(t.wards, ward)
	}
	return nil
}

// splitTown splits 白鳥二丁目 into 白鳥 and 2. A town without number has 0.
func splitTown(town string) (base string, number int) {
	base, numbered := strings.CutSuffix(town, "丁目")
	if !numbered {
		return town, 0
	}
	for i := range base { // the longest number at the end
		if n, rest := leadingNumber(base[i:]); n > 0 && rest == "" && i > 0 {
			return base[:i], n
		}
	}
	return town, 0
}

// find returns the town that an address begins with, with or without ward and
// prefecture before it, "" when the table has none.
func (t *Towns) find(address string) string {
	address = plain(address)
	if town := t.match(address); town != "" {
		return town
	}
	for _, ward := range t.wards {
		if _, rest, ok := strings.Cut(address, ward); ok {
			if town := t.match(rest); town != "" {
				return town
			}
		}
	}
	return ""
}

// match returns the town with the longest name that s begins with.
func (t *Towns) match(s string) string {
	s = strings.TrimLeft(s, " \u3000")
	first, _ := utf8.DecodeRuneInString(s)
	for _, n := range t.lengths[first] {
		if n > len(s) {
			continue
		}
		numbers, ok := t.bases[s[:n]]
		if !ok {
			continue
		}
		if town, ok := numbers[blockNumber(s[n:])]; ok {
			return town
		}
		if town, ok := numbers[0]; ok {
			return town
		}
	}
	return ""
}

// blockNumber returns the number of a 丁目 that s begins with: 二丁目, ２丁目,
// 2-1, ２－１, or 2 and nothing more. It returns 0 for a number that means
// something else, as 2番地.
func blockNumber(s string) int {
	n, rest := leadingNumber(strings.TrimLeft(s, " \u3000"))
	next, _ := utf8.DecodeRuneInString(rest)
	if rest == "" || strings.HasPrefix(rest, "丁目") || strings.ContainsRune(" \u3000-－‐‑–—―−ーｰのノ", next) {
		return n
	}
	return 0
}

// leadingNumber reads a number below 100 that s begins with, in half-width,
// full-width or kanji digits. It returns 0 when there is none.
func leadingNumber(s string) (n int, rest string) {
	for i, r := range s {
		d := digitOf(r)
		kanji := d >= 0 && r > '9' && r < '０'
		switch {
		case d < 0, n > 0 && n < 10 && kanji && d < 10:
			return n, s[i:]
		case d == 10:
			n = 10 * max(n, 1)
		case kanji:
			n += d
		default:
			n = 10*n + d
		}
		if n >= 100 {
			return 0, s
		}
	}
	return n, ""
}

// digitOf returns the value of a digit, 10 for 十, -1 for anything else.
func digitOf(r rune) int {
	switch {
	case r >= '0' && r <= '9':
		return int(r - '0')
	case r >= '０' && r <= '９':
		return int(r - '０')
	}
	if i := strings.IndexRune("一二三四五六七八九十", r); i >= 0 {
		return i/utf8.RuneLen('一') + 1
	}
	return -1
}

// plain takes variation selectors out, which choose the shape of the character
// before them: 葛飾区 with either shape of 葛 is 葛飾区.
func plain(s string) string {
	if strings.IndexByte(s, 0xF3) < 0 && !strings.Contains(s, "\xEF\xB8") { // how they begin
		return s
	}
	return strings.Map(func(r rune) rune {
		if (r >= 0xFE00 && r <= 0xFE0F) || (r >= 0xE0100 && r <= 0xE01EF) {
			return -1
		}
		return r
	}, s)
}
