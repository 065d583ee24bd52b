package producers

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"slices"
	"sync"
	"time"

	"todoke/ledger"
)

// DefaultMaxBytes bounds an outbox that is given no other bound: 1 GiB, a
// million reports of one batch each.
const DefaultMaxBytes = 1 << 30

// pageOfEntries is how many entries are read at a time.
const pageOfEntries = 256

// A State says how far an entry has come.
type State uint8

// The states. What is proven to be under a seal is forgotten, and only counted.
const (
	KeptHere State = iota // durable here; the ledger has not answered
	InLedger              // the ledger has it and gave a receipt
	Refused               // the ledger refused it, for good
)

// String returns kept here, in the ledger or refused.
func (s State) String() string {
	switch s {
	case KeptHere:
		return "kept here"
	case InLedger:
		return "in the ledger"
	case Refused:
		return "refused"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// An Entry is one record in an outbox and what became of it.
type Entry struct {
	ID     ledger.ID
	Record ledger.Record // as it was given to Keep; every attempt sends these bytes
	Kept   time.Time     // by the party's own clock
	State  State
	// Receipt is the ledger's, while the state is InLedger.
	Receipt ledger.Receipt
	// Earlier are receipts for what the ledger lost afterwards, oldest first.
	Earlier []ledger.Receipt
	// Refusal is the ledger's [ledger.ErrRefused], while the state is Refused:
	// [ledger.Code] gives its code.
	Refusal error

	number uint64 // its place in the order of keeping, from 1
}

// Counts says how much an outbox holds.
type Counts struct {
	KeptHere int
	InLedger int
	Refused  int
	Sealed   int   // proven to be under a seal, and forgotten since
	Bytes    int64 // of all records that are still there
}

// A Verdict is the answer to the question whether an event that is in the ledger
// may be forgotten here.
type Verdict uint8

// The verdicts.
const (
	// NotYet: no accepted checkpoint covers the receipt. The entry stays.
	NotYet Verdict = iota
	// Proven: an inclusion proof of the entry's own leaf verifies under a
	// checkpoint that is consistent with the last accepted one. The entry is
	// forgotten.
	Proven
	// Disproved: an accepted checkpoint covers the receipt, or the ledger has
	// begun a new incarnation below it, and the entry's own leaf is not there.
	// The entry is kept here again and sent again.
	Disproved
)

// An OutboxConfig says whose outbox it is and where. File, Party, Now and Rand
// are needed.
type OutboxConfig struct {
	File  string // made with its folder when there is none, for this user alone
	Party ledger.Party
	// Ledger is which ledger the events are signed for. Zero: the one that the
	// file belongs to.
	Ledger   ledger.LedgerID
	MaxBytes int64            // bound of all records that are kept; 0: DefaultMaxBytes
	Now      func() time.Time // the party's own clock
	Rand     io.Reader        // for waits: crypto/rand.Reader
	// Sealed judges an entry that is in the ledger; an error means that it
	// could not be asked and says nothing. Nil: nobody can prove anything, and
	// nothing is ever forgotten.
	Sealed func(context.Context, Entry) (Verdict, error)
}

// ready returns c with defaults, or says what is wrong with it.
func (c OutboxConfig) ready() (OutboxConfig, error) {
	if c.File == "" || c.Now == nil || c.Rand == nil {
		return c, errors.New("file, clock and randomness must be given")
	}
	if _, err := ledger.ParseParty(string(c.Party)); err != nil {
		return c, err
	}
	if c.MaxBytes < 0 {
		return c, fmt.Errorf("a bound of %d bytes", c.MaxBytes)
	}
	c.MaxBytes = cmp.Or(c.MaxBytes, DefaultMaxBytes)
	return c, nil
}

// An Outbox keeps one party's records until the ledger has them. It is an
// [Appender]. It is safe for use by several goroutines when Rand is; one process
// at a time has its file.
type Outbox struct {
	config OutboxConfig
	file   *kept
	id     ledger.LedgerID
	woken  chan struct{} // holds one when there may be something to send
	closed chan struct{} // closed by Close

	settling sync.Mutex // held by a round of Settle; taken before mu

	mu      sync.Mutex // guards what follows, and orders the writes to file
	tally   tally
	numbers map[ledger.ID]uint64
	lanes   map[string]*lane
	ready   []*lane // with something to send that is not on its way, longest waiting first
	waiting map[uint64]chan struct{}
	news    chan struct{} // closed, and made anew, with every answer
}

// A lane is what is kept here of one aggregate: one after the other.
type lane struct {
	key     string
	queue   []uint64 // in order of keeping
	sending uint64   // the number that is on its way, 0 for none
}

// OpenOutbox opens the outbox in c.File and makes it when there is none. It
// reads the whole file, so that damage shows now and not when an event is
// missed. It returns [ledger.ErrLocked] while another process has the file,
// [ledger.ErrOtherParty] and [ledger.ErrOtherLedger] when it belongs to another,
// [ledger.ErrNewer] when a newer program wrote it, and [ErrDamaged] when it does
// not hold what was written to it.
func OpenOutbox(c OutboxConfig) (*Outbox, error) {
	c, err := c.ready()
	if err != nil {
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	o := &Outbox{
		config: c, woken: make(chan struct{}, 1), closed: make(chan struct{}), news: make(chan struct{}),
		numbers: make(map[ledger.ID]uint64), lanes: make(map[string]*lane), waiting: make(map[uint64]chan struct{}),
	}
	if err := o.open(); err != nil {
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	return o, nil
}

func (o *Outbox) open() error {
	if _, err := os.Lstat(o.config.File); errors.Is(err, fs.ErrNotExist) {
		if o.config.Ledger == (ledger.LedgerID{}) {
			return fmt.Errorf("%s does not exist: a new outbox must be told for which ledger its events are signed", o.config.File)
		}
		s := keptState{party: o.config.Party, ledger: o.config.Ledger, tally: tally{next: 1}}
		if err := makeKept(o.config.File, s); err != nil {
			return fmt.Errorf("make %s: %w", o.config.File, err)
		}
	}
	file, err := openKept(o.config.File, o.load)
	if err != nil {
		return err
	}
	o.file, o.id, o.tally = file, file.opened.ledger, file.opened.tally
	if err := o.belongs(file.opened); err != nil {
		return errors.Join(err, file.close())
	}
	return nil
}

// belongs checks that the file is the one that was asked for.
func (o *Outbox) belongs(s keptState) error {
	if s.party != o.config.Party {
		return fmt.Errorf("%s belongs to %s and not to %s: %w", o.config.File, s.party, o.config.Party, ledger.ErrOtherParty)
	}
	if want := o.config.Ledger; want != (ledger.LedgerID{}) && want != s.ledger {
		return fmt.Errorf("%s keeps events for ledger %s and not for %s: %w", o.config.File, s.ledger, want, ledger.ErrOtherLedger)
	}
	return nil
}

// load takes an entry of the file into memory.
func (o *Outbox) load(e Entry) {
	o.numbers[e.ID] = e.number
	if e.State == KeptHere {
		o.enqueue(e)
	}
}

// enqueue puts an entry into its lane, at its place in the order of keeping.
func (o *Outbox) enqueue(e Entry) {
	key := laneOf(e.Record)
	l := o.lanes[key]
	if l == nil {
		l = &lane{key: key}
		o.lanes[key] = l
	}
	if len(l.queue) == 0 {
		o.offer(l)
	}
	i, _ := slices.BinarySearch(l.queue, e.number)
	l.queue = slices.Insert(l.queue, i, e.number)
}

// offer makes a lane the last of those that are ready.
func (o *Outbox) offer(l *lane) {
	o.ready = append(o.ready, l)
	select {
	case o.woken <- struct{}{}:
	default:
	}
}

// laneOf returns the aggregate of an admitted record.
func laneOf(r ledger.Record) string {
	s, _ := ledger.ParseSubject(r.Subject)
	return s.AggregateKey()
}

// ID implements [Appender]: which ledger the events are signed for.
func (o *Outbox) ID() ledger.LedgerID { return o.id }

// Keep keeps r and returns when it is on the disk. An event that was kept
// before is not kept again: the entry is the first one, and its bytes win. It
// returns an [ledger.ErrRefused] for what no ledger would take,
// [ledger.ErrOtherParty] for a record of another author, [ledger.ErrIDReused]
// for an id that was kept with another body, an [*OutboxFullError],
// [ledger.ErrStorageFull] or another [ledger.ErrUnavailable] when the disk does
// not take it, [ErrDamaged], and [ledger.ErrClosed]. With an error, nothing was
// kept, but for an ErrDamaged, when nobody knows.
func (o *Outbox) Keep(r ledger.Record) (Entry, error) {
	e, err := o.keep(r)
	if err != nil {
		return Entry{}, fmt.Errorf("keep event %.32q: %w", r.Header.Get(ledger.HeaderID), err)
	}
	return e, nil
}

func (o *Outbox) keep(r ledger.Record) (Entry, error) {
	event, err := ledger.Admit(o.id, r)
	if err != nil {
		return Entry{}, err
	}
	if event.Author != o.config.Party {
		return Entry{}, fmt.Errorf("it is by %s, and this is the outbox of %s: %w", event.Author, o.config.Party, ledger.ErrOtherParty)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.isClosed() {
		return Entry{}, ledger.ErrClosed
	}
	if number, known := o.numbers[event.ID()]; known {
		return o.keptBefore(number, r)
	}
	size := sizeOf(r)
	if used, limit := o.tally.bytes, uint64(o.config.MaxBytes); used+size > limit {
		return Entry{}, &OutboxFullError{Used: int64(used), Limit: int64(limit)}
	}
	e := Entry{
		ID: event.ID(), Kept: time.Unix(0, o.config.Now().UnixNano()).UTC(), number: o.tally.next,
		Record: ledger.Record{Subject: r.Subject, Header: cloneHeader(r.Header), Body: bytes.Clone(r.Body)},
	}
	after := o.tally
	after.next++
	after.kept++
	after.bytes += size
	// The commit point. A crash before it leaves no trace; after it the event
	// is sent at the next start, whether or not the caller heard of it.
	if err := o.file.write(after, []Entry{e}, nil); err != nil {
		return Entry{}, err
	}
	o.tally = after
	o.load(e)
	return e, nil
}

// keptBefore returns the entry of an event that is there already.
func (o *Outbox) keptBefore(number uint64, r ledger.Record) (Entry, error) {
	e, err := o.file.get(number)
	if err != nil {
		return Entry{}, err
	}
	if e.Record.Subject != r.Subject || !bytes.Equal(e.Record.Body, r.Body) {
		return Entry{}, fmt.Errorf("it was kept on %s: %w", e.Kept.In(ledger.JST).Format(time.DateTime), ledger.ErrIDReused)
	}
	return e, nil
}

func cloneHeader(h ledger.Header) ledger.Header {
	c := make(ledger.Header, len(h))
	for name, values := range h {
		c[name] = slices.Clone(values)
	}
	return c
}

func (o *Outbox) isClosed() bool {
	select {
	case <-o.closed:
		return true
	default:
		return false
	}
}

// Append implements [Appender]: it keeps r and waits until a [Outbox.Run] has
// the ledger's answer. When ctx is done, or the outbox closed, before that, the
// error is [ErrKeptHere]. When the file turns out to be damaged in the meantime
// it is [ErrDamaged] and [ledger.ErrUnknown]. Otherwise it is one of
// [Outbox.Keep] or the ledger's refusal.
func (o *Outbox) Append(ctx context.Context, r ledger.Record) (ledger.Receipt, error) {
	e, err := o.Keep(r)
	if err != nil {
		return ledger.Receipt{}, err
	}
	if e.State == InLedger {
		e.Receipt.Duplicate = true
	}
	for e.State == KeptHere {
		if e, err = o.await(ctx, e.number); err != nil {
			outcome := ErrKeptHere
			if errors.Is(err, ErrDamaged) {
				outcome = ledger.ErrUnknown
			}
			return ledger.Receipt{}, fmt.Errorf("event %s: %w: %w", r.Header.Get(ledger.HeaderID), outcome, err)
		}
	}
	return e.Receipt, e.Refusal
}

// await returns the entry as it is after the next answer to it.
func (o *Outbox) await(ctx context.Context, number uint64) (Entry, error) {
	answered := o.answerTo(number)
	if e, err := o.file.get(number); err != nil || e.State != KeptHere {
		o.answered(number)
		return e, err
	}
	select {
	case <-answered:
		return o.file.get(number)
	case <-o.closed:
		return Entry{}, ledger.ErrClosed
	case <-ctx.Done():
		return Entry{}, ctx.Err()
	}
}

// answerTo returns a channel that is closed when the ledger answers for the
// entry with a number.
func (o *Outbox) answerTo(number uint64) <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.waiting[number]
	if c == nil {
		c = make(chan struct{})
		o.waiting[number] = c
	}
	return c
}

// answered wakes those who wait for an answer that is there.
func (o *Outbox) answered(number uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tell(number)
}

func (o *Outbox) tell(number uint64) {
	if c := o.waiting[number]; c != nil {
		close(c)
		delete(o.waiting, number)
	}
}

// Entry returns the entry of an event, false when there is none: it was never
// kept here, or is proven and forgotten. Its errors are [ErrDamaged] and
// [ledger.ErrClosed].
func (o *Outbox) Entry(id ledger.ID) (Entry, bool, error) {
	o.mu.Lock()
	number, there := o.numbers[id]
	o.mu.Unlock()
	if !there {
		return Entry{}, false, nil
	}
	e, err := o.file.get(number)
	return e, err == nil, err
}

// Entries yields all entries in order of keeping, and ends after an error, which
// is [ErrDamaged] or [ledger.ErrClosed]. What is kept meanwhile may be among
// them. The outbox may be used while they are read.
func (o *Outbox) Entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for next := uint64(1); ; {
			// No transaction is open while somebody looks at them: it would hold
			// up writers.
			page, err := o.file.from(next, pageOfEntries)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for _, e := range page {
				if next = e.number + 1; !yield(e, nil) {
					return
				}
			}
			if len(page) == 0 {
				return
			}
		}
	}
}

// Counts returns how much is kept.
func (o *Outbox) Counts() Counts {
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.tally
	return Counts{KeptHere: int(t.kept), InLedger: int(t.inLedger), Refused: int(t.refused), Sealed: int(t.sealed), Bytes: int64(t.bytes)}
}

// Flush waits until the ledger has answered for everything that is kept here,
// which needs a [Outbox.Run] beside it. It says how many remain when ctx is done
// before that, with the context's error, or with [ledger.ErrClosed].
func (o *Outbox) Flush(ctx context.Context) (remaining int, err error) {
	for {
		o.mu.Lock()
		remaining, news := int(o.tally.kept), o.news
		o.mu.Unlock()
		if remaining == 0 {
			return 0, nil
		}
		select {
		case <-news:
		case <-o.closed:
			return remaining, ledger.ErrClosed
		case <-ctx.Done():
			return remaining, ctx.Err()
		}
	}
}

// Close flushes as long as ctx allows, then lets go of the file, and says how
// many are kept here and will be sent after the next start. That some are is no
// error. Closing again does nothing.
func (o *Outbox) Close(ctx context.Context) (remaining int, err error) {
	_, _ = o.Flush(ctx) // what remains is counted below
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.isClosed() {
		return int(o.tally.kept), nil
	}
	close(o.closed)
	if err := o.file.close(); err != nil {
		return int(o.tally.kept), fmt.Errorf("close outbox: %w", err)
	}
	return int(o.tally.kept), nil
}
