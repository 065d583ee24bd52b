// Package watchdog watches for what does not happen.
//
// It reads the ledger, keeps the judgement of every batch, and raises an alert
// when a word that is owed has not come by its due time, or when the word that
// came contradicts what was said before. When the evidence for the items of an
// alert arrives after all, it closes the alert. It decides nothing that
// [ledger.Judgement.Decide] does not decide, and it keeps nothing: a new
// watchdog that reads the ledger from sequence 1 knows what the old one knew.
//
// # Why an alert can be believed
//
//   - It rests on everything that was in the ledger when it was decided: a tick
//     first takes the time, then the head of the ledger, then reads up to that
//     head, and only then decides.
//   - It is appended against the head of its batch. If the acknowledgement got
//     in first, the append is refused, the batch is judged again and the alert
//     disappears.
//   - Of two watchdogs the second finds the head moved, reads the alert of the
//     first, and has nothing left to decide. One that was killed and started again
//     makes the same event id from batch, hop, side, due time and reopen number.
//   - A late tick makes an alert late, never wrong: due times come from record
//     times in the ledger, and the clock is only compared with them.
//
// A crash at any moment loses nothing: an alert that was appended is read back
// by the next watchdog, one that was not is decided again.
//
// # Decisions
//
// 2026-11-22: The watchdog asks for the head at every tick instead of being
// told of news. The two are as fast as each other at five ticks a second, and a
// tick has one story: time, head, read, decide. A subscription would need a
// second one for what arrives in between. We would change our mind for a
// deadline below a second.
package watchdog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"todoke/ledger"
	"todoke/ledger/rule"
)

// Interval is how often Run ticks when Config does not say: an alert is raised
// at most that long after its due time, plus the time of one append.
const Interval = 200 * time.Millisecond

// Config is what a watchdog needs. All fields but Interval are required.
type Config struct {
	Log      ledger.Log
	Party    ledger.Party // watchdog, or watchdog:<id>
	Key      ledger.Signer
	Now      func() time.Time
	Rand     io.Reader // salts
	Interval time.Duration
	Logger   zerolog.Logger // one line for every alert raised or closed
}

// A Watchdog is one reader of the ledger with a clock. It is not safe for
// concurrent use.
type Watchdog struct {
	cfg   Config
	state ledger.State
	rules rule.History

	// open holds the batches that may need a decision: touched since they
	// were last judged, or with an obligation whose time has come.
	open   map[*ledger.Batch]bool
	timers timers

	// doubtful holds, for each batch, the event whose outcome is unknown. It
	// is sent again byte for byte before anything else is decided.
	doubtful map[*ledger.Batch]*attempt

	last   time.Time // record time of the last event
	behind bool      // it was logged that the clock is behind
	told   int       // quarantined records that were logged
	warned string    // the day of the last warning about the calendar
}

// An attempt is a decision as it was sent.
type attempt struct {
	decision ledger.Decision
	record   ledger.Record
}

// New returns a watchdog that has read nothing yet.
func New(cfg Config) (*Watchdog, error) {
	if cfg.Log == nil || cfg.Key == nil || cfg.Now == nil || cfg.Rand == nil {
		return nil, errors.New("new watchdog: Log, Key, Now and Rand are required")
	}
	if cfg.Party.Role() != ledger.Watchdog {
		return nil, fmt.Errorf("new watchdog: party %q is not a watchdog", cfg.Party)
	}
	if cfg.Interval <= 0 {
		cfg.Interval = Interval
	}
	return &Watchdog{cfg: cfg, open: make(map[*ledger.Batch]bool), timers: newTimers(),
		doubtful: make(map[*ledger.Batch]*attempt)}, nil
}

// Run ticks until ctx is done and returns nil then. An append that failed is
// tried again at the next tick. A log that takes nothing any more ends it, and so
// does an error in reading, but for a log that was out of reach for less than a
// minute, as a cluster without a leader is: a watchdog that cannot read or alert
// must not look as if all were well.
func (w *Watchdog) Run(ctx context.Context) error {
	ticker := time.NewTicker(w.cfg.Interval)
	defer ticker.Stop()
	read := w.cfg.Now() // when it could be read last
	for {
		err := w.Tick(ctx)
		now := w.cfg.Now()
		if !errors.Is(err, errRead) {
			read = now
		}
		away := errors.Is(err, ledger.ErrUnavailable) && now.Sub(read) < longestAway
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errRead) && !away, errors.Is(err, ledger.ErrFenced), errors.Is(err, ledger.ErrClosed):
			return err
		case err != nil:
			w.cfg.Logger.Error().Err(err).Msg("watchdog will try again")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// longestAway is for how long the log may be out of reach.
const longestAway = time.Minute

// errRead marks errors after which the watchdog does not know the ledger.
var errRead = errors.New("watchdog cannot read the ledger")

// Tick reads what is new and appends what follows from it and from the time.
// It returns an error that is errRead when reading failed, and another one
// when an append failed; that batch is decided again at the next tick.
func (w *Watchdog) Tick(ctx context.Context) error {
	now := w.cfg.Now()
	if err := w.catchUp(ctx); err != nil {
		return err
	}
	now = w.notBefore(now)
	for b := w.timers.expired(now); b != nil; b = w.timers.expired(now) {
		w.open[b] = true
	}
	// In the order of the ledger, so that one history gives one ledger.
	byFirst := func(a, b *ledger.Batch) int { return cmp.Compare(a.First, b.First) }
	var failed error
	for _, b := range slices.SortedFunc(maps.Keys(w.open), byFirst) {
		err := w.decide(ctx, b, now)
		if errors.Is(err, errRead) {
			return err
		}
		if err != nil {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// notBefore returns the later of the clock and the last record time: what the
// ledger has recorded has passed, whatever a clock that was set back says.
func (w *Watchdog) notBefore(now time.Time) time.Time {
	if !w.last.After(now) {
		w.behind = false
		return now
	}
	if !w.behind && w.last.Sub(now) > clockTolerance {
		w.behind = true
		w.cfg.Logger.Error().Time("clock", now).Time("record_time", w.last).
			Msg("the clock is behind the ledger; due times are held against the last record time")
	}
	return w.last
}

// clockTolerance is how far the clock may be behind the ledger without a word
// about it.
const clockTolerance = 5 * time.Minute

// Next returns the earliest due time that is still ahead of what was judged
// last, and false when nothing is owed. A story's clock moves by it.
func (w *Watchdog) Next() (time.Time, bool) { return w.timers.next() }

// State returns what the watchdog has read so far. The caller must not use it
// while Tick or Run is at work.
func (w *Watchdog) State() *ledger.State { return &w.state }

// catchUp reads everything up to the head of the ledger, asked for now.
func (w *Watchdog) catchUp(ctx context.Context) error {
	head, err := w.cfg.Log.Head(ctx)
	if err != nil {
		return fmt.Errorf("%w: ask for its head: %w", errRead, err)
	}
	if head <= w.state.Head {
		return nil
	}
	for r, err := range w.cfg.Log.Read(ctx, w.state.Head+1, head) {
		if err != nil {
			return fmt.Errorf("%w: read %d to %d: %w", errRead, w.state.Head+1, head, err)
		}
		w.take(r)
	}
	if w.state.Head < head {
		return fmt.Errorf("%w: read ended at %d, head is %d", errRead, w.state.Head, head)
	}
	return nil
}

// take applies one record.
func (w *Watchdog) take(r ledger.Record) {
	e, err := ledger.Decode(r)
	e.Record = r
	if err == nil {
		w.last = e.Time
		if err := w.rules.Apply(e); err != nil {
			w.cfg.Logger.Error().Err(err).Uint64("seq", uint64(r.Seq)).Msg("rule pack cannot be read; the one before stays in force")
		}
	}
	if b := w.state.ApplyDecoded(&e, err); b != nil {
		w.open[b] = true
	}
	w.tellQuarantine()
}

func (w *Watchdog) tellQuarantine() {
	for ; w.told < len(w.state.Quarantine); w.told++ {
		q := w.state.Quarantine[w.told]
		w.cfg.Logger.Error().Err(q.Err).Uint64("seq", uint64(q.Seq)).Msg("record is not an event; quarantined")
	}
}

// patience bounds one append, so that a broker that does not answer stops neither
// the ticks nor the lines about it.
const patience = 15 * time.Second

// attempts bounds how often one batch is decided again within a tick, while
// other events keep getting in first. The next tick goes on.
const attempts = 100

// decide judges a batch and appends what follows, one event at a time, each
// against the head that it was decided on. It leaves the batch open when it
// could not finish.
func (w *Watchdog) decide(ctx context.Context, b *ledger.Batch, now time.Time) error {
	for range attempts {
		j := b.Judge(w.rules.Of(b))
		decisions := j.Decide(now)
		if len(decisions) == 0 {
			delete(w.open, b)
			delete(w.doubtful, b)
			w.timers.set(b, j, now)
			w.warnProvisional(j, now)
			return nil
		}
		a := w.doubtful[b]
		if a == nil {
			var err error
			if a, err = w.writeFirst(decisions); err != nil {
				return err
			}
		}
		err := w.append(ctx, b, a)
		if err != nil && !errors.Is(err, ledger.ErrConflict) {
			return err
		}
		if err := w.catchUp(ctx); err != nil {
			return err
		}
	}
	return nil
}

// writeFirst makes the event of the first decision that can be written. One that
// cannot does not keep the others back; it is an error once it is all that is
// left.
func (w *Watchdog) writeFirst(decisions []ledger.Decision) (*attempt, error) {
	var failed error
	for _, d := range decisions {
		a, err := w.write(d)
		if err == nil {
			return a, nil
		}
		failed = errors.Join(failed, err)
	}
	return nil, failed
}

// write makes the event of a decision.
func (w *Watchdog) write(d ledger.Decision) (*attempt, error) {
	draft := ledger.Draft{Author: w.cfg.Party, Subject: d.Subject, DocumentKey: d.DocumentKey, Body: d.Body, Sent: w.cfg.Now()}
	if _, err := io.ReadFull(w.cfg.Rand, draft.Salt[:]); err != nil {
		return nil, fmt.Errorf("draw salt: %w", err)
	}
	record, err := ledger.New(w.cfg.Log.ID(), draft, w.cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("write %s for batch %s: %w", d.Subject.Kind, d.Subject.Aggregate, err)
	}
	return &attempt{d, record}, nil
}

// append stores one decision.
//
// A crash here leaves the alert stored or not: the next watchdog reads the
// ledger and either finds it or decides it again under the same id.
func (w *Watchdog) append(ctx context.Context, b *ledger.Batch, a *attempt) error {
	d := &a.decision
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	receipt, err := w.cfg.Log.Decide(ctx, d.Head, a.record)
	delete(w.doubtful, b)
	if errors.Is(err, ledger.ErrUnknown) || errors.Is(err, context.DeadlineExceeded) {
		w.doubtful[b] = a
	}
	if err != nil {
		return fmt.Errorf("append %s for batch %s: %w", d.Subject.Kind, d.Subject.Aggregate, err)
	}
	if !receipt.Duplicate {
		w.tell(b, d, receipt)
	}
	return nil
}

// tell writes the log line of an alert.
func (w *Watchdog) tell(b *ledger.Batch, d *ledger.Decision, receipt ledger.Receipt) {
	line, text := w.cfg.Logger.Warn(), "alert raised"
	if d.Subject.Kind == ledger.AlertClosed {
		line, text = w.cfg.Logger.Info(), "alert closed by evidence"
		line.Dur("late_by", max(0, b.SaidAt(d.Body.Evidence, receipt.Time).Sub(d.Body.Due)))
	}
	line.Uint64("seq", uint64(receipt.Seq)).
		Str("batch", d.Subject.Aggregate).
		Str("hop", d.Body.Hop).Stringer("side", d.Body.Side).Stringer("cause", d.Body.Cause).
		Str("owed_by", d.Body.OwedBy).Str("claimed_by", d.Body.ClaimedBy).
		Uint32("items", d.Body.Count).Time("due", d.Body.Due).
		Msg(text)
}

// warnProvisional says once a day that deadlines rest on a calendar that is
// not official yet.
func (w *Watchdog) warnProvisional(j *ledger.Judgement, now time.Time) {
	day := now.In(ledger.JST).Format(time.DateOnly)
	if day == w.warned {
		return
	}
	for i := range j.Obligations {
		if o := &j.Obligations[i]; o.Provisional {
			w.warned = day
			w.cfg.Logger.Warn().Str("batch", j.Batch.ID).Time("due", o.Due).
				Msg("暦未確定: the calendar is not official up to this deadline; load the Cabinet Office file with: todoke rules calendar FILE")
			return
		}
	}
}
