package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/rs/zerolog"

	"todoke/ledger"
	"todoke/producers"
	"todoke/producers/intake"
)

const (
	// askAgain is how often a gateway looks for a ledger that it has to ask.
	askAgain = 2 * time.Second
	// farewell is how long a gateway that is told to end waits for answers.
	farewell = 3 * time.Second
)

// The events of a watching gateway.
const (
	eventWatching  = "watching"
	eventTaken     = "taken"
	eventRefused   = "refused"
	eventStays     = "stays"
	eventDelivered = "delivered"
	eventRejected  = "rejected"
	eventEnded     = "ended"
)

// A watchRow is one thing that happened, as intake --watch --json prints it.
type watchRow struct {
	Time     time.Time       `json:"time"`
	Event    string          `json:"event"`
	File     string          `json:"file,omitempty"`
	Moved    string          `json:"moved,omitempty"`
	Batch    string          `json:"batch,omitempty"`
	Items    uint32          `json:"items,omitempty"`
	Known    bool            `json:"known,omitempty"`
	State    string          `json:"state,omitempty"`
	Rows     int             `json:"rows,omitempty"`
	Problems int             `json:"problems,omitempty"`
	Reason   string          `json:"reason,omitempty"`
	Kind     string          `json:"kind,omitempty"`
	Receipt  *ledger.Receipt `json:"receipt,omitempty"`
	Refusal  *refusalRow     `json:"refusal,omitempty"`
	KeptHere *int            `json:"kept_here,omitempty"`
}

// A watch is a gateway that takes what is put into a folder.
type watch struct {
	*gateway
	app    *app
	dir    string
	logger zerolog.Logger

	printing sync.Mutex // one line at a time
}

// watch runs the gateway until it is told to end. The ledger may come and go.
func (c *intakeCommand) watch(a *app, cfg intake.Config) (err error) {
	if info, err := os.Stat(c.Watch); err != nil || !info.IsDir() {
		return usagef("--watch %s: it is no folder", c.Watch)
	}
	if c.Interval <= 0 {
		return usagef("--interval %s: it must be above zero", c.Interval)
	}
	taken, err := intake.Open(cfg)
	if err != nil {
		return err
	}
	defer taken.Close()
	w := &watch{app: a, dir: c.Watch, logger: a.logger()}
	reached, err := w.introduce(cfg.Dir)
	if err != nil || a.ctx.Err() != nil {
		return err
	}
	if w.gateway, err = a.openGateway(taken, cfg.Dir, reached, a.serving); err != nil {
		if reached != nil {
			reached.close()
		}
		return err
	}
	defer func() { err = errors.Join(err, w.end()) }()
	w.line.said, w.line.told = w.sayLine, w.sayDelivery
	watcher, err := intake.NewWatcher(intake.WatchConfig{Dir: c.Watch, Interval: c.Interval, Gateway: taken,
		Reporter: w.reporter, Outbox: w.outbox, Now: time.Now, Tell: w.sayNotice})
	if err != nil {
		return err
	}
	defer watcher.Close()
	kept := w.outbox.Counts().KeptHere
	w.print(watchRow{Time: time.Now().UTC(), Event: eventWatching, KeptHere: &kept})
	w.deliver()
	services := []func(context.Context) error{watcher.Run, w.guard}
	if c.Answer {
		services = append(services, w.answer)
	}
	return together(a.ctx, services...)
}

// introduce waits, on a gateway that was never connected, until a ledger tells
// which one it is: no event can be signed before. It returns nil when the
// outbox knows.
func (w *watch) introduce(dir string) (*source, error) {
	if known, err := hasOutbox(dir); known || err != nil {
		return nil, err
	}
	for told := false; ; told = true {
		s, err := w.app.serving()
		if err == nil {
			return s, nil
		}
		if !told {
			w.logger.Warn().Err(err).Msg("which ledger this gateway reports to is not known before it was reached once; until then files stay where they are")
		}
		if !wait(w.app.ctx, askAgain) {
			return nil, nil
		}
	}
}

// wait reports whether ctx is still running after d.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// answer answers every 登録, as long as there is a ledger, and again when there
// is one.
func (w *watch) answer(ctx context.Context) error {
	for {
		s, err := w.line.reach()
		if err == nil {
			err = w.Run(ctx, s, w.reporter)
			if errors.Is(err, intake.ErrDamaged) {
				return err
			}
			if err != nil {
				w.line.drop(s, err)
			}
		}
		if !wait(ctx, askAgain) {
			return nil
		}
	}
}

// end waits a little for answers and says what remains.
func (w *watch) end() error {
	err := w.close(farewell)
	kept := w.outbox.Counts().KeptHere
	w.print(watchRow{Time: time.Now().UTC(), Event: eventEnded, KeptHere: &kept})
	return err
}

// sayLine logs that the ledger has gone or come back.
func (w *watch) sayLine(why error) {
	if why != nil {
		w.logger.Warn().Err(why).Msg("ledger is out of reach; what is taken is kept here")
	} else {
		w.logger.Info().Stringer("ledger", w.line.ID()).Msg("ledger is reached")
	}
}

// sayDelivery prints the ledger's answer for an event.
func (w *watch) sayDelivery(d delivery) {
	row := watchRow{Time: time.Now().UTC(), Event: eventDelivered, Batch: d.subject.Aggregate, Kind: d.subject.Kind.String()}
	if d.refusal != nil {
		row.Event, row.State, row.Refusal = eventRejected, stateCode(producers.Refused), refusalOf(d.refusal)
	} else {
		row.State, row.Receipt = stateCode(producers.InLedger), &d.receipt
	}
	w.print(row)
}

// sayNotice prints what became of a file.
func (w *watch) sayNotice(n intake.Notice) {
	row := watchRow{Time: n.Time, File: n.Report.File, Moved: n.Moved, Batch: n.Report.Batch}
	switch {
	case n.Err != nil:
		row.Event, row.Reason = eventStays, strings.ReplaceAll(n.Err.Error(), "\n", "; ")
	case n.Report.Refused != nil:
		row.Event, row.Rows, row.Problems = eventRefused, n.Report.Refused.Rows, len(n.Report.Refused.Problems)+n.Report.Refused.More
	default:
		row.Event, row.Items, row.Known = eventTaken, n.Report.Items, n.Report.Known
		row.State, row.Receipt, row.Refusal = stateCode(n.Entry.State), receiptOf(n.Entry), refusalOf(n.Entry.Refusal)
	}
	w.print(row)
}

// print writes one line. That nobody reads it stops no gateway.
func (w *watch) print(row watchRow) {
	w.printing.Lock()
	defer w.printing.Unlock()
	if w.app.JSON {
		_ = w.app.printJSON(row)
		return
	}
	fmt.Fprintf(w.app.out, "%s  %s\n", stamp(row.Time), w.sentence(row))
}

// sentence says what happened in the language of the screen.
func (w *watch) sentence(row watchRow) string {
	say := w.app.say
	moved := filepath.Join(w.dir, row.Moved)
	switch row.Event {
	case eventWatching:
		return fmt.Sprintf(say("%s を監視中（%s）。手元に保管 %d件。Ctrl-C で終了", "watching %s for %s; %d kept here; Ctrl-C ends it"), w.dir, w.Party(), *row.KeptHere)
	case eventEnded:
		return fmt.Sprintf(say("終了。手元に保管 %d件", "ended; %d kept here"), *row.KeptHere)
	case eventStays:
		if row.File == "" {
			return fmt.Sprintf(say("%s を読めない。また試みる: %s", "%s cannot be read; trying again: %s"), w.dir, row.Reason)
		}
		return fmt.Sprintf(say("%s  そのまま置く。また試みる: %s", "%s  stays where it is; trying again: %s"), printable(row.File), row.Reason)
	case eventRefused:
		return fmt.Sprintf(say("%s  受け付けなかった（%d行中 誤り%d件）  %s", "%s  refused whole (%d rows, %d problems)  %s"), printable(row.File), row.Rows, row.Problems, printable(moved))
	case eventDelivered:
		return fmt.Sprintf(say("%s  %s  台帳 %d番", "%s  %s  in the ledger at %d"), row.Batch, row.Kind, row.Receipt.Seq)
	case eventRejected:
		return fmt.Sprintf(say("%s  %s  台帳が拒否: %s", "%s  %s  refused by the ledger: %s"), row.Batch, row.Kind, row.Refusal.Sentence)
	}
	standing := standing(w.app, row.Receipt, row.Refusal)
	if row.Known {
		standing += known(w.app)
	}
	return fmt.Sprintf(say("%s  %s  %d通  %s  %s", "%s  %s  %d items  %s  %s"), printable(row.File), row.Batch, row.Items, standing, printable(moved))
}

// printable quotes a name that would do something to a terminal.
func printable(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(name)
	}
	return name
}
