package producers

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"todoke/ledger"
)

// keptFormat is the version of what this program writes.
const keptFormat = 1

// What the checksums begin with, so that no value passes for another.
const (
	stateDomain = "todoke/outbox/state"
	entryDomain = "todoke/outbox/entry"
)

// maxSentence is how many bytes of a refusal's sentence are kept.
const maxSentence = 1024

// A tally is what is known of all entries together.
type tally struct {
	next     uint64 // the number that the next entry gets
	kept     uint64 // entries in the state KeptHere
	inLedger uint64 // in the state InLedger
	refused  uint64 // in the state Refused
	sealed   uint64 // entries that were proven and forgotten
	bytes    uint64 // of the records of all entries that are there
}

// of returns the counter of a state.
func (t *tally) of(s State) *uint64 {
	switch s {
	case InLedger:
		return &t.inLedger
	case Refused:
		return &t.refused
	}
	return &t.kept
}

// A keptState is the first thing in the file: whose it is, and the tally.
type keptState struct {
	party  ledger.Party
	ledger ledger.LedgerID
	tally  tally
}

// key returns the key of the entry with a number.
func key(number uint64) []byte { return binary.BigEndian.AppendUint64(nil, number) }

// withSum returns content behind its checksum.
func withSum(domain string, key, content []byte) []byte {
	sum := checksum(domain, key, content)
	return append(sum[:], content...)
}

// withoutSum returns the content of a value whose checksum is right.
func withoutSum(domain string, key, value []byte) ([]byte, error) {
	if len(value) < sha256.Size {
		return nil, fmt.Errorf("it has %d bytes: %w", len(value), ErrDamaged)
	}
	content := value[sha256.Size:]
	if checksum(domain, key, content) != [sha256.Size]byte(value) {
		return nil, fmt.Errorf("its checksum is wrong: %w", ErrDamaged)
	}
	return content, nil
}

func checksum(domain string, key, content []byte) [sha256.Size]byte {
	h := sha256.New()
	h.Write([]byte(domain))
	h.Write(key)
	h.Write(content)
	return [sha256.Size]byte(h.Sum(nil))
}

// encodeState returns the value of the state.
func encodeState(s keptState) []byte { return withSum(stateDomain, nil, s.content()) }

func (s *keptState) content() []byte {
	var out bytes.Buffer
	enc := writer{msgpack.NewEncoder(&out)}
	enc.array(9)
	enc.uint(keptFormat)
	enc.text(string(s.party))
	enc.bytes(s.ledger[:])
	for _, n := range s.tally.fields() {
		enc.uint(*n)
	}
	return out.Bytes()
}

// fields returns the numbers of a tally in the order of the format.
func (t *tally) fields() []*uint64 {
	return []*uint64{&t.next, &t.kept, &t.inLedger, &t.refused, &t.sealed, &t.bytes}
}

// decodeState is the inverse of encodeState. It returns [ledger.ErrNewer] for a
// later format.
func decodeState(value []byte) (keptState, error) {
	content, err := withoutSum(stateDomain, nil, value)
	if err != nil {
		return keptState{}, fmt.Errorf("read state: %w", err)
	}
	dec := newReader(content)
	fields, format := dec.array(), dec.uint()
	if dec.err == nil && format > keptFormat {
		return keptState{}, fmt.Errorf("the outbox has format %d: %w", format, ledger.ErrNewer)
	}
	var s keptState
	s.party = ledger.Party(dec.text())
	if id := dec.bytes(); len(id) == len(s.ledger) {
		s.ledger = ledger.LedgerID(id)
	}
	for _, n := range s.tally.fields() {
		*n = dec.uint()
	}
	if dec.err != nil || fields != 9 || !bytes.Equal(s.content(), content) {
		return keptState{}, fmt.Errorf("read state: it is not in canonical form: %w", errors.Join(ErrDamaged, dec.err))
	}
	return s, nil
}

// encodeEntry returns the value of an entry.
func encodeEntry(e Entry) []byte { return withSum(entryDomain, key(e.number), e.content()) }

func (e *Entry) content() []byte {
	var out bytes.Buffer
	out.Grow(len(e.Record.Body) + 1024)
	enc := writer{msgpack.NewEncoder(&out)}
	enc.array(7)
	enc.uint(uint64(e.State))
	enc.time(e.Kept)
	enc.text(e.Record.Subject)
	names := slices.Sorted(maps.Keys(e.Record.Header))
	enc.array(2 * len(names))
	for _, name := range names {
		enc.text(name)
		enc.text(e.Record.Header.Get(name))
	}
	enc.bytes(e.Record.Body)
	receipts := e.receipts()
	enc.array(len(receipts))
	for _, r := range receipts {
		enc.array(4)
		enc.uint(r.Incarnation)
		enc.uint(uint64(r.Seq))
		enc.time(r.Time)
		enc.bool(r.Duplicate)
	}
	code, sentence := "", ""
	if e.Refusal != nil {
		code, sentence = ledger.Code(e.Refusal), e.Refusal.Error()
	}
	enc.array(2)
	enc.text(code)
	enc.text(sentence)
	return out.Bytes()
}

// decodeEntry is the inverse of encodeEntry, for an entry of a ledger. What it
// returns shares nothing with value.
func decodeEntry(of ledger.LedgerID, number uint64, value []byte) (Entry, error) {
	content, err := withoutSum(entryDomain, key(number), value)
	if err != nil {
		return Entry{}, fmt.Errorf("read entry %d: %w", number, err)
	}
	dec := newReader(content)
	fields := dec.array()
	e := Entry{number: number, State: State(dec.uint()), Kept: dec.time()}
	e.Record.Subject = dec.text()
	e.Record.Header = make(ledger.Header)
	for n := dec.array(); n > 0 && dec.err == nil; n -= 2 {
		name := dec.text()
		e.Record.Header[name] = []string{dec.text()}
	}
	e.Record.Body = dec.bytes()
	e.ID, err = ledger.ParseID(e.Record.Header.Get(ledger.HeaderID))
	dec.fail(err)
	receipts := dec.receipts(ledger.Receipt{Ledger: of, ID: e.ID})
	if e.State == InLedger && len(receipts) > 0 {
		last := len(receipts) - 1
		e.Receipt, receipts = receipts[last], receipts[:last]
	}
	if e.Earlier = receipts; len(receipts) == 0 {
		e.Earlier = nil
	}
	dec.array()
	code, sentence := dec.text(), dec.text()
	e.Refusal = ledger.FromCode(code, sentence)
	if err := e.check(); err != nil {
		dec.fail(err)
	}
	if dec.err != nil || fields != 7 || !bytes.Equal(e.content(), content) {
		return Entry{}, fmt.Errorf("read entry %d: it is not in canonical form: %w", number, errors.Join(ErrDamaged, dec.err))
	}
	return e, nil
}

// check holds the fields of an entry against its state.
func (e *Entry) check() error {
	switch {
	case e.State > Refused:
		return fmt.Errorf("state %d is none", e.State)
	case (e.State == InLedger) != (e.Receipt.Seq != 0):
		return fmt.Errorf("%s with a receipt for %d", e.State, e.Receipt.Seq)
	case (e.State == Refused) != (e.Refusal != nil):
		return fmt.Errorf("%s with the refusal %v", e.State, e.Refusal)
	}
	return nil
}

// receipts returns all receipts of an entry in the order in which they came.
func (e *Entry) receipts() []ledger.Receipt {
	if e.State != InLedger {
		return e.Earlier
	}
	return append(slices.Clip(e.Earlier), e.Receipt)
}

// A writer writes msgpack into a buffer, which takes everything.
type writer struct{ enc *msgpack.Encoder }

func (w writer) array(n int)      { _ = w.enc.EncodeArrayLen(n) }
func (w writer) uint(n uint64)    { _ = w.enc.EncodeUint(n) }
func (w writer) text(s string)    { _ = w.enc.EncodeString(s) }
func (w writer) bytes(b []byte)   { _ = w.enc.EncodeBytes(b) }
func (w writer) bool(b bool)      { _ = w.enc.EncodeBool(b) }
func (w writer) time(t time.Time) { _ = w.enc.EncodeInt(t.UnixNano()) }

// A reader reads msgpack up to the first error, and zeros from there on.
type reader struct {
	dec *msgpack.Decoder
	err error
}

func newReader(content []byte) *reader {
	return &reader{dec: msgpack.NewDecoder(bytes.NewReader(content))}
}

// fail keeps the first error.
func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// read calls a method of the decoder unless an earlier one has failed.
func read[T any](r *reader, decode func() (T, error)) T {
	var none T
	if r.err != nil {
		return none
	}
	v, err := decode()
	if err != nil {
		r.err = err
		return none
	}
	return v
}

func (r *reader) array() int      { return read(r, r.dec.DecodeArrayLen) }
func (r *reader) uint() uint64    { return read(r, r.dec.DecodeUint64) }
func (r *reader) text() string    { return read(r, r.dec.DecodeString) }
func (r *reader) bytes() []byte   { return read(r, r.dec.DecodeBytes) }
func (r *reader) bool() bool      { return read(r, r.dec.DecodeBool) }
func (r *reader) time() time.Time { return time.Unix(0, read(r, r.dec.DecodeInt64)).UTC() }

// receipts reads the receipts of one event; each begins as a copy of blank.
func (r *reader) receipts(blank ledger.Receipt) (all []ledger.Receipt) {
	for n := r.array(); n > 0 && r.err == nil; n-- {
		if fields := r.array(); fields != 4 {
			r.fail(fmt.Errorf("a receipt of %d fields", fields))
		}
		blank.Incarnation, blank.Seq = r.uint(), ledger.Seq(r.uint())
		blank.Time, blank.Duplicate = r.time(), r.bool()
		all = append(all, blank)
	}
	return all
}
