package ledger

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

// hopOf returns the hop that k is a word about, and its place.
func hopOf(k Kind) (Hop, int, bool) {
	for i, h := range NotificationCard.Hops {
		if k == h.Claim || k == h.Ack || (k != 0 && (k == h.Confirm || k == h.Dispute)) {
			return h, i, true
		}
	}
	return Hop{}, 0, false
}

// String returns the word that stands in events, screens and JSON.
func (b Basis) String() string { return [...]string{"", "count", "items", "root"}[b] }

// MarshalText returns the same as [Basis.String].
func (b Basis) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// String returns the word that stands in events, screens and JSON.
func (s Side) String() string {
	return [...]string{"", "claim", "acknowledgement", "confirmation"}[s]
}

// MarshalText returns the same as [Side.String].
func (s Side) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String returns the word that stands in events, screens and JSON.
func (c Cause) String() string {
	return [...]string{"", "absence", "contradiction", "unreadable"}[c]
}

// MarshalText returns the same as [Cause.String].
func (c Cause) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// maxGrade is the best grade that a word can have: never what its speaker
// says of it, always what its role, kind and basis can carry.
//
//	a claim, whoever makes it                         1
//	received by a system, content recomputed or not   2
//	counted or seen by somebody who holds the paper   3
//	recomputed by the sender against its own manifest 4
//	written down by another                           2, or 3 for a stamped receipt with a count
func maxGrade(e *Event) Grade {
	h, _, _ := hopOf(e.Kind())
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
