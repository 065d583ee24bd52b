package producers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"todoke/ledger"
)

const (
	// maxInFlight is how many batches are on their way to the ledger at once.
	maxInFlight = 64
	// settleEvery is how often Run asks what may be forgotten.
	settleEvery = time.Minute
)

// A parcel is an entry on its way to the ledger, and then its answer.
type parcel struct {
	lane    *lane
	entry   Entry
	receipt ledger.Receipt
	err     error
}

// final reports whether the answer is one for good.
func (p *parcel) final() bool { return p.err == nil || errors.Is(p.err, ledger.ErrRefused) }

// Pass offers the first entry of every batch that is kept here to log, once and
// in order of keeping, and returns when all answers are on the disk. It says how
// many entries are still kept here, and whether an answer was one for good:
// until a pass moves nothing, another may move more. It is for programs without
// a goroutine to spare, and for simulations; all others have [Outbox.Run]. Its
// errors are [ledger.ErrOtherLedger], the context's, and those of the disk as in
// [Outbox.Keep]; that the ledger gave no answer is none.
func (o *Outbox) Pass(ctx context.Context, log Appender) (remaining int, moved bool, err error) {
	if err := o.isFor(log); err != nil {
		return o.Counts().KeptHere, false, err
	}
	var answers []*parcel
	for _, p := range o.takeAll() {
		if p.err = ctx.Err(); p.err == nil {
			o.attempt(ctx, log, p)
		}
		answers = append(answers, p)
		moved = moved || p.final()
	}
	if err := o.record(answers); err != nil {
		return o.Counts().KeptHere, false, err
	}
	return o.Counts().KeptHere, moved, ctx.Err()
}

// isFor checks that a log is the ledger that the events are signed for.
func (o *Outbox) isFor(log Appender) error {
	if log.ID() != o.id {
		return fmt.Errorf("deliver what is kept for ledger %s to ledger %s: %w", o.id, log.ID(), ledger.ErrOtherLedger)
	}
	return nil
}

// takeAll takes the first entry of every lane that is ready.
func (o *Outbox) takeAll() (parcels []*parcel) {
	for p := o.take(); p != nil; p = o.take() {
		parcels = append(parcels, p)
	}
	slices.SortFunc(parcels, func(a, b *parcel) int { return int(a.lane.sending) - int(b.lane.sending) })
	return parcels
}

// take takes the first entry of the lane that has waited longest, nil when none
// is ready. The lane is not ready again before the answer is recorded.
func (o *Outbox) take() *parcel {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.ready) == 0 {
		return nil
	}
	l := o.ready[0]
	o.ready = o.ready[1:]
	l.sending = l.queue[0]
	return &parcel{lane: l}
}

// attempt offers an entry to the log once.
func (o *Outbox) attempt(ctx context.Context, log Appender, p *parcel) {
	if p.entry, p.err = o.file.get(p.lane.sending); p.err != nil {
		return
	}
	// A crash from here until the answer is recorded means that the same bytes
	// are sent again after the next start; the ledger finds them by their id.
	p.receipt, p.err = log.Append(ctx, p.entry.Record)
	if p.err == nil && (p.receipt.Ledger != o.id || p.receipt.ID != p.entry.ID || p.receipt.Seq == 0) {
		p.err = fmt.Errorf("the receipt is for event %s at %d of ledger %s: %w", p.receipt.ID, p.receipt.Seq, p.receipt.Ledger, ledger.ErrUnknown)
	}
}

// record writes down all answers that are for good, in one transaction, and
// makes the lanes ready again. With an error, no answer counts: the same
// entries will be sent again.
func (o *Outbox) record(answers []*parcel) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	after := o.tally
	var changed []Entry
	for _, p := range answers {
		if p.final() {
			changed = append(changed, p.outcome(&after))
		}
	}
	err := o.replace(after, changed, nil)
	for _, p := range answers {
		if err == nil && p.final() {
			o.dequeue(p.lane)
		}
		p.lane.sending = 0
		if len(p.lane.queue) > 0 {
			o.offer(p.lane)
		} else {
			delete(o.lanes, p.lane.key)
		}
	}
	return err
}

// outcome returns the entry with its answer, and counts it.
func (p *parcel) outcome(t *tally) Entry {
	e := p.entry
	*t.of(e.State)--
	if p.err == nil {
		e.State = InLedger
		e.Receipt = p.receipt
		e.Receipt.Time = time.Unix(0, p.receipt.Time.UnixNano()).UTC()
	} else {
		sentence := p.err.Error()
		sentence = strings.ToValidUTF8(sentence[:min(len(sentence), maxSentence)], "")
		e.State, e.Refusal = Refused, ledger.FromCode(ledger.Code(p.err), sentence)
	}
	*t.of(e.State)++
	return e
}

// replace writes entries and the tally, and tells those who wait.
func (o *Outbox) replace(after tally, changed []Entry, forget []uint64) error {
	if len(changed)+len(forget) == 0 {
		return nil
	}
	if o.isClosed() {
		return ledger.ErrClosed
	}
	if err := o.file.write(after, changed, forget); err != nil {
		return err
	}
	o.tally = after
	for _, e := range changed {
		o.tell(e.number)
	}
	close(o.news)
	o.news = make(chan struct{})
	return nil
}

// dequeue takes the entry that was on its way out of its lane.
func (o *Outbox) dequeue(l *lane) {
	if i, found := slices.BinarySearch(l.queue, l.sending); found {
		l.queue = slices.Delete(l.queue, i, i+1)
	}
}

// Run delivers what is kept here until ctx is done, or the outbox closed, and
// then returns nil: the entries of one batch one after the other, those of
// different batches beside each other. While the ledger does not answer it tries
// a single entry, again and again, with longer and longer waits, for as long as
// it takes. It ends with [ledger.ErrOtherLedger] when log is another ledger, and
// with [ErrDamaged].
func (o *Outbox) Run(ctx context.Context, log Appender) error {
	if err := o.isFor(log); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var settling sync.WaitGroup
	defer settling.Wait()
	defer cancel()
	broken := make(chan error, 1)
	if o.config.Sealed != nil {
		settling.Go(func() { o.settleAlong(ctx, broken) })
	}
	d := &delivery{outbox: o, log: log, answers: make(chan *parcel, maxInFlight)}
	for {
		d.send(ctx)
		select {
		case <-ctx.Done():
			return d.end(cancel)
		case <-o.closed:
			return d.end(cancel)
		case <-o.woken:
		case <-d.pause:
			d.pause = nil
		case err := <-broken:
			return errors.Join(err, d.end(cancel))
		case p := <-d.answers:
			if err := d.take(p); err != nil {
				return errors.Join(err, d.end(cancel))
			}
		}
	}
}

// A delivery is the state of one Run.
type delivery struct {
	outbox  *Outbox
	log     Appender
	answers chan *parcel
	flying  int              // attempts that have not answered
	bound   time.Duration    // of the last pause; 0 while the ledger answers
	pause   <-chan time.Time // not nil: nothing is sent before it ticks
}

// send starts as many attempts as may be on their way: one to find out whether
// the ledger is there again, many when it is.
func (d *delivery) send(ctx context.Context) {
	most := maxInFlight
	if d.bound > 0 {
		most = 1
	}
	for d.pause == nil && d.flying < most {
		p := d.outbox.take()
		if p == nil {
			return
		}
		d.flying++
		go func() {
			d.outbox.attempt(ctx, d.log, p)
			d.answers <- p
		}()
	}
}

// take records an answer and all others that have come in the meantime.
func (d *delivery) take(p *parcel) error {
	answers := []*parcel{p}
	for more := true; more; {
		select {
		case p := <-d.answers:
			answers = append(answers, p)
		default:
			more = false
		}
	}
	d.flying -= len(answers)
	for _, p := range answers {
		if p.final() {
			d.bound, d.pause = 0, nil
		} else if errors.Is(p.err, ErrDamaged) {
			return errors.Join(p.err, d.outbox.record(answers))
		} else {
			d.backOff()
		}
	}
	err := d.outbox.record(answers)
	switch {
	case errors.Is(err, ledger.ErrClosed): // Run sees it too, and ends
		return nil
	case errors.Is(err, ledger.ErrUnavailable): // the own disk is full
		d.backOff()
		return nil
	}
	return err
}

// backOff begins a pause. Attempts that were on their way when it began do not
// make it longer.
func (d *delivery) backOff() {
	if d.pause != nil {
		return
	}
	d.bound = min(max(2*d.bound, firstWait), longestWait)
	d.pause = time.After(jitter(d.outbox.config.Rand, d.bound))
}

// end waits for the attempts that are on their way, which it cancels, and
// records their answers. One that cannot be written down now will be asked for
// again after the next start.
func (d *delivery) end(cancel context.CancelFunc) error {
	cancel()
	var answers []*parcel
	for ; d.flying > 0; d.flying-- {
		answers = append(answers, <-d.answers)
	}
	if err := d.outbox.record(answers); errors.Is(err, ErrDamaged) {
		return err
	}
	return nil
}

// Settle asks once for every entry that is in the ledger whether it may be
// forgotten: what is proven is forgotten, what is disproved is kept here again,
// with its receipt among the earlier ones, and will be sent again with the same
// bytes. It says how many of each. It stops at the first error of
// OutboxConfig.Sealed; other errors are the context's and those of the disk as
// in [Outbox.Keep]. Without a Sealed it does nothing.
func (o *Outbox) Settle(ctx context.Context) (forgotten, lost int, err error) {
	if o.config.Sealed == nil {
		return 0, 0, nil
	}
	o.settling.Lock()
	defer o.settling.Unlock()
	for from := uint64(1); ; {
		page, err := o.file.from(from, pageOfEntries)
		if err != nil || len(page) == 0 {
			return forgotten, lost, err
		}
		from = page[len(page)-1].number + 1
		proven, disproved, askErr := o.ask(ctx, page)
		if err := o.settle(proven, disproved); err != nil {
			return forgotten, lost, err
		}
		forgotten, lost = forgotten+len(proven), lost+len(disproved)
		if askErr != nil {
			return forgotten, lost, fmt.Errorf("ask whether events are sealed: %w", askErr)
		}
	}
}

// ask sorts entries by the verdict on them, up to the first error.
func (o *Outbox) ask(ctx context.Context, page []Entry) (proven, disproved []Entry, err error) {
	for _, e := range page {
		if e.State != InLedger {
			continue
		}
		verdict, err := o.config.Sealed(ctx, e)
		if err = errors.Join(err, ctx.Err()); err != nil {
			return proven, disproved, err
		}
		switch verdict {
		case Proven:
			proven = append(proven, e)
		case Disproved:
			disproved = append(disproved, e)
		}
	}
	return proven, disproved, nil
}

// settle forgets what is proven and takes back what is disproved.
func (o *Outbox) settle(proven, disproved []Entry) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	after := o.tally
	var forget []uint64
	for _, e := range proven {
		forget = append(forget, e.number)
		after.inLedger--
		after.sealed++
		after.bytes -= sizeOf(e.Record)
	}
	for i := range disproved {
		e := &disproved[i]
		e.State, e.Earlier, e.Receipt = KeptHere, e.receipts(), ledger.Receipt{}
		after.inLedger--
		after.kept++
	}
	if err := o.replace(after, disproved, forget); err != nil {
		return err
	}
	for _, e := range proven {
		delete(o.numbers, e.ID)
	}
	for _, e := range disproved {
		o.enqueue(e)
	}
	return nil
}

// settleAlong settles beside a Run until ctx is done or the file is broken. Any
// other error only means that it asks again next time.
func (o *Outbox) settleAlong(ctx context.Context, broken chan<- error) {
	for pause(ctx, settleEvery) {
		if _, _, err := o.Settle(ctx); errors.Is(err, ErrDamaged) {
			broken <- err
			return
		}
	}
}
