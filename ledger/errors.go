package ledger

import "errors"

// These errors can occur when an event is admitted. Each is judged from the
// event alone, without history, and each is also an [ErrRefused]: sending the
// same bytes again will be refused again.
var (
	// ErrRefused is what every refusal is; test for it with errors.Is when
	// the reason does not matter.
	ErrRefused = errors.New("event refused")

	// ErrMalformed is returned for bytes that are not a canonical event:
	// wrong headers, not msgpack, a field out of order, twice, unknown,
	// missing for its kind or not allowed in it.
	ErrMalformed error = refusal("event is malformed")

	// ErrTooLarge is returned for a body of more than [MaxBody] bytes.
	ErrTooLarge error = refusal("event is too large")

	// ErrUnknownKind is returned for a kind or version that this program
	// does not speak.
	ErrUnknownKind error = refusal("event kind is unknown")

	// ErrSignature is returned when the signature does not verify under the
	// key that the event names.
	ErrSignature error = refusal("signature does not verify")

	// ErrScope is returned when the author or speaker may not say this kind
	// for this municipality.
	ErrScope error = refusal("party may not say this")

	// ErrMismatch is returned when the body names another municipality or
	// aggregate than the subject.
	ErrMismatch error = refusal("body and subject disagree")

	// ErrPersonal is returned when a text field holds what looks like a
	// personal number. The message never repeats the value.
	ErrPersonal error = refusal("event holds what looks like a personal number")

	// ErrIDReused is returned by a log when the event id is already stored
	// with another body. The stored event stays as it is.
	ErrIDReused error = refusal("event id was used before with another body")

	// ErrFull is returned by a log when the aggregate already has
	// as many events as it takes; see [Full].
	ErrFull error = refusal("aggregate is full")
)

// These errors are the outcomes of an append that did not succeed; see [Log].
var (
	// ErrConflict is returned when this attempt was not written because the
	// aggregate has moved past the head that the decision was made on.
	ErrConflict = errors.New("aggregate has moved on; decide again")

	// ErrUnknown is returned when nobody knows whether the event was stored.
	// Sending the same event again is always safe.
	ErrUnknown = errors.New("outcome unknown; the same event may be sent again")

	// ErrUnavailable is returned when the log could not be reached: this
	// attempt was not written.
	ErrUnavailable = errors.New("ledger unavailable")

	// ErrStorageFull is an ErrUnavailable: there is no room left on the disk.
	// As soon as there is, the log goes on by itself.
	ErrStorageFull error = unavailability("no room left on the disk; free some and it goes on by itself")

	// ErrClock is an ErrUnavailable: the clock that gives record times jumped,
	// or is behind the last record time.
	ErrClock error = unavailability("the ledger's clock cannot be believed")

	// ErrFenced is returned for ever by a committer that found events of
	// another committer in its stream.
	ErrFenced = errors.New("another committer writes to this ledger")

	// ErrStory is returned by a log that plays a story to everybody but its
	// player.
	ErrStory error = refusal("this ledger plays a story; only its player appends")

	// ErrClosed is returned by a log after Close.
	ErrClosed = errors.New("ledger closed")
)

// These errors can occur when a ledger is opened or read.
var (
	// ErrGap is returned when a sequence number is missing. The stream
	// denies deletion, so a gap is damage and never normal.
	ErrGap = errors.New("sequence number missing: the store is damaged")

	// ErrDrift is returned when the stream's configuration is not the one
	// that this program requires.
	ErrDrift = errors.New("stream configuration is not the required one")

	// ErrLocked is returned when another process holds the data folder.
	ErrLocked = errors.New("data folder is in use by another process")

	// ErrOtherLedger is returned when a stream or folder belongs to another
	// ledger than the one named.
	ErrOtherLedger = errors.New("this is another ledger")

	// ErrOtherParty is returned when something belongs to another party than
	// the one named.
	ErrOtherParty = errors.New("this belongs to another party")

	// ErrNewer is returned for what a newer version of this program wrote.
	ErrNewer = errors.New("written by a newer version of todoke; update this one")

	// ErrIncomplete is returned for a copy of a ledger that is still being made.
	ErrIncomplete = errors.New("this copy is not complete; go on with todoke move")

	// ErrMoved is returned for a folder whose ledger a cluster keeps now.
	ErrMoved = errors.New("this ledger was moved to a cluster")

	// ErrNoLedger is returned when a folder holds no ledger and none may be
	// made there.
	ErrNoLedger = errors.New("no ledger here")
)

// unavailability is an error that is also ErrUnavailable.
type unavailability string

func (u unavailability) Error() string        { return string(u) }
func (u unavailability) Is(target error) bool { return target == ErrUnavailable }

// refusal is an error that is also ErrRefused.
type refusal string

func (r refusal) Error() string        { return string(r) }
func (r refusal) Is(target error) bool { return target == ErrRefused }
