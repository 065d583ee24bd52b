package ledger

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"
)

// MaxItem is the largest item number, and so the largest batch.
const MaxItem = 10_000_000

// A Range is a run of item numbers, both ends included.
type Range struct{ First, Last uint32 }

// Items is a set of item numbers, written as ascending ranges: 1-551,560.
// Ranges are 1-based, ascending, and never touch or overlap. The zero value
// is the empty set. Items are values: no method changes its receiver, and a
// caller must not change the slice.
type Items []Range

// AllItems returns the set 1..n.
func AllItems(n int) Items {
	if n <= 0 {
		return nil
	}
	return Items{{1, uint32(n)}}
}

// ParseItems is the inverse of [Items.String]. It accepts only the canonical
// form: ascending, not touching, within 1..MaxItem. The empty string is the
// empty set.
func ParseItems(s string) (Items, error) {
	if s == "" {
		return nil, nil
	}
	items := make(Items, 0, strings.Count(s, ",")+1)
	for part := range strings.SplitSeq(s, ",") {
		lo, hi, isRange := strings.Cut(part, "-")
		if !isRange {
			hi = lo
		}
		first, err1 := strconv.ParseUint(lo, 10, 32)
		last, err2 := strconv.ParseUint(hi, 10, 32)
		if err1 != nil || err2 != nil || lo[0] == '0' || hi[0] == '0' || (isRange && first == last) {
			return nil, fmt.Errorf("parse items %q: %q is not a number or a range", clip(s), clip(part))
		}
		items = append(items, Range{uint32(first), uint32(last)})
	}
	if err := items.validate(); err != nil {
		return nil, fmt.Errorf("parse items %q: %w", clip(s), err)
	}
	return items, nil
}

// CollectItems returns the set of the given numbers, in any order, repeats
// allowed. It panics on a number outside 1..MaxItem.
func CollectItems(numbers []uint32) Items {
	var items Items
	for first, end := range roaring.BitmapOf(numbers...).Ranges() {
		items = append(items, Range{first, uint32(end - 1)})
	}
	if err := items.validate(); err != nil {
		panic("ledger: collect items: " + err.Error())
	}
	return items
}

// validate reports whether the receiver keeps the promises of its type.
func (s Items) validate() error {
	var before uint32
	for i, r := range s {
		switch {
		case r.First == 0:
			return fmt.Errorf("item numbers begin at 1")
		case r.Last < r.First:
			return fmt.Errorf("range %d-%d runs backwards", r.First, r.Last)
		case r.Last > MaxItem:
			return fmt.Errorf("item %d is above %d", r.Last, MaxItem)
		case i > 0 && r.First <= before:
			return fmt.Errorf("range %d-%d is not above what comes before it", r.First, r.Last)
		case i > 0 && r.First == before+1:
			return fmt.Errorf("ranges touch at %d: write them as one", r.First)
		}
		before = r.Last
	}
	return nil
}

// String returns the ranges, as 1-551,560.
func (s Items) String() string {
	b := make([]byte, 0, len(s)*8)
	for i, r := range s {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(r.First), 10)
		if r.Last != r.First {
			b = append(b, '-')
			b = strconv.AppendUint(b, uint64(r.Last), 10)
		}
	}
	return string(b)
}

// MarshalText returns the same as [Items.String].
func (s Items) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is [ParseItems].
func (s *Items) UnmarshalText(text []byte) error {
	items, err := ParseItems(string(text))
	*s = items
	return err
}

// Count returns how many items are in the set.
func (s Items) Count() int {
	n := 0
	for _, r := range s {
		n += int(r.Last-r.First) + 1
	}
	return n
}

// Max returns the largest item number, 0 for the empty set.
func (s Items) Max() uint32 {
	if len(s) == 0 {
		return 0
	}
	return s[len(s)-1].Last
}

// Contains reports whether n is in the set.
func (s Items) Contains(n uint32) bool {
	_, found := slices.BinarySearchFunc(s, n, func(r Range, n uint32) int {
		switch {
		case r.Last < n:
			return -1
		case r.First > n:
			return 1
		}
		return 0
	})
	return found
}

// All calls yield with each item number in ascending order until it returns
// false.
func (s Items) All(yield func(uint32) bool) {
	for _, r := range s {
		for n := r.First; n <= r.Last; n++ {
			if !yield(n) {
				return
			}
		}
	}
}

// Equal reports whether both sets hold the same items.
func (s Items) Equal(t Items) bool {
	if len(s) != len(t) {
		return false
	}
	for i := range s {
		if s[i] != t[i] {
			return false
		}
	}
	return true
}

// Minus returns the items of s that are not in t.
func (s Items) Minus(t Items) Items {
	if len(t) == 0 {
		return s
	}
	var out Items
	for _, r := range s {
		for len(t) > 0 && t[0].Last < r.First {
			t = t[1:]
		}
		for _, hole := range t {
			if hole.First > r.Last {
				break
			}
			if r.First < hole.First {
				out = append(out, Range{r.First, hole.First - 1})
			}
			r.First = hole.Last + 1
		}
		if r.First <= r.Last {
			out = append(out, r)
		}
	}
	return out
}

// Union returns the items that are in s or in t.
func (s Items) Union(t Items) Items {
	switch {
	case len(s) == 0:
		return t
	case len(t) == 0 || s.Equal(t):
		return s
	}
	out := make(Items, 0, max(len(s), len(t)))
	for len(s) > 0 || len(t) > 0 {
		if len(s) == 0 || len(t) > 0 && t[0].First < s[0].First {
			s, t = t, s
		}
		if n := len(out); n > 0 && s[0].First <= out[n-1].Last+1 {
			out[n-1].Last = max(out[n-1].Last, s[0].Last)
		} else {
			out = append(out, s[0])
		}
		s = s[1:]
	}
	return out
}

// Intersect returns the items that are in both.
func (s Items) Intersect(t Items) Items {
	if s.Equal(t) {
		return s
	}
	var out Items
	for len(s) > 0 && len(t) > 0 {
		first, last := max(s[0].First, t[0].First), min(s[0].Last, t[0].Last)
		if first <= last {
			out = append(out, Range{first, last})
		}
		if s[0].Last == last {
			s = s[1:]
		} else {
			t = t[1:]
		}
	}
	return out
}

// clip shortens text from outside before it goes into an error, and withholds
// what an error must never repeat.
func clip(s string) string {
	const most = 40
	switch {
	case FindMyNumber(s) >= 0:
		return "(withheld)"
	case len(s) <= most:
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
