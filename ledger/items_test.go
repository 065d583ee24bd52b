package ledger_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"todoke/ledger"
)

func TestParseItems(t *testing.T) {
	for text, want := range map[string]ledger.Items{
		"":                 nil,
		"1":                {{First: 1, Last: 1}},
		"1-551,560":        {{First: 1, Last: 551}, {First: 560, Last: 560}},
		"17,3000-3004":     {{First: 17, Last: 17}, {First: 3000, Last: 3004}},
		"1,3,5":            {{First: 1, Last: 1}, {First: 3, Last: 3}, {First: 5, Last: 5}},
		"9999999-10000000": {{First: 9_999_999, Last: 10_000_000}},
	} {
		have, err := ledger.ParseItems(text)
		if err != nil || !have.Equal(want) {
			t.Errorf("%q: %v, %v, want %v", text, have, err, want)
		}
		if have.String() != text {
			t.Errorf("%q is written as %q", text, have)
		}
	}
}

func TestParseItemsRefuses(t *testing.T) {
	for text, why := range map[string]string{
		"0":                    "begin at 1",
		"0-5":                  "begin at 1",
		"5-1":                  "runs backwards",
		"5-5":                  "one number as a range",
		"1-5,3":                "overlap",
		"1-5,6":                "touch",
		"1-5,6-9":              "touch",
		"5,1":                  "descending",
		"5,5":                  "twice",
		"10000001":             "above the largest",
		"1-10000001":           "above the largest",
		"4294967297":           "more than 32 bits",
		"18446744073709551617": "more than 64 bits",
		"01":                   "leading zero",
		"01-5":                 "leading zero",
		"1-05":                 "leading zero",
		"+1":                   "sign",
		"-1":                   "sign",
		"1-":                   "half a range",
		"1--2":                 "two hyphens",
		"1-2-3":                "two hyphens",
		",":                    "nothing between commas",
		"1,":                   "nothing behind the comma",
		" 1":                   "space",
		"1, 2":                 "space",
		"１":                    "full width",
		"1_000":                "underscore",
		"0x1":                  "hexadecimal",
		"all":                  "a word",
	} {
		if have, err := ledger.ParseItems(text); err == nil {
			t.Errorf("%q (%s) is read as %v", text, why, have)
		}
	}
}

func TestCollectItemsPanicsOutsideItsRange(t *testing.T) {
	for _, n := range []uint32{0, ledger.MaxItem + 1, 1<<32 - 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%d was taken", n)
				}
			}()
			ledger.CollectItems([]uint32{1, n})
		}()
	}
}

func TestAllItems(t *testing.T) {
	for n, want := range map[int]string{-1: "", 0: "", 1: "1", 5228: "1-5228", ledger.MaxItem: "1-10000000"} {
		if items := ledger.AllItems(n); items.String() != want || items.Count() != max(n, 0) || items.Max() != uint32(max(n, 0)) {
			t.Errorf("%d: %v, count %d, max %d", n, items, items.Count(), items.Max())
		}
	}
}

func TestItemsStopWhenTold(t *testing.T) {
	var seen []uint32
	for n := range ledger.AllItems(ledger.MaxItem).All {
		if seen = append(seen, n); n == 3 {
			break
		}
	}
	if !slices.Equal(seen, []uint32{1, 2, 3}) {
		t.Errorf("seen %v", seen)
	}
}

func TestItemsInJSON(t *testing.T) {
	text, err := json.Marshal(ledger.Items{{First: 1, Last: 551}, {First: 560, Last: 560}})
	if err != nil || string(text) != `"1-551,560"` {
		t.Errorf("%s, %v", text, err)
	}
	var back ledger.Items
	if err := json.Unmarshal(text, &back); err != nil || back.Count() != 552 {
		t.Errorf("%v, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`"2,1"`), &back); err == nil {
		t.Errorf("descending items are read as %v", back)
	}
}

// model is a set of item numbers, the simplest there is.
type model map[uint32]bool

func (m model) numbers() []uint32 { return slices.Sorted(maps.Keys(m)) }

// someItems draws sets that reach the ends of the range and of Roaring's
// containers of 2^16 numbers.
func someItems() *rapid.Generator[ledger.Items] {
	number := rapid.OneOf(
		rapid.Uint32Range(1, 40),
		rapid.Uint32Range(1<<16-3, 1<<16+3),
		rapid.Uint32Range(2<<16-3, 2<<16+3),
		rapid.Uint32Range(ledger.MaxItem-3, ledger.MaxItem),
	)
	return rapid.Map(rapid.SliceOfN(number, 0, 60), ledger.CollectItems)
}

func modelOf(items ledger.Items) model {
	m := model{}
	for n := range items.All {
		m[n] = true
	}
	return m
}

func TestItemsAreSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := someItems().Draw(t, "a"), someItems().Draw(t, "b")
		union, minus, both := model{}, model{}, model{}
		for n := range modelOf(a) {
			union[n] = true
			if modelOf(b)[n] {
				both[n] = true
			} else {
				minus[n] = true
			}
		}
		maps.Copy(union, modelOf(b))
		for _, c := range []struct {
			name string
			have ledger.Items
			want model
		}{
			{"a", a, modelOf(a)},
			{"a or b", a.Union(b), union},
			{"b or a", b.Union(a), union},
			{"a without b", a.Minus(b), minus},
			{"a and b", a.Intersect(b), both},
			{"b and a", b.Intersect(a), both},
			{"nothing without a", ledger.Items(nil).Minus(a), model{}},
			{"a without a", a.Minus(a), model{}},
		} {
			want := c.want.numbers()
			if have := slices.Collect(c.have.All); !slices.Equal(have, want) {
				t.Fatalf("%s: %v, want %v", c.name, c.have, want)
			}
			if c.have.Count() != len(want) || c.have.Max() != slices.Max(append(want, 0)) {
				t.Fatalf("%s: count %d, max %d, want %v", c.name, c.have.Count(), c.have.Max(), want)
			}
			if !c.have.Equal(ledger.CollectItems(want)) {
				t.Fatalf("%s: %v is not in its one form", c.name, c.have)
			}
			back, err := ledger.ParseItems(c.have.String())
			if err != nil || !back.Equal(c.have) {
				t.Fatalf("%s: %v read back as %v, %v", c.name, c.have, back, err)
			}
		}
		if a.Equal(b) != maps.Equal(modelOf(a), modelOf(b)) {
			t.Fatalf("%v equal %v: %v", a, b, a.Equal(b))
		}
	})
}

// TestItemsAlgebraLeavesItsOperandsAlone: items are values that many hold.
func TestItemsAlgebraLeavesItsOperandsAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := someItems().Draw(t, "a"), someItems().Draw(t, "b")
		before := a.String() + "|" + b.String()
		a.Union(b)
		a.Minus(b)
		a.Intersect(b)
		if after := a.String() + "|" + b.String(); after != before {
			t.Fatalf("%s became %s", before, after)
		}
	})
}

// TestRangeEnds: Roaring's ranges end before their end, ours with their last.
func TestRangeEnds(t *testing.T) {
	numbers := []uint32{1, 65535, 65536, 65537, 131071, 131072, ledger.MaxItem}
	if text := ledger.CollectItems(numbers).String(); text != "1,65535-65537,131071-131072,10000000" {
		t.Error(text)
	}
	whole := ledger.AllItems(ledger.MaxItem)
	if text := whole.Minus(ledger.Items{{First: 65536, Last: 131071}}).String(); text != "1-65535,131072-10000000" {
		t.Error(text)
	}
	if hole := whole.Minus(ledger.Items{{First: 1, Last: 1}, {First: ledger.MaxItem, Last: ledger.MaxItem}}).String(); hole != "2-9999999" {
		t.Error(hole)
	}
}

func TestLongItemErrorsAreShort(t *testing.T) {
	_, err := ledger.ParseItems(strings.Repeat("1,", 100_000))
	if err == nil || len(err.Error()) > 200 {
		t.Errorf("error of %d bytes", len(err.Error()))
	}
}
