package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestErrorIsTheSameOnTheOtherSide(t *testing.T) {
	codes := map[string]bool{}
	for _, w := range wireErrors {
		t.Run(w.code, func(t *testing.T) {
			if codes[w.code] {
				t.Errorf("code %q stands for two errors", w.code)
			}
			codes[w.code] = true
			sent := fmt.Errorf("append event: %w", w.err)
			got := FromCode(Code(sent), sent.Error())
			if !errors.Is(got, w.err) {
				t.Errorf("%v came back as %v", w.err, got)
			}
			if errors.Is(got, ErrRefused) != errors.Is(w.err, ErrRefused) {
				t.Errorf("%v changed whether it is a refusal", w.err)
			}
			if got.Error() != sent.Error() {
				t.Errorf("text %q, want %q", got, sent)
			}
		})
	}
}

func TestErrorWithoutCodeSaysNothingCertain(t *testing.T) {
	for _, err := range []error{
		context.DeadlineExceeded,
		errors.New("something else"),
		FromCode("of-a-later-version", "a new reason"),
	} {
		if got := FromCode(Code(err), err.Error()); !errors.Is(got, ErrUnknown) {
			t.Errorf("%v came back as %v, want ErrUnknown", err, got)
		}
	}
	if Code(nil) != "" || FromCode("", "") != nil {
		t.Error("no error became one")
	}
}

func TestReceiptKeepsEverythingAsJSON(t *testing.T) {
	want := Receipt{
		Ledger: LedgerID{1, 2}, Incarnation: 3, Seq: 17, ID: ID{3, 4}, Duplicate: true,
		Time: time.Date(2015, 10, 5, 9, 0, 0, 123456789, time.UTC),
	}
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	const golden = `{"ledger":"01020000000000000000000000000000","incarnation":3,"seq":17,"time":"2015-10-05T09:00:00.123456789Z",` +
		`"id":"03040000000000000000000000000000","duplicate":true}`
	if string(data) != golden {
		t.Errorf("receipt is\n%s, want\n%s", data, golden)
	}
	var got Receipt
	if err := json.Unmarshal(data, &got); err != nil || got != want {
		t.Errorf("came back as %+v, %v", got, err)
	}
}

func FuzzReceiptFromJSON(f *testing.F) {
	good, _ := json.Marshal(Receipt{Ledger: LedgerID{1}, Seq: 1, Time: time.Unix(1443999600, 0), ID: ID{2}})
	f.Add(good)
	f.Add([]byte(`{"ledger":"","seq":0}`))
	f.Add([]byte(`{"seq":-1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var r Receipt
		if json.Unmarshal(data, &r) != nil {
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatalf("a receipt that was read cannot be written: %v", err)
		}
		var r2 Receipt
		if err := json.Unmarshal(again, &r2); err != nil || r2 != r || r.Seq == 0 {
			t.Errorf("%+v came back as %+v, %v", r, r2, err)
		}
	})
}
