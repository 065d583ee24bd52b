package ledger

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"time"
)

// Limits on one event and one aggregate.
const (
	MaxBody      = 512 << 10 // bytes of a body
	MaxAggregate = 4096      // events in one aggregate
	MaxFacts     = 3840      // of these, those before which facts are taken; see [Full]
	maxToken     = 48        // bytes of a subject token
	maxReason    = 400       // bytes of a reason
	maxTownName  = 96        // bytes of a town's name
	maxTowns     = 4096
	maxKeySize   = 64 // bytes of a public key in nkey form
)

// SubjectPrefix begins every subject of this format.
const SubjectPrefix = "ledger.v1."

// National is the municipality token of what belongs to no municipality.
const National = "000000"

// The own headers. The author sets all but the last, which the committer
// sets; what begins with Nats- is the broker's and belongs to nobody here.
const (
	HeaderID    = "Todoke-Id"
	HeaderKind  = "Todoke-Kind"
	HeaderParty = "Todoke-Party"
	HeaderKey   = "Todoke-Key"
	HeaderSalt  = "Todoke-Salt"
	HeaderSent  = "Todoke-Sent"
	HeaderSig   = "Todoke-Sig"
	HeaderTime  = "Todoke-Time"
)

// TimeFormat is how times stand in headers: UTC, always nine decimals.
const TimeFormat = "2006-01-02T15:04:05.000000000Z"

// Seq is the position of an event in its ledger. The first event has 1.
type Seq uint64

// ID identifies an event for ever; see [NewID].
type ID [16]byte

// String returns 32 hex digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// ParseID is the inverse of [ID.String].
func ParseID(s string) (ID, error) {
	var id ID
	if err := parseHex(id[:], s); err != nil {
		return ID{}, fmt.Errorf("parse event id: %w", err)
	}
	return id, nil
}

// LedgerID tells one ledger from every other. It is made once, at random.
type LedgerID [16]byte

// String returns 32 hex digits.
func (id LedgerID) String() string { return hex.EncodeToString(id[:]) }

// ParseLedgerID is the inverse of [LedgerID.String].
func ParseLedgerID(s string) (LedgerID, error) {
	var id LedgerID
	if err := parseHex(id[:], s); err != nil {
		return LedgerID{}, fmt.Errorf("parse ledger id: %w", err)
	}
	return id, nil
}

func parseHex(dst []byte, s string) error {
	if len(s) != 2*len(dst) || strings.ToLower(s) != s {
		return fmt.Errorf("want %d lower-case hex digits, have %q", 2*len(dst), clip(s))
	}
	_, err := hex.Decode(dst, []byte(s))
	return err
}

// A Subject says where an event belongs:
// ledger.v1.<municipality>.<aggregate>.<stage>.<fact>.
type Subject struct {
	Municipality string // six digits with check digit, or National
	Aggregate    string // [a-z0-9-]{1,48}
	Kind         Kind
}

// String returns the subject as it stands in the broker.
func (s Subject) String() string {
	return SubjectPrefix + s.Municipality + "." + s.Aggregate + "." + s.Kind.String()
}

// AggregateKey returns <municipality>.<aggregate>, which names the aggregate in
// the whole ledger.
func (s Subject) AggregateKey() string { return s.Municipality + "." + s.Aggregate }

// IsBatch reports whether the aggregate is a batch of its municipality:
// <municipality>-<date>-<number>, as 131229-20151005-0042.
func IsBatch(s Subject) bool {
	rest, ok := strings.CutPrefix(s.Aggregate, s.Municipality+"-")
	date, number, ok2 := strings.Cut(rest, "-")
	if !ok || !ok2 || len(number) != 4 || number == "0000" || strings.Trim(number, "0123456789") != "" {
		return false
	}
	_, err := time.Parse("20060102", date)
	return err == nil && s.Municipality != National
}

// ParseSubject is the inverse of [Subject.String].
func ParseSubject(s string) (Subject, error) {
	rest, ok := strings.CutPrefix(s, SubjectPrefix)
	municipality, rest, ok1 := strings.Cut(rest, ".")
	aggregate, name, ok2 := strings.Cut(rest, ".")
	if !ok || !ok1 || !ok2 || !validToken(aggregate) || !validCode(municipality) {
		return Subject{}, fmt.Errorf("subject %q: %w", clip(s), ErrMalformed)
	}
	kind, err := ParseKind(name)
	if err != nil {
		return Subject{}, fmt.Errorf("subject %q: %w", clip(s), err)
	}
	return Subject{municipality, aggregate, kind}, nil
}

// validToken reports whether s is 1 to 48 of [a-z0-9-].
func validToken(s string) bool {
	if len(s) == 0 || len(s) > maxToken {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// validCode reports whether s is National or a municipality code whose check
// digit is right.
func validCode(s string) bool { return s == National || ValidMunicipality(s) }

// ValidMunicipality reports whether code has the form of a
// 全国地方公共団体コード: six digits, the last of which is
// (11 - Σ digit×weight mod 11) mod 10 with the weights 6, 5, 4, 3, 2.
func ValidMunicipality(code string) bool {
	if len(code) != 6 {
		return false
	}
	sum := 0
	for i := range 6 {
		d := int(code[i]) - '0'
		if d < 0 || d > 9 {
			return false
		}
		sum += d * (6 - i)
	}
	last := int(code[5] - '0')
	return (11-(sum-last)%11)%10 == last && code != National
}

// Header holds the headers of a record by name. Own headers have one value.
type Header map[string][]string

// Get returns the value of an own header, "" when it is absent.
func (h Header) Get(name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// A Record is an event as bytes: what travels, what is stored, what is
// archived. Nothing in it is believed until [Admit] or [Decode] has read it.
type Record struct {
	Seq     Seq // 0 until it is stored
	Subject string
	Header  Header
	Body    []byte
	// Broker is the broker's own timestamp. It is shown and never used in the
	// place of the record time.
	Broker time.Time
}

// An Event is a record that was read.
type Event struct {
	Record       // as stored; fields that this program does not know are still in it
	Subject      Subject
	Author       Party     // who signed
	Time         time.Time // record time: the committer's clock; zero before it is stored
	Content      Body
	UnknownField bool // the body has fields of a later version
}

// ID returns the event id from the header.
func (e Event) ID() ID { id, _ := ParseID(e.Header.Get(HeaderID)); return id }

// Kind returns what the event says.
func (e Event) Kind() Kind { return e.Subject.Kind }

// Speaker returns whose word it is: the author, unless it is a transcription.
func (e Event) Speaker() Party {
	if e.Content.Speaker != "" {
		return e.Content.Speaker
	}
	return e.Author
}

// Sent returns the author's clock at the time of writing, the zero time when
// the header cannot be read. It is shown and compared; no deadline uses it.
func (e Event) Sent() time.Time {
	t, _ := parseTime(e.Header.Get(HeaderSent))
	return t
}

// parseTime reads a time in TimeFormat. Package time has a fast path for RFC 3339,
// of which this is the form with nine decimals in UTC.
func parseTime(s string) (time.Time, error) {
	if len(s) != len(TimeFormat) || s[19] != '.' || s[len(s)-1] != 'Z' {
		return time.Time{}, fmt.Errorf("time %q is not written as %s", clip(s), TimeFormat)
	}
	return time.Parse(time.RFC3339Nano, s)
}

// A Receipt says that an event is in the ledger.
type Receipt struct {
	Ledger LedgerID
	// Incarnation is the start of the ledger in which the event was stored,
	// from 1. A sequence says something only together with it: what a ledger
	// has lost behind its last seal, it gives to other events.
	Incarnation uint64
	Seq         Seq
	Time        time.Time // record time
	ID          ID
	// Duplicate is set when the event was there before this attempt.
	Duplicate bool
}

// NewID returns the id of an event: the first 16 bytes of SHA-256 over
// todoke/id/v1, ledger, author, aggregate, kind and document key, each behind
// its length. Two attempts to say the same thing have the same id, whatever
// time or salt they carry.
func NewID(ledger LedgerID, author Party, s Subject, documentKey string) ID {
	h := sha256.New()
	writeParts(h, "todoke/id/v1", string(ledger[:]), string(author), s.AggregateKey(), s.Kind.String(), documentKey)
	return ID(h.Sum(nil)[:16])
}

// writeParts writes each part behind its length as eight big-endian bytes, so
// that no two lists of parts give the same bytes.
func writeParts(h hash.Hash, parts ...string) {
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
}

// A Signer signs as one party. An nkeys.KeyPair is one.
type Signer interface {
	PublicKey() (string, error)
	Sign(input []byte) ([]byte, error)
}

// A Draft is what an author brings together for one event.
type Draft struct {
	Author  Party
	Subject Subject
	// DocumentKey tells this event from others of the same author,
	// aggregate and kind: a keyed file digest, a slip number, or a random
	// key made once and kept. It does not enter the ledger.
	DocumentKey string
	Body        Body
	Salt        [16]byte // random; hides the content of the event's seal
	Sent        time.Time
}

// New returns the record of a signed event, ready to append. It fills in the
// body's municipality and aggregate from the subject. It returns an error when
// the signer fails, and an [ErrRefused] when [Admit] would refuse the result.
func New(ledger LedgerID, d Draft, key Signer) (Record, error) {
	d.Body.Municipality, d.Body.Aggregate = d.Subject.Municipality, d.Subject.Aggregate
	body, err := Encode(&d.Body)
	if err != nil {
		return Record{}, err
	}
	public, err := key.PublicKey()
	if err != nil {
		return Record{}, fmt.Errorf("read public key: %w", err)
	}
	r := Record{Subject: d.Subject.String(), Body: body, Header: Header{
		HeaderID:    {NewID(ledger, d.Author, d.Subject, d.DocumentKey).String()},
		HeaderKind:  {d.Subject.Kind.header()},
		HeaderParty: {string(d.Author)},
		HeaderKey:   {public},
		HeaderSalt:  {hex.EncodeToString(d.Salt[:])},
		HeaderSent:  {d.Sent.UTC().Format(TimeFormat)},
	}}
	sig, err := key.Sign(signedBytes(ledger, r))
	if err != nil {
		return Record{}, fmt.Errorf("sign event: %w", err)
	}
	r.Header[HeaderSig] = []string{base64.RawStdEncoding.EncodeToString(sig)}
	if _, err := admit(r); err != nil {
		return Record{}, err
	}
	return r, nil
}

// signedBytes returns the digest that the author signs: SHA-256 over
// todoke/event/v1, ledger id, subject, the author's headers except the
// signature in the order of their names, an empty part, and the SHA-256 of the
// body, each behind its length.
func signedBytes(ledger LedgerID, r Record) []byte {
	h := sha256.New()
	writeParts(h, "todoke/event/v1", string(ledger[:]), r.Subject)
	for _, name := range authorHeaders(r.Header) {
		if name != HeaderSig {
			writeParts(h, name, r.Header.Get(name))
		}
	}
	body := sha256.Sum256(r.Body)
	writeParts(h, "", string(body[:]))
	return h.Sum(nil)
}

// authorHeaders returns the names of the headers that the author set, sorted.
func authorHeaders(h Header) []string {
	names := make([]string, 0, 8)
	for name := range h {
		if !strings.HasPrefix(name, "Nats-") && name != HeaderTime {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Decode reads a stored record as a reader does: it does not verify the
// signature, and it keeps fields that it does not know. A record whose kind or
// version is unknown gives [ErrUnknownKind] beside an event that has subject,
// author and time, so that its aggregate can be marked as not judged. Any
// other error means that the record is to be quarantined.
func Decode(r Record) (Event, error) {
	e := Event{Record: r}
	subject, err := ParseSubject(r.Subject)
	if errors.Is(err, ErrUnknownKind) {
		subject = aggregateOf(r.Subject)
	} else if err != nil {
		return Event{}, err
	}
	e.Subject = subject
	if e.Time, err = parseTime(r.Header.Get(HeaderTime)); err != nil {
		return Event{}, fmt.Errorf("read record time: %w", ErrMalformed)
	}
	if e.Author, err = ParseParty(r.Header.Get(HeaderParty)); err != nil {
		return Event{}, fmt.Errorf("read author: %v: %w", err, ErrMalformed)
	}
	if kind, err := parseKindHeader(r.Header.Get(HeaderKind)); err != nil {
		return e, err
	} else if kind != subject.Kind {
		return Event{}, fmt.Errorf("kind %s under subject %q: %w", kind, clip(r.Subject), ErrMismatch)
	}
	e.UnknownField, err = decodeBody(r.Body, &e.Content, subject)
	if err != nil {
		return Event{}, err
	}
	if e.Content.Municipality != subject.Municipality || e.Content.Aggregate != subject.Aggregate {
		return Event{}, fmt.Errorf("subject %q, body of %q: %w", clip(r.Subject),
			clip(e.Content.Municipality+"."+e.Content.Aggregate), ErrMismatch)
	}
	return e, nil
}

// aggregateOf returns municipality and aggregate of a subject whose kind is
// not known.
func aggregateOf(subject string) Subject {
	tokens := strings.Split(strings.TrimPrefix(subject, SubjectPrefix), ".")
	return Subject{Municipality: tokens[0], Aggregate: tokens[1]}
}
