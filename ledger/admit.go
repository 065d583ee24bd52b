package ledger

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/nats-io/nkeys"
)

// Admit decides whether a record may enter the ledger, from the record alone:
// size, canonical encoding, subject, the fields that its kind must and may
// have, who may say it, id, signature, and that no text looks like a personal
// number. What needs history is never refused: it is stored as said and judged
// by the fold. Every error is an [ErrRefused].
//
// It cannot check the event id, whose document key does not travel; the author
// is bound to the id by the signature over it.
func Admit(id LedgerID, r Record) (Event, error) {
	e, err := admit(r)
	if err != nil {
		return Event{}, err
	}
	return e, verify(id, r)
}

// admit is Admit but for the signature, which whoever has just made it need not
// verify.
func admit(r Record) (Event, error) {
	if len(r.Body) > MaxBody {
		return Event{}, fmt.Errorf("body of %d bytes: %w", len(r.Body), ErrTooLarge)
	}
	e, err := admitEnvelope(r)
	if err != nil {
		return Event{}, err
	}
	if err := admitBody(&e); err != nil {
		return Event{}, fmt.Errorf("%s: %w", e.Kind(), err)
	}
	if err := admitScope(&e); err != nil {
		return Event{}, fmt.Errorf("%s: %w", e.Kind(), err)
	}
	return e, nil
}

// admitEnvelope reads subject and headers.
func admitEnvelope(r Record) (Event, error) {
	subject, err := ParseSubject(r.Subject)
	if err != nil {
		return Event{}, err
	}
	e := Event{Record: r, Subject: subject}
	if FindMyNumber(r.Subject) >= 0 || FindMyNumber(r.Header.Get(HeaderParty)) >= 0 {
		return Event{}, fmt.Errorf("subject or party: %w", ErrPersonal)
	}
	for name, values := range r.Header {
		if len(values) != 1 || len(values[0]) > 2*maxToken+maxKeySize || strings.ContainsAny(values[0], "\r\n") {
			return Event{}, fmt.Errorf("header %s: %w", clip(name), ErrMalformed)
		}
		switch name {
		case HeaderID, HeaderKind, HeaderParty, HeaderKey, HeaderSalt, HeaderSent, HeaderSig:
		default:
			return Event{}, fmt.Errorf("header %s is not one of an author: %w", clip(name), ErrMalformed)
		}
	}
	kind, err := parseKindHeader(r.Header.Get(HeaderKind))
	if err != nil {
		return Event{}, err
	}
	if kind != subject.Kind {
		return Event{}, fmt.Errorf("kind %s under subject %q: %w", kind, clip(r.Subject), ErrMismatch)
	}
	if e.Author, err = ParseParty(r.Header.Get(HeaderParty)); err != nil {
		return Event{}, fmt.Errorf("%v: %w", err, ErrMalformed)
	}
	if _, err := ParseID(r.Header.Get(HeaderID)); err != nil {
		return Event{}, fmt.Errorf("%v: %w", err, ErrMalformed)
	}
	if err := parseHex(make([]byte, 16), r.Header.Get(HeaderSalt)); err != nil {
		return Event{}, fmt.Errorf("header %s: %v: %w", HeaderSalt, err, ErrMalformed)
	}
	sent := r.Header.Get(HeaderSent)
	if t, err := time.Parse(TimeFormat, sent); err != nil || t.Format(TimeFormat) != sent {
		return Event{}, fmt.Errorf("header %s is not a time as %s: %w", HeaderSent, TimeFormat, ErrMalformed)
	}
	return e, nil
}

// admitBody reads the body and holds it against the kind's schema.
func admitBody(e *Event) error {
	b := &e.Content
	if _, err := decodeBody(e.Body, b, e.Subject); err != nil {
		return err
	}
	// Writing it again gives the same bytes only for the canonical form,
	// without unknown fields, empty fields or long-winded numbers.
	if again, err := Encode(b); err != nil {
		return err
	} else if !bytes.Equal(again, e.Body) {
		return fmt.Errorf("body is not in canonical form: %w", ErrMalformed)
	}
	if b.Municipality != e.Subject.Municipality || b.Aggregate != e.Subject.Aggregate {
		return fmt.Errorf("body of %q under subject %q: %w", clip(b.Municipality+"."+b.Aggregate), clip(e.Record.Subject), ErrMismatch)
	}
	info, _ := e.Kind().info()
	if (info.must|info.may)&fieldFlow != 0 && !IsBatch(e.Subject) {
		return fmt.Errorf("aggregate %q is no batch of %s: %w", e.Subject.Aggregate, e.Subject.Municipality, ErrMismatch)
	}
	if home := homeOf(e); home != "" && home != e.Subject.AggregateKey() {
		return fmt.Errorf("it belongs to %s and not to %s: %w", home, clip(e.Subject.AggregateKey()), ErrMismatch)
	}
	must := info.must | fieldMunicipality | fieldAggregate
	have := b.present()
	if lacks := must &^ have; lacks != 0 {
		return fmt.Errorf("field %s is missing: %w", lacks.first(), ErrMalformed)
	}
	if extra := have &^ (must | info.may); extra != 0 {
		return fmt.Errorf("field %s has no place here: %w", extra.first(), ErrMalformed)
	}
	return admitContent(b)
}

// homeOf returns the aggregate of an event whose kind and content leave it only
// one, "" for the others.
func homeOf(e *Event) string {
	switch e.Kind() {
	case LedgerOpened:
		return National + ".ledger"
	case LedgerStarted:
		return National + "." + StartAggregate(e.Content.Incarnation)
	case AccessRecorded:
		return e.Subject.Municipality + "." + AccessAggregate(e.Content.Since)
	case RulesPublished:
		return National + ".rules"
	}
	return ""
}

// StartAggregate returns the aggregate of an incarnation: ledger-2 and so on. Each
// has its own, since none takes more than [MaxAggregate] events.
func StartAggregate(incarnation uint64) string {
	return "ledger-" + strconv.FormatUint(incarnation, 10)
}

// AccessAggregate returns the aggregate of what is recorded about the accesses of
// one day, in UTC: access-20151005.
func AccessAggregate(at time.Time) string { return "access-" + at.UTC().Format("20060102") }

// admitContent checks what fields say about one another.
func admitContent(b *Body) error {
	switch {
	case len(b.Items) > 0 && b.Items.Count() != int(b.Count):
		return fmt.Errorf("count %d, but items name %d: %w", b.Count, b.Items.Count(), ErrMalformed)
	case b.Basis == BasisRoot && b.Root.IsZero():
		return fmt.Errorf("basis root without a root: %w", ErrMalformed)
	case b.Basis != 0 && b.Basis != BasisCount && len(b.Items) == 0:
		return fmt.Errorf("basis %s without items: %w", b.Basis, ErrMalformed)
	case b.Flow != "" && FlowByName(b.Flow) == nil:
		return fmt.Errorf("flow %q is unknown: %w", clip(b.Flow), ErrMalformed)
	case b.Document.Kind != "" && !validToken(b.Document.Kind):
		return fmt.Errorf("document kind %q: %w", clip(b.Document.Kind), ErrMalformed)
	case b.Posting != "" && !validToken(b.Posting):
		return fmt.Errorf("posting %q: %w", clip(b.Posting), ErrMalformed)
	}
	if d := b.Document.Date; d != "" {
		if _, err := time.Parse(time.DateOnly, d); err != nil {
			return fmt.Errorf("document date %q: %w", clip(d), ErrMalformed)
		}
	}
	for _, f := range []struct{ name, text string }{
		{"reason", b.Reason}, {"hop", b.Hop}, {"owed_by", b.OwedBy}, {"claimed_by", b.ClaimedBy},
		{"holder", b.Holder}, {"story", b.Story}, {"who", string(b.Who)},
	} {
		if err := admitText(f.name, f.text); err != nil {
			return err
		}
	}
	if FindMyNumber(string(b.Pack)) >= 0 { // which has lines, so control characters
		return fmt.Errorf("pack: %w", ErrPersonal)
	}
	for _, t := range b.Towns {
		if t.Name == "" || t.Count == 0 || (len(t.Items) > 0 && t.Items.Count() != int(t.Count)) {
			return fmt.Errorf("a town without name, count or its items: %w", ErrMalformed)
		}
		if err := admitText("town", t.Name); err != nil {
			return err
		}
	}
	return nil
}

// admitText refuses what must not stand in any text that people will read or
// grep: control and direction-changing characters, and personal numbers.
func admitText(field, s string) error {
	for _, r := range s {
		if unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control) || r == unicode.ReplacementChar {
			return fmt.Errorf("%s holds the character %U: %w", field, r, ErrMalformed)
		}
	}
	if FindMyNumber(s) >= 0 {
		return fmt.Errorf("%s: %w", field, ErrPersonal)
	}
	return nil
}

// admitScope checks who speaks: the kind's role, a municipality only for
// itself, and a transcription only by somebody who is not the claimant.
func admitScope(e *Event) error {
	speaker := e.Speaker()
	if _, err := ParseParty(string(speaker)); err != nil {
		return fmt.Errorf("%v: %w", err, ErrMalformed)
	}
	// A name like this would go into alerts, and an alert that cannot be
	// admitted is one that is never raised.
	if FindMyNumber(string(speaker)) >= 0 || FindMyNumber(e.Content.Document.Kind) >= 0 {
		return fmt.Errorf("speaker or document: %w", ErrPersonal)
	}
	if by := e.Kind().By(); speaker.Role() != by {
		return fmt.Errorf("%s is no %s: %w", speaker, by, ErrScope)
	}
	for _, p := range []Party{speaker, e.Author} {
		if p.Role() == Municipality && p.ID() != e.Subject.Municipality {
			return fmt.Errorf("%s speaks for %s: %w", p, e.Subject.Municipality, ErrScope)
		}
	}
	hop, _, of := FlowByName(e.Content.Flow).HopOf(e.Kind())
	check := of && (e.Kind() == hop.Confirm || e.Kind() == hop.Dispute)
	if check && (e.Author.Role() == hop.From || e.Author.Role() == hop.To) {
		return fmt.Errorf("%s is a side of the hop and may not write down its check: %w", e.Author, ErrScope)
	}
	if e.Content.Speaker == "" {
		return nil
	}
	switch {
	case e.Content.Speaker == e.Author:
		return fmt.Errorf("speaker repeats the author: %w", ErrMalformed)
	case e.Content.Document.Kind == "":
		return fmt.Errorf("a transcription must name its document: %w", ErrMalformed)
	case of && e.Author.Role() == hop.From && speaker.Role() != hop.From:
		return fmt.Errorf("%s is on the claimant's side and may not write down the acknowledgement: %w", e.Author, ErrScope)
	}
	return nil
}

// verify checks the author's signature under the key that the record names.
// Whether that key is the author's is not known here.
func verify(id LedgerID, r Record) error {
	key, err := nkeys.FromPublicKey(r.Header.Get(HeaderKey))
	if err != nil {
		return fmt.Errorf("header %s: %v: %w", HeaderKey, err, ErrMalformed)
	}
	// One signature has one spelling: the decoder passes over line ends and
	// the bits behind the last byte.
	sig, err := base64.RawStdEncoding.DecodeString(r.Header.Get(HeaderSig))
	if err != nil || base64.RawStdEncoding.EncodeToString(sig) != r.Header.Get(HeaderSig) {
		return fmt.Errorf("header %s is not unpadded base64: %w", HeaderSig, ErrMalformed)
	}
	if err := key.Verify(signedBytes(id, r), sig); err != nil {
		return fmt.Errorf("event %s by %s: %w", r.Header.Get(HeaderID), r.Header.Get(HeaderParty), ErrSignature)
	}
	return nil
}

// first returns the long name of the first field in f.
func (f fields) first() string {
	for i, name := range [...]string{
		"municipality", "aggregate", "flow", "speaker", "items", "count", "root", "basis", "grade",
		"document", "towns", "posting", "reason", "hop", "side", "due", "reopen", "cause", "owed_by",
		"claimed_by", "claimed_at", "holder", "evidence", "ledger", "story", "pack",
		"incarnation", "previous", "head", "since", "who",
	} {
		if f&(1<<i) != 0 {
			return name
		}
	}
	return "unknown"
}
