package ledger

import (
	"fmt"
	"slices"
	"strings"
)

// A Hop is one change of custody. The claimant (From) says that it is done;
// the acknowledger (To) says that it received. Kinds are zero where the hop
// has none.
type Hop struct {
	Stage   string
	From    Role
	To      Role
	Claim   Kind
	Ack     Kind
	Confirm Kind // an independent check of the acknowledgement, by the municipality
	Dispute Kind // the municipality contradicts the acknowledgement
}

// A Flow is the ordered changes of custody of one product. Released flows
// never change; a change is a new version.
type Flow struct {
	Name string
	Hops []Hop
	// Beyond names the stages that follow and that this program does not
	// watch. Screens show them grey.
	Beyond []string
}

// NotificationCard is notification-card/1.
var NotificationCard = &Flow{
	Name: "notification-card/1",
	Hops: []Hop{
		{Stage: "upload", From: Municipality, To: Relay, Claim: UploadCompleted, Ack: UploadReceived},
		{Stage: "import", From: Relay, To: Registry, Claim: ImportCompleted, Ack: ImportRegistered, Confirm: ImportConfirmed, Dispute: ImportDisputed},
		{Stage: "order", From: Registry, To: Printer, Claim: OrderSent, Ack: OrderAccepted},
		{Stage: "print", From: Printer, To: Inspector, Claim: PrintCompleted, Ack: PrintCounted},
		{Stage: "mail", From: Inspector, To: Post, Claim: MailHandedOver, Ack: MailAccepted},
	},
	Beyond: []string{"delivery", "return"},
}

// FlowByName returns the flow with this name, nil when there is none.
func FlowByName(name string) *Flow {
	if name == NotificationCard.Name {
		return NotificationCard
	}
	return nil
}

// Hop returns the place of a stage in the flow, -1 when it has none.
func (f *Flow) Hop(stage string) int {
	for i := range f.Hops {
		if f.Hops[i].Stage == stage {
			return i
		}
	}
	return -1
}

// HopOf returns the hop that k is a word about, and its place; false when k is
// no word of the flow. It may be asked of a nil flow.
func (f *Flow) HopOf(k Kind) (h Hop, place int, ok bool) {
	if f == nil || k == 0 {
		return Hop{}, 0, false
	}
	for i, h := range f.Hops {
		if k == h.Claim || k == h.Ack || k == h.Confirm || k == h.Dispute {
			return h, i, true
		}
	}
	return Hop{}, 0, false
}

// The words in which the small types stand in screens and JSON.
const (
	basisWords = ",count,items,root"
	sideWords  = ",claim,acknowledgement,confirmation"
	causeWords = ",absence,contradiction,unreadable"
)

// word returns the i-th of a list of words, "" when there are fewer.
func word(words string, i int) string {
	for range i {
		_, words, _ = strings.Cut(words, ",")
	}
	w, _, _ := strings.Cut(words, ",")
	return w
}

// placeOf is the inverse of word.
func placeOf(words, w string) (int, error) {
	i := slices.Index(strings.Split(words, ","), w)
	if i < 0 {
		return 0, fmt.Errorf("%q is none of %s", clip(w), words[1:])
	}
	return i, nil
}

// String returns count, items or root, "" for none.
func (b Basis) String() string { return word(basisWords, int(b)) }

// MarshalText returns the same as [Basis.String].
func (b Basis) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (b *Basis) UnmarshalText(text []byte) error {
	i, err := placeOf(basisWords, string(text))
	*b = Basis(i)
	return err
}

// String returns claim, acknowledgement or confirmation, "" for none.
func (s Side) String() string { return word(sideWords, int(s)) }

// MarshalText returns the same as [Side.String].
func (s Side) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (s *Side) UnmarshalText(text []byte) error {
	i, err := placeOf(sideWords, string(text))
	*s = Side(i)
	return err
}

// String returns absence, contradiction or unreadable, "" for none.
func (c Cause) String() string { return word(causeWords, int(c)) }

// MarshalText returns the same as [Cause.String].
func (c Cause) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (c *Cause) UnmarshalText(text []byte) error {
	i, err := placeOf(causeWords, string(text))
	*c = Cause(i)
	return err
}

// maxGrade is the best grade that a word can have: never what its speaker
// says of it, always what its role, kind and basis can carry.
//
//	a claim, whoever makes it                         1
//	received by a system, content recomputed or not   2
//	counted or seen by somebody who holds the paper   3
//	recomputed by the sender against its own manifest 4
//	written down by another                           2, or 3 for a stamped receipt with a count
func maxGrade(e *Event) Grade {
	h, _, _ := FlowByName(e.Content.Flow).HopOf(e.Kind())
	switch {
	case e.Kind() == h.Claim:
		return SelfAsserted
	case e.Content.Speaker != "" && e.Content.Document.Kind == StampedReceipt && e.Content.Count > 0:
		return PhysicalCount
	case e.Content.Speaker != "":
		return CounterpartyAsserted
	case e.Kind() == h.Confirm && e.Content.Basis == BasisRoot:
		return CryptographicReceipt
	case h.To == Inspector || h.To == Post || h.To == Counter:
		return PhysicalCount
	}
	return CounterpartyAsserted
}

// StampedReceipt is the document kind of a 受領証 with a stamp.
const StampedReceipt = "stamped-receipt"

// gradeOf returns min(declared, the maximum); an undeclared grade is the
// maximum.
func gradeOf(e *Event) Grade {
	most := maxGrade(e)
	if g := e.Content.Grade; g != 0 && g < most {
		return g
	}
	return most
}
