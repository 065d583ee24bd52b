package ledger

import (
	"bytes"
	"fmt"
	"math/bits"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// A Body is the content of an event. Which fields an event has depends on its
// kind; the others are zero and are not written.
type Body struct {
	Municipality string // repeats the subject
	Aggregate    string // repeats the subject
	Flow         string // notification-card/1

	Speaker  Party    // whose word it is, when the author only transcribed it
	Items    Items    // what was claimed, acknowledged or is missing
	Count    uint32   // how many; equal to the number of Items where these are given
	Root     Root     // over the commitments of Items
	Basis    Basis    // what an acknowledgement rests on
	Grade    Grade    // declared; never believed above the maximum
	Document Document // what a claim or transcription rests on
	Towns    []Town   // groups of Items by town
	Posting  string   // number of the 差出票 or 受領証
	Reason   string   // free text, at most 400 bytes

	Hop       string // of an alert: the stage
	Side      Side
	Due       time.Time
	Reopen    uint32 // how often the same alert was raised before
	Cause     Cause
	OwedBy    string // party, or role when no party is known
	ClaimedBy string
	ClaimedAt time.Time
	Holder    string
	Evidence  []Seq // events that the alert or its closing rests on

	Incarnation uint64    // of ledger.started: which start of the ledger this is
	Previous    uint64    // the incarnation before it
	Head        Seq       // the last event of the previous incarnation; Root is over all up to it
	Since       time.Time // of ledger.started: since when it was down; of access.recorded: the hour
	Who         Party     // of access.recorded

	Ledger LedgerID // of ledger.opened
	Story  string   // of ledger.opened: the story that this ledger plays; "" when it is an ordinary one
	Pack   []byte   // of rules.published: the rule pack as text
}

// A Document is what a claim or a transcription rests on. The digest is keyed,
// so that it says nothing to those who do not hold the document.
type Document struct {
	Kind   string   // file, notice, receipt, stamped-receipt, list
	Date   string   // 2015-10-05; "" when the document has none
	Digest [32]byte // HMAC-SHA-256; zero when the document is not at hand
}

// A Town is a group of items of one town. Items is empty when the groups are
// too scattered to fit in an event; Count is there always.
type Town struct {
	Name  string
	Items Items
	Count uint32
}

// Basis is what an acknowledgement rests on; a larger one is stronger.
type Basis uint8

// The bases.
const (
	NoBasis    Basis = iota
	BasisCount       // a number only; screens say 内容未照合
	BasisItems       // each item was seen
	BasisRoot        // the content was recomputed
)

// Grade is how good a piece of evidence is. Grades 0 and 1 never discharge.
type Grade uint8

// The grades.
const (
	Inferred Grade = iota
	SelfAsserted
	CounterpartyAsserted
	PhysicalCount
	CryptographicReceipt
)

// Side says which of the two parties of a hop owes a word, or that a third
// one does.
type Side uint8

// The sides of a hop.
const (
	NoSide              Side = iota
	ClaimSide                // the claimant has not said that it is done
	AcknowledgementSide      // the next party has not said that it received
	ConfirmationSide         // the receiver is of the claimant's own organisation, and nobody independent has confirmed it
)

// Cause says why an alert was raised.
type Cause uint8

// The causes.
const (
	NoCause    Cause = iota
	Absence          // the word that was due did not come
	Contradict       // a word came and contradicts what was said before
	Unreadable       // the batch holds an event that this program cannot read
)

// fields is a set of body fields; the bit is the place in the fixed order.
type fields uint64

const (
	fieldMunicipality fields = 1 << iota
	fieldAggregate
	fieldFlow
	fieldSpeaker
	fieldItems
	fieldCount
	fieldRoot
	fieldBasis
	fieldGrade
	fieldDocument
	fieldTowns
	fieldPosting
	fieldReason
	fieldHop
	fieldSide
	fieldDue
	fieldReopen
	fieldCause
	fieldOwedBy
	fieldClaimedBy
	fieldClaimedAt
	fieldHolder
	fieldEvidence
	fieldLedger
	fieldStory
	fieldPack
	fieldIncarnation
	fieldPrevious
	fieldHead
	fieldSince
	fieldWho
)

// fieldKeys are the one-letter keys of the body map in their fixed order.
const fieldKeys = "mafsinrbgdtpqheuocwxyzvljkIPHSW"

// present returns which fields of b are not zero.
func (b *Body) present() fields {
	var f fields
	set := func(bit fields, ok bool) {
		if ok {
			f |= bit
		}
	}
	set(fieldMunicipality, b.Municipality != "")
	set(fieldAggregate, b.Aggregate != "")
	set(fieldFlow, b.Flow != "")
	set(fieldSpeaker, b.Speaker != "")
	set(fieldItems, len(b.Items) > 0)
	set(fieldCount, b.Count != 0)
	set(fieldRoot, !b.Root.IsZero())
	set(fieldBasis, b.Basis != 0)
	set(fieldGrade, b.Grade != 0)
	set(fieldDocument, b.Document != Document{})
	set(fieldTowns, len(b.Towns) > 0)
	set(fieldPosting, b.Posting != "")
	set(fieldReason, b.Reason != "")
	set(fieldHop, b.Hop != "")
	set(fieldSide, b.Side != 0)
	set(fieldDue, !b.Due.IsZero())
	set(fieldReopen, b.Reopen != 0)
	set(fieldCause, b.Cause != 0)
	set(fieldOwedBy, b.OwedBy != "")
	set(fieldClaimedBy, b.ClaimedBy != "")
	set(fieldClaimedAt, !b.ClaimedAt.IsZero())
	set(fieldHolder, b.Holder != "")
	set(fieldEvidence, len(b.Evidence) > 0)
	set(fieldLedger, b.Ledger != LedgerID{})
	set(fieldStory, b.Story != "")
	set(fieldPack, len(b.Pack) > 0)
	set(fieldIncarnation, b.Incarnation != 0)
	set(fieldPrevious, b.Previous != 0)
	set(fieldHead, b.Head != 0)
	set(fieldSince, !b.Since.IsZero())
	set(fieldWho, b.Who != "")
	return f
}

// Encode returns the canonical bytes of b: a msgpack map of the non-zero
// fields, one-letter keys, fixed order, shortest integers. It returns
// [ErrTooLarge] above MaxBody bytes.
func Encode(b *Body) ([]byte, error) {
	c := coders.Get().(*coder)
	defer coders.Put(c)
	c.out.bytes, c.err = c.out.bytes[:0], nil
	c.encode(b, b.present())
	if c.err != nil {
		return nil, fmt.Errorf("encode body: %w", c.err)
	}
	if n := len(c.out.bytes); n > MaxBody {
		return nil, fmt.Errorf("body of %d bytes: %w", n, ErrTooLarge)
	}
	return bytes.Clone(c.out.bytes), nil
}

func (c *coder) encode(b *Body, f fields) {
	c.keep(c.enc.EncodeMapLen(bits.OnesCount64(uint64(f))))
	for ; f != 0; f &= f - 1 {
		place := bits.TrailingZeros64(uint64(f))
		c.out.bytes = append(c.out.bytes, msgpcode.FixedStrLow|1, fieldKeys[place])
		c.encodeField(b, 1<<place)
	}
}

func (c *coder) encodeField(b *Body, bit fields) {
	switch bit {
	case fieldMunicipality:
		c.putString(b.Municipality)
	case fieldAggregate:
		c.putString(b.Aggregate)
	case fieldFlow:
		c.putString(b.Flow)
	case fieldSpeaker:
		c.putString(string(b.Speaker))
	case fieldItems:
		c.putItems(b.Items)
	case fieldCount:
		c.putUint(uint64(b.Count))
	case fieldRoot:
		c.putBytes(b.Root[:])
	case fieldBasis:
		c.putUint(uint64(b.Basis))
	case fieldGrade:
		c.putUint(uint64(b.Grade))
	case fieldDocument:
		c.putDocument(&b.Document)
	case fieldTowns:
		c.putTowns(b.Towns)
	case fieldPosting:
		c.putString(b.Posting)
	case fieldReason:
		c.putString(b.Reason)
	case fieldHop:
		c.putString(b.Hop)
	case fieldSide:
		c.putUint(uint64(b.Side))
	case fieldDue:
		c.putTime(b.Due)
	case fieldReopen:
		c.putUint(uint64(b.Reopen))
	case fieldCause:
		c.putUint(uint64(b.Cause))
	case fieldOwedBy:
		c.putString(b.OwedBy)
	case fieldClaimedBy:
		c.putString(b.ClaimedBy)
	case fieldClaimedAt:
		c.putTime(b.ClaimedAt)
	case fieldHolder:
		c.putString(b.Holder)
	case fieldEvidence:
		c.putArrayLen(len(b.Evidence))
		for _, s := range b.Evidence {
			c.putUint(uint64(s))
		}
	case fieldLedger:
		c.putBytes(b.Ledger[:])
	case fieldStory:
		c.putString(b.Story)
	case fieldPack:
		c.putBytes(b.Pack)
	case fieldIncarnation:
		c.putUint(b.Incarnation)
	case fieldPrevious:
		c.putUint(b.Previous)
	case fieldHead:
		c.putUint(uint64(b.Head))
	case fieldSince:
		c.putTime(b.Since)
	case fieldWho:
		c.putString(string(b.Who))
	}
}

// putItems writes pairs: how many numbers are left out, then how many follow.
// 1-551,560 is [0 551 8 1].
func (c *coder) putItems(items Items) {
	c.putArrayLen(2 * len(items))
	next := uint32(1)
	for _, r := range items {
		c.putUint(uint64(r.First - next))
		c.putUint(uint64(r.Last-r.First) + 1)
		next = r.Last + 1
	}
}

func (c *coder) putDocument(d *Document) {
	c.putArrayLen(3)
	c.putString(d.Kind)
	c.putString(d.Date)
	digest := d.Digest[:]
	if d.Digest == [32]byte{} {
		digest = nil
	}
	c.putBytes(digest)
}

func (c *coder) putTowns(towns []Town) {
	c.putArrayLen(len(towns))
	for _, t := range towns {
		c.putArrayLen(3)
		c.putString(t.Name)
		c.putUint(uint64(t.Count))
		c.putItems(t.Items)
	}
}

// decodeBody reads a body as a reader does: unknown keys are passed over and
// reported. Every length is checked against the bytes that are left before
// anything is made of it, so that neither time nor memory exceeds a small
// multiple of the body.
func decodeBody(p []byte, b *Body, of Subject) (unknown bool, err error) {
	if len(p) > MaxBody {
		return false, fmt.Errorf("body of %d bytes: %w", len(p), ErrTooLarge)
	}
	c := coders.Get().(*coder)
	defer coders.Put(c)
	c.in, c.err = source{bytes: p}, nil
	c.likely = of
	unknown = c.decode(b)
	if c.err == nil && c.in.left() > 0 {
		c.fail("%d bytes follow the body", c.in.left())
	}
	c.in = source{} // the pool keeps no body alive
	if c.err != nil {
		return false, fmt.Errorf("decode body: %v: %w", c.err, ErrMalformed)
	}
	return unknown, nil
}

func (c *coder) decode(b *Body) (unknown bool) {
	n := c.mapLen()
	next := 0 // the first place in fieldKeys that may still come
	for range n {
		key := c.bytes(maxToken)
		if c.err != nil {
			return unknown
		}
		place := fieldPlace(key)
		switch {
		case place < 0 && !utf8.Valid(key):
			c.fail("a key is not UTF-8")
		case place < 0:
			unknown = true
			c.skip(0)
		case place < next:
			c.fail("field %q comes twice or out of order", key)
		default:
			next = place + 1
			c.decodeField(b, 1<<place)
		}
	}
	return unknown
}

// fieldPlace returns the place of key in fieldKeys, -1 when it has none.
func fieldPlace(key []byte) int {
	if len(key) != 1 {
		return -1
	}
	return strings.IndexByte(fieldKeys, key[0])
}

func (c *coder) decodeField(b *Body, bit fields) {
	switch bit {
	case fieldMunicipality:
		b.Municipality = c.likelyStr(6, c.likely.Municipality)
	case fieldAggregate:
		b.Aggregate = c.likelyStr(maxToken, c.likely.Aggregate)
	case fieldFlow:
		b.Flow = c.likelyStr(maxToken, NotificationCard.Name)
	case fieldSpeaker:
		b.Speaker = Party(c.str(2*maxToken + 1))
	case fieldItems:
		b.Items = c.items()
	case fieldCount:
		b.Count = uint32(c.uint(MaxItem))
	case fieldRoot:
		c.fixed(b.Root[:])
	case fieldBasis:
		b.Basis = Basis(c.uint(uint64(BasisRoot)))
	case fieldGrade:
		b.Grade = Grade(c.uint(uint64(CryptographicReceipt)))
	case fieldDocument:
		c.document(&b.Document)
	case fieldTowns:
		b.Towns = c.towns()
	case fieldPosting:
		b.Posting = c.str(maxToken)
	case fieldReason:
		b.Reason = c.str(maxReason)
	case fieldHop:
		b.Hop = c.str(maxToken)
	case fieldSide:
		b.Side = Side(c.uint(uint64(ConfirmationSide)))
	case fieldDue:
		b.Due = c.time()
	case fieldReopen:
		b.Reopen = uint32(c.uint(MaxAggregate))
	case fieldCause:
		b.Cause = Cause(c.uint(uint64(Unreadable)))
	case fieldOwedBy:
		b.OwedBy = c.str(2*maxToken + 1)
	case fieldClaimedBy:
		b.ClaimedBy = c.str(2*maxToken + 1)
	case fieldClaimedAt:
		b.ClaimedAt = c.time()
	case fieldHolder:
		b.Holder = c.str(2*maxToken + 1)
	case fieldEvidence:
		b.Evidence = make([]Seq, c.arrayLen(MaxAggregate))
		for i := range b.Evidence {
			b.Evidence[i] = Seq(c.uint(1<<63 - 1))
		}
	case fieldLedger:
		c.fixed(b.Ledger[:])
	case fieldStory:
		b.Story = c.str(maxToken)
	case fieldPack:
		b.Pack = bytes.Clone(c.bytes(MaxBody))
	case fieldIncarnation:
		b.Incarnation = c.uint(1<<63 - 1)
	case fieldPrevious:
		b.Previous = c.uint(1<<63 - 1)
	case fieldHead:
		b.Head = Seq(c.uint(1<<63 - 1))
	case fieldSince:
		b.Since = c.time()
	case fieldWho:
		b.Who = Party(c.str(2*maxToken + 1))
	}
}

func (c *coder) items() Items {
	n := c.arrayLen(MaxBody)
	if n == 0 || n%2 != 0 {
		c.fail("items are %d numbers, want pairs", n)
		return nil
	}
	items := make(Items, n/2)
	next := uint64(1)
	for i := range items {
		skip, take := c.uint(MaxItem), c.uint(MaxItem)
		if take == 0 || (skip == 0 && i > 0) || next+skip+take-1 > MaxItem {
			c.fail("items: pair %d is not a range", i)
			return nil
		}
		items[i] = Range{uint32(next + skip), uint32(next + skip + take - 1)}
		next += skip + take
	}
	return items
}

func (c *coder) document(d *Document) {
	if c.arrayLen(3) != 3 {
		c.fail("a document is not three fields")
		return
	}
	d.Kind, d.Date = c.str(maxToken), c.str(maxToken)
	switch p := c.bytes(len(d.Digest)); len(p) {
	case 0, len(d.Digest):
		copy(d.Digest[:], p)
	default:
		c.fail("a digest of %d bytes", len(p))
	}
}

func (c *coder) towns() []Town {
	towns := make([]Town, c.arrayLen(maxTowns))
	for i := range towns {
		if c.arrayLen(3) != 3 {
			c.fail("a town is not three fields")
			return nil
		}
		towns[i].Name, towns[i].Count = c.str(maxTownName), uint32(c.uint(MaxItem))
		if c.in.peek() == msgpcode.FixedArrayLow { // no items, which items() refuses
			c.arrayLen(0)
			continue
		}
		towns[i].Items = c.items()
	}
	return towns
}
