package ledger

import (
	"fmt"
	"strconv"
	"strings"
)

// A Kind is what an event says: <stage>.<fact>, past tense. The list is
// closed. A Kind's number is its code: it never changes and is never given to
// another kind, but it is not stored; headers and subjects carry the name.
type Kind uint16

// The kinds. Those without a schema in kinds are reserved: the name and code
// are fixed, but this program refuses to take such an event and does not
// judge a batch that holds one.
const (
	UploadCompleted Kind = 1
	UploadReceived  Kind = 2
	UploadRefused   Kind = 3
	UploadPromised  Kind = 4
	UploadResent    Kind = 5

	ImportCompleted  Kind = 10 // 終了
	ImportRegistered Kind = 11 // 登録
	ImportConfirmed  Kind = 12
	ImportDisputed   Kind = 13
	ImportRefused    Kind = 14
	ImportPromised   Kind = 15

	OrderSent     Kind = 20
	OrderAccepted Kind = 21
	OrderRefused  Kind = 22
	OrderPromised Kind = 23

	PrintCompleted Kind = 30
	PrintCounted   Kind = 31
	PrintRefused   Kind = 32
	PrintPromised  Kind = 33

	MailHandedOver Kind = 40 // 差出
	MailAccepted   Kind = 41 // 引受
	MailRefused    Kind = 42
	MailPromised   Kind = 43

	DeliveryDelivered Kind = 50
	DeliveryReturned  Kind = 51
	DeliveryHeld      Kind = 52
	DeliveryDisputed  Kind = 53 // 未着申出
	DeliveryRefused   Kind = 54
	DeliveryPromised  Kind = 55

	ReturnSent     Kind = 60
	ReturnReceived Kind = 61
	ReturnRefused  Kind = 62
	ReturnPromised Kind = 63

	ShipSent     Kind = 70
	ShipArrived  Kind = 71
	ShipRefused  Kind = 72
	ShipPromised Kind = 73

	PrepareCompleted Kind = 80
	PrepareRefused   Kind = 81
	PreparePromised  Kind = 82
	NotifySent       Kind = 90
	NotifyRefused    Kind = 91
	NotifyPromised   Kind = 92

	OperationStarted   Kind = 100
	OperationCommitted Kind = 101
	OperationRefused   Kind = 102
	OperationPromised  Kind = 103
	IssueCompleted     Kind = 110
	IssueRecorded      Kind = 111
	IssueRefused       Kind = 112
	IssuePromised      Kind = 113

	BatchWithdrawn        Kind = 120
	ItemLost              Kind = 130
	ItemMisdelivered      Kind = 131
	ItemRecovered         Kind = 132
	ItemDestroyed         Kind = 133
	ReissueOrdered        Kind = 140
	NumberChangeRequested Kind = 150
	NumberChangeDecided   Kind = 151
	NumberChangeIssued    Kind = 152
	StockCounted          Kind = 160
	ComponentStarted      Kind = 170
	ComponentPaused       Kind = 171
	ComponentResumed      Kind = 172
	ComponentRestarted    Kind = 173
	ReportedDaily         Kind = 180
	PopulationDeclared    Kind = 190
	PartyEnrolled         Kind = 200
	PartyRevoked          Kind = 201
	RulesPublished        Kind = 210

	AlertRaised       Kind = 220
	AlertClosed       Kind = 221
	AlertPaged        Kind = 222
	AlertNotified     Kind = 223
	AlertAcknowledged Kind = 224 // 対応着手
	AlertAssigned     Kind = 225
	AlertSnoozed      Kind = 226
	AlertReopened     Kind = 227

	AccessRecorded        Kind = 230
	DisclosureMade        Kind = 240
	DisclosureRefused     Kind = 241
	LossDetected          Kind = 250
	LedgerOpened          Kind = 260
	LedgerStarted         Kind = 261
	LedgerReopened        Kind = 262
	MunicipalitySucceeded Kind = 270
)

// kindVersion is the only version of every kind so far.
const kindVersion = 1

// A kindInfo says how a kind is written and who may say it. Kinds without a
// role are reserved.
type kindInfo struct {
	stage, fact string
	by          Role
	must, may   fields // beyond municipality and aggregate, which all must have
}

// info returns what the list of kinds says of k, and whether it says anything.
func (k Kind) info() (kindInfo, bool) {
	if int(k) >= len(kinds) {
		return kindInfo{}, false
	}
	i := kinds[k]
	return i, i.stage != ""
}

const (
	claimMust = fieldFlow | fieldItems | fieldCount
	claimMay  = fieldSpeaker | fieldGrade | fieldDocument
	ackMust   = fieldFlow | fieldCount | fieldBasis
	ackMay    = fieldSpeaker | fieldItems | fieldRoot | fieldGrade | fieldDocument
	alertMust = fieldHop | fieldDue | fieldCause
	alertMay  = fieldFlow | fieldSide | fieldItems | fieldCount | fieldOwedBy | fieldReopen | fieldClaimedBy | fieldClaimedAt | fieldHolder | fieldTowns | fieldEvidence | fieldReason
)

// kinds is the closed list, by code.
var kinds = [...]kindInfo{
	UploadCompleted: {"upload", "completed", Municipality, claimMust | fieldRoot | fieldDocument, claimMay | fieldTowns},
	UploadReceived:  {"upload", "received", Relay, ackMust, ackMay},
	UploadRefused:   {stage: "upload", fact: "refused"},
	UploadPromised:  {stage: "upload", fact: "promised"},
	UploadResent:    {stage: "upload", fact: "resent"},

	ImportCompleted:  {"import", "completed", Relay, claimMust, claimMay},
	ImportRegistered: {"import", "registered", Registry, ackMust, ackMay},
	ImportConfirmed:  {"import", "confirmed", Municipality, ackMust | fieldItems, ackMay},
	ImportDisputed:   {"import", "disputed", Municipality, ackMust | fieldItems | fieldReason, ackMay},
	ImportRefused:    {stage: "import", fact: "refused"},
	ImportPromised:   {stage: "import", fact: "promised"},

	OrderSent:     {"order", "sent", Registry, claimMust, claimMay},
	OrderAccepted: {"order", "accepted", Printer, ackMust, ackMay},
	OrderRefused:  {stage: "order", fact: "refused"},
	OrderPromised: {stage: "order", fact: "promised"},

	PrintCompleted: {"print", "completed", Printer, claimMust, claimMay},
	PrintCounted:   {"print", "counted", Inspector, ackMust, ackMay},
	PrintRefused:   {stage: "print", fact: "refused"},
	PrintPromised:  {stage: "print", fact: "promised"},

	MailHandedOver: {"mail", "handed-over", Inspector, claimMust, claimMay | fieldPosting},
	MailAccepted:   {"mail", "accepted", Post, ackMust, ackMay | fieldPosting},
	MailRefused:    {stage: "mail", fact: "refused"},
	MailPromised:   {stage: "mail", fact: "promised"},

	DeliveryDelivered: {stage: "delivery", fact: "delivered"},
	DeliveryReturned:  {stage: "delivery", fact: "returned"},
	DeliveryHeld:      {stage: "delivery", fact: "held"},
	DeliveryDisputed:  {stage: "delivery", fact: "disputed"},
	DeliveryRefused:   {stage: "delivery", fact: "refused"},
	DeliveryPromised:  {stage: "delivery", fact: "promised"},
	ReturnSent:        {stage: "return", fact: "sent"},
	ReturnReceived:    {stage: "return", fact: "received"},
	ReturnRefused:     {stage: "return", fact: "refused"},
	ReturnPromised:    {stage: "return", fact: "promised"},

	ShipSent:           {stage: "ship", fact: "sent"},
	ShipArrived:        {stage: "ship", fact: "arrived"},
	ShipRefused:        {stage: "ship", fact: "refused"},
	ShipPromised:       {stage: "ship", fact: "promised"},
	PrepareCompleted:   {stage: "prepare", fact: "completed"},
	PrepareRefused:     {stage: "prepare", fact: "refused"},
	PreparePromised:    {stage: "prepare", fact: "promised"},
	NotifySent:         {stage: "notify", fact: "sent"},
	NotifyRefused:      {stage: "notify", fact: "refused"},
	NotifyPromised:     {stage: "notify", fact: "promised"},
	OperationStarted:   {stage: "operation", fact: "started"},
	OperationCommitted: {stage: "operation", fact: "committed"},
	OperationRefused:   {stage: "operation", fact: "refused"},
	OperationPromised:  {stage: "operation", fact: "promised"},
	IssueCompleted:     {stage: "issue", fact: "completed"},
	IssueRecorded:      {stage: "issue", fact: "recorded"},
	IssueRefused:       {stage: "issue", fact: "refused"},
	IssuePromised:      {stage: "issue", fact: "promised"},

	BatchWithdrawn:        {stage: "batch", fact: "withdrawn"},
	ItemLost:              {stage: "item", fact: "lost"},
	ItemMisdelivered:      {stage: "item", fact: "misdelivered"},
	ItemRecovered:         {stage: "item", fact: "recovered"},
	ItemDestroyed:         {stage: "item", fact: "destroyed"},
	ReissueOrdered:        {stage: "reissue", fact: "ordered"},
	NumberChangeRequested: {stage: "number", fact: "change-requested"},
	NumberChangeDecided:   {stage: "number", fact: "decided"},
	NumberChangeIssued:    {stage: "number", fact: "issued"},
	StockCounted:          {stage: "stock", fact: "counted"},
	ComponentStarted:      {stage: "component", fact: "started"},
	ComponentPaused:       {stage: "component", fact: "paused"},
	ComponentResumed:      {stage: "component", fact: "resumed"},
	ComponentRestarted:    {stage: "component", fact: "restarted"},
	ReportedDaily:         {stage: "reported", fact: "daily"},
	PopulationDeclared:    {stage: "population", fact: "declared"},
	PartyEnrolled:         {stage: "party", fact: "enrolled"},
	PartyRevoked:          {stage: "party", fact: "revoked"},
	RulesPublished:        {"rules", "published", Operator, fieldPack, fieldReason},

	AlertRaised:       {"alert", "raised", Watchdog, alertMust, alertMay},
	AlertClosed:       {"alert", "closed", Watchdog, alertMust | fieldEvidence, alertMay},
	AlertPaged:        {stage: "alert", fact: "paged"},
	AlertNotified:     {stage: "alert", fact: "notified"},
	AlertAcknowledged: {stage: "alert", fact: "acknowledged"},
	AlertAssigned:     {stage: "alert", fact: "assigned"},
	AlertSnoozed:      {stage: "alert", fact: "snoozed"},
	AlertReopened:     {stage: "alert", fact: "reopened"},

	AccessRecorded:        {"access", "recorded", Operator, fieldWho | fieldSince | fieldReason, 0},
	DisclosureMade:        {stage: "disclosure", fact: "made"},
	DisclosureRefused:     {stage: "disclosure", fact: "refused"},
	LossDetected:          {stage: "loss", fact: "detected"},
	LedgerOpened:          {"ledger", "opened", Operator, fieldLedger, fieldStory},
	LedgerStarted:         {"ledger", "started", Operator, fieldIncarnation | fieldPrevious | fieldHead | fieldSince, fieldRoot},
	LedgerReopened:        {stage: "ledger", fact: "reopened"},
	MunicipalitySucceeded: {stage: "municipality", fact: "succeeded"},
}

// kindByName finds a kind by <stage>.<fact>; it is kinds turned round.
var kindByName = func() map[string]Kind {
	m := make(map[string]Kind, len(kinds))
	for k, i := range kinds {
		if i.stage != "" {
			m[i.stage+"."+i.fact] = Kind(k)
		}
	}
	return m
}()

// ParseKind returns the kind with the name <stage>.<fact>.
func ParseKind(name string) (Kind, error) {
	k, ok := kindByName[name]
	if !ok {
		return 0, fmt.Errorf("kind %q: %w", clip(name), ErrUnknownKind)
	}
	return k, nil
}

// Kinds returns every kind that this program speaks, in the order of codes.
func Kinds() []Kind {
	var spoken []Kind
	for k, i := range kinds {
		if i.by != "" {
			spoken = append(spoken, Kind(k))
		}
	}
	return spoken
}

// String returns <stage>.<fact>.
func (k Kind) String() string {
	if i, ok := k.info(); ok {
		return i.stage + "." + i.fact
	}
	return "kind-" + strconv.Itoa(int(k))
}

// Stage returns the first half of the name: the hop, for kinds of a flow.
func (k Kind) Stage() string { i, _ := k.info(); return i.stage }

// By returns the role that may say k, "" when k is reserved.
func (k Kind) By() Role { i, _ := k.info(); return i.by }

// header returns the value of the Todoke-Kind header.
func (k Kind) header() string { return k.String() + "/" + strconv.Itoa(kindVersion) }

// parseKindHeader is the inverse of header. It refuses kinds that are
// reserved and versions that this program does not know.
func parseKindHeader(s string) (Kind, error) {
	name, version, _ := strings.Cut(s, "/")
	k, err := ParseKind(name)
	if err != nil {
		return 0, err
	}
	if version != strconv.Itoa(kindVersion) || k.By() == "" {
		return 0, fmt.Errorf("kind %q: %w", clip(s), ErrUnknownKind)
	}
	return k, nil
}
