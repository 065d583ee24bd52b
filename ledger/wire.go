package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// wireErrors are the names under which errors cross from one process to
// another. They never change. The order matters: an error has the code of the
// first that it is.
var wireErrors = []struct {
	code string
	err  error
}{
	{"malformed", ErrMalformed},
	{"too-large", ErrTooLarge},
	{"unknown-kind", ErrUnknownKind},
	{"signature", ErrSignature},
	{"scope", ErrScope},
	{"mismatch", ErrMismatch},
	{"personal", ErrPersonal},
	{"id-reused", ErrIDReused},
	{"full", ErrFull},
	{"story", ErrStory},
	{"refused", ErrRefused},
	{"conflict", ErrConflict},
	{"unknown", ErrUnknown},
	{"fenced", ErrFenced},
	{"closed", ErrClosed},
	{"storage-full", ErrStorageFull},
	{"clock", ErrClock},
	{"unavailable", ErrUnavailable},
}

// Code returns the name under which err crosses to another process, "" for nil.
// An error that has none is "unknown": the caller must not conclude anything
// from it.
func Code(err error) string {
	if err == nil {
		return ""
	}
	for _, w := range wireErrors {
		if errors.Is(err, w.err) {
			return w.code
		}
	}
	return "unknown"
}

// FromCode is the inverse of [Code]: the error is what errors.Is found on the
// other side, with the other side's sentence. A code that this program does not
// know is an [ErrUnknown].
func FromCode(code, sentence string) error {
	if code == "" {
		return nil
	}
	for _, w := range wireErrors {
		if w.code == code {
			return &remoteError{sentence, w.err}
		}
	}
	return fmt.Errorf("%s (%s): %w", sentence, code, ErrUnknown)
}

// remoteError is an error of another process. Its sentence ends with the
// sentinel's already.
type remoteError struct {
	sentence string
	is       error
}

func (e *remoteError) Error() string { return e.sentence }
func (e *remoteError) Unwrap() error { return e.is }

// wireReceipt is a receipt in JSON.
type wireReceipt struct {
	Ledger      string `json:"ledger"`
	Incarnation uint64 `json:"incarnation"`
	Seq         Seq    `json:"seq"`
	Time        string `json:"time"`
	ID          string `json:"id"`
	Duplicate   bool   `json:"duplicate"`
}

// MarshalJSON writes {"ledger","incarnation","seq","time","id","duplicate"}: ids
// in hex, the record time as [TimeFormat].
func (r Receipt) MarshalJSON() ([]byte, error) {
	return json.Marshal(wireReceipt{r.Ledger.String(), r.Incarnation, r.Seq, r.Time.UTC().Format(TimeFormat), r.ID.String(), r.Duplicate})
}

// UnmarshalJSON is the inverse of MarshalJSON. It returns an error when an id or
// the time is not one, and when there is no incarnation or no sequence.
func (r *Receipt) UnmarshalJSON(text []byte) error {
	var w wireReceipt
	if err := json.Unmarshal(text, &w); err != nil {
		return fmt.Errorf("read receipt: %w", err)
	}
	of, badLedger := ParseLedgerID(w.Ledger)
	id, badID := ParseID(w.ID)
	at, badTime := time.Parse(TimeFormat, w.Time)
	if err := errors.Join(badLedger, badID, badTime); err != nil {
		return fmt.Errorf("read receipt: %w", err)
	}
	if w.Seq == 0 || w.Incarnation == 0 {
		return errors.New("read receipt: it has no incarnation or no sequence")
	}
	*r = Receipt{Ledger: of, Incarnation: w.Incarnation, Seq: w.Seq, Time: at, ID: id, Duplicate: w.Duplicate}
	return nil
}
