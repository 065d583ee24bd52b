package producers

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"todoke/ledger"
)

func TestParseBatchRefuses(t *testing.T) {
	for name, s := range map[string]string{
		"nothing":                "",
		"a wrong check digit":    "131228-20151005-0042",
		"five digits":            "13122-20151005-0042",
		"no municipality at all": "000000-20151005-0042",
		"a day that is none":     "131229-20150230-0042",
		"number zero":            "131229-20151005-0000",
		"a short number":         "131229-20151005-42",
		"a long number":          "131229-20151005-00042",
		"a negative number":      "131229-20151005--042",
		"a fourth part":          "131229-20151005-0042-1",
		"dashes in the date":     "131229-2015-10-05-0042",
		"other digits":           "131229-20151005-００４２",
	} {
		t.Run(name, func(t *testing.T) {
			if b, err := ParseBatch(s); !errors.Is(err, ledger.ErrMalformed) {
				t.Fatalf("ParseBatch(%q) = %v, %v; want ErrMalformed", s, b, err)
			}
		})
	}
}

func TestBatchRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		date := fmt.Sprintf("20%02d%02d%02d", rapid.IntRange(0, 99).Draw(t, "year"),
			rapid.IntRange(1, 12).Draw(t, "month"), rapid.IntRange(1, 28).Draw(t, "day"))
		want := Batch{"131229", date, rapid.IntRange(1, MaxBatchNumber).Draw(t, "number")}
		got, err := ParseBatch(want.String())
		if err != nil || got != want {
			t.Fatalf("%v came back as %v, %v", want, got, err)
		}
	})
}
