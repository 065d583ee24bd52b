package producers

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"todoke/ledger"
)

// MaxBatchNumber is the largest number of a batch in one day.
const MaxBatchNumber = 9999

// A Batch names one municipality's items that are sent together. It is written
// 131229-20151005-0042: municipality code, date, four-digit number.
type Batch struct {
	Municipality string // six digits with check digit
	Date         string // 20151005, in JST
	Number       int    // 1 to MaxBatchNumber, from 1 again every day
}

// ParseBatch is the inverse of [Batch.String]. It accepts only the canonical
// form. The error is a [ledger.ErrMalformed].
func ParseBatch(s string) (Batch, error) {
	municipality, rest, ok1 := strings.Cut(s, "-")
	date, number, ok2 := strings.Cut(rest, "-")
	n, err := strconv.Atoi(number)
	b := Batch{municipality, date, n}
	if !ok1 || !ok2 || err != nil || b.String() != s {
		return Batch{}, fmt.Errorf("batch %.24q is not written as 131229-20151005-0042: %w", s, ledger.ErrMalformed)
	}
	if err := b.validate(); err != nil {
		return Batch{}, fmt.Errorf("batch %q: %v: %w", s, err, ledger.ErrMalformed)
	}
	return b, nil
}

func (b Batch) validate() error {
	if !ledger.ValidMunicipality(b.Municipality) {
		return fmt.Errorf("%q is not a municipality code", b.Municipality)
	}
	if _, err := time.Parse("20060102", b.Date); err != nil {
		return fmt.Errorf("%q is not a date", b.Date)
	}
	if b.Number < 1 || b.Number > MaxBatchNumber {
		return fmt.Errorf("the number must be 1 to %d", MaxBatchNumber)
	}
	return nil
}

// String returns the name of the batch, which is also its aggregate in the
// ledger.
func (b Batch) String() string {
	return fmt.Sprintf("%s-%s-%04d", b.Municipality, b.Date, b.Number)
}
