package ledger_test

import (
	"bytes"
	"errors"
	"maps"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"todoke/ledger"
)

// FuzzDecode reads bodies as a reader of a stored stream does.
func FuzzDecode(f *testing.F) {
	for _, p := range hostile {
		f.Add(p)
	}
	for _, d := range drafts() {
		p, err := ledger.Encode(&d.Body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var b ledger.Body
		unknown, err := ledger.DecodeBody(p, &b)
		if err != nil {
			if !errors.Is(err, ledger.ErrMalformed) && !errors.Is(err, ledger.ErrTooLarge) {
				t.Fatalf("%v is neither malformed nor too large", err)
			}
			return
		}
		again, err := ledger.Encode(&b)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if len(again) > len(p) {
			t.Fatalf("%d bytes became %d", len(p), len(again))
		}
		var back ledger.Body
		if _, err := ledger.DecodeBody(again, &back); err != nil || !unknown && !reflect.DeepEqual(normal(b), normal(back)) {
			t.Fatalf("read back:\n%+v\nwant:\n%+v\n%v", back, b, err)
		}
	})
}

// normal makes empty lists nil, which are written alike.
func normal(b ledger.Body) ledger.Body {
	if len(b.Towns) == 0 {
		b.Towns = nil
	}
	if len(b.Evidence) == 0 {
		b.Evidence = nil
	}
	if len(b.Pack) == 0 {
		b.Pack = nil
	}
	return b
}

// FuzzAdmit sends records whose signature is right and everything else is the
// sender's choice.
func FuzzAdmit(f *testing.F) {
	good := map[string]ledger.Record{}
	for kind, d := range drafts() {
		r := record(f, d)
		good[kind.String()] = r
		f.Add(r.Subject, r.Header.Get(ledger.HeaderKind), r.Header.Get(ledger.HeaderParty), r.Header.Get(ledger.HeaderSent), r.Body)
	}
	f.Fuzz(func(t *testing.T, subject, kind, party, sent string, body []byte) {
		r := ledger.Record{Subject: subject, Body: body, Header: maps.Clone(good["order.sent"].Header)}
		r.Header[ledger.HeaderKind] = []string{kind}
		r.Header[ledger.HeaderParty] = []string{party}
		r.Header[ledger.HeaderSent] = []string{sent}
		r = sign(t, r)
		e, err := ledger.Admit(testLedger, r)
		if err != nil {
			if !errors.Is(err, ledger.ErrRefused) {
				t.Fatalf("%v is not a refusal", err)
			}
			return
		}
		read, err := ledger.Decode(stored(r))
		if err != nil || read.UnknownField || !reflect.DeepEqual(read.Content, e.Content) {
			t.Fatalf("admitted, and read as:\n%+v\nwant:\n%+v\n%v", read.Content, e.Content, err)
		}
		again, err := ledger.Encode(&e.Content)
		if err != nil || !bytes.Equal(again, body) {
			t.Fatalf("admitted, and written as:\n%x\nwant:\n%x\n%v", again, body, err)
		}
		for _, text := range []string{subject, party, e.Content.Reason, e.Content.OwedBy, e.Content.Holder, string(e.Content.Pack)} {
			if findByRegexp(text) >= 0 {
				t.Fatal("admitted with a personal number")
			}
		}
	})
}

func FuzzParseItems(f *testing.F) {
	for _, text := range []string{"", "1", "1-551,560", "17,3000-3004", "10000000", "01", "5-1", "1-5,6", "4294967296"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		items, err := ledger.ParseItems(text)
		if err != nil {
			return
		}
		if items.String() != text {
			t.Fatalf("%q is written as %q", text, items)
		}
		if max := items.Max(); max > ledger.MaxItem || items.Count() > int(max) {
			t.Fatalf("%q has %d items up to %d", text, items.Count(), max)
		}
	})
}

func FuzzParseSubject(f *testing.F) {
	for _, d := range drafts() {
		f.Add(d.Subject.String())
	}
	f.Add("ledger.v1.131229.*.order.sent")
	f.Add("ledger.v1.131229.b.order.lost")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ledger.ParseSubject(text)
		if err != nil {
			if !errors.Is(err, ledger.ErrRefused) {
				t.Fatalf("%v is not a refusal", err)
			}
			return
		}
		if s.String() != text {
			t.Fatalf("%q is written as %q", text, s)
		}
		if strings.ContainsAny(text, "*> \x00") {
			t.Fatalf("%q has a wildcard", text)
		}
	})
}

func FuzzFindMyNumber(f *testing.F) {
	n := myNumber("23456789012")
	for _, text := range []string{"", n, fullWidth(n), grouped(n, "-"), grouped(fullWidth(n), "　"), "2015 " + grouped(n, " "), n + "0", "１2３4-"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		have := ledger.FindMyNumber(text)
		if utf8.ValidString(text) && have != findByRegexp(text) {
			t.Fatalf("%q: %d, want %d", text, have, findByRegexp(text))
		}
	})
}
