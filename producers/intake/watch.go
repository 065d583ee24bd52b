package intake

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"todoke/ledger"
	"todoke/producers"
)

// longestPause bounds the wait before a file that could not be taken is tried
// again.
const longestPause = time.Minute

// A WatchConfig says which folder is watched and where its files go. Every
// field is needed.
type WatchConfig struct {
	Dir      string              // files are put here; done and refused are made in it
	Interval time.Duration       // between two looks, and how long a file must have stood still
	Gateway  *Gateway            // makes batches of the files
	Reporter *producers.Reporter // signs upload.completed; of the gateway's municipality
	Outbox   *producers.Outbox   // keeps it until the ledger has it
	Now      func() time.Time
	Tell     func(Notice) // is called with each thing that happened, one at a time
}

// A Notice is one thing that happened at a watched folder: a file was taken,
// was refused, or stays where it is.
type Notice struct {
	Time   time.Time
	Report FileReport      // of a file that was moved; else the name of the file alone, "" for the whole folder
	Moved  string          // where to, seen from the folder, as done/a.csv; "" when it stays
	Entry  producers.Entry // of a file that was taken: as it is in the outbox when the file has moved
	Err    error           // why it stays; it is tried again
}

// A Watcher takes the files that are put into a folder. It is for one goroutine.
type Watcher struct {
	config WatchConfig
	inbox  inbox
	known  map[string]watched
	folder watched // what is said of the folder itself
}

// NewWatcher makes done and refused in c.Dir and locks it. It returns
// [ledger.ErrLocked] while another process watches the folder, and
// [ledger.ErrOtherParty] when the reporter is not the gateway's.
func NewWatcher(c WatchConfig) (*Watcher, error) {
	if c.Interval <= 0 || c.Gateway == nil || c.Reporter == nil || c.Outbox == nil || c.Now == nil || c.Tell == nil {
		return nil, errors.New("watch: an interval above zero, gateway, reporter, outbox, clock and listener must be given")
	}
	if party := c.Reporter.Party(); party != c.Gateway.Party() {
		return nil, fmt.Errorf("watch: the reporter speaks as %s and not as %s: %w", party, c.Gateway.Party(), ledger.ErrOtherParty)
	}
	b, err := openInbox(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	return &Watcher{config: c, inbox: b}, nil
}

// Close lets go of the folder.
func (w *Watcher) Close() error { return w.inbox.close() }

// Run looks at the folder, again and again, until ctx is done, and then returns
// nil. Its errors are those of [Watcher.Look].
func (w *Watcher) Run(ctx context.Context) error {
	for {
		if err := w.Look(ctx); err != nil {
			return err
		}
		timer := time.NewTimer(w.config.Interval)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// Look looks at the folder once and takes every file that is complete. A file
// that cannot be taken stays, is told of once for each reason, and keeps none of
// the others back. The error is one after which nothing can be taken any more:
// [ErrDamaged], [producers.ErrDamaged] or [ledger.ErrClosed].
func (w *Watcher) Look(ctx context.Context) error {
	now := w.config.Now()
	listing, err := w.inbox.list()
	if err != nil {
		w.folder = w.stays(FileReport{}, w.folder, err)
		return nil
	}
	w.folder = watched{}
	var ready []sighting
	ready, w.known = decide(w.known, listing, now, w.config.Interval)
	for _, s := range ready {
		if ctx.Err() != nil {
			return nil
		}
		if err := w.pickUp(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// pickUp takes one file, or says why not.
func (w *Watcher) pickUp(ctx context.Context, s sighting) error {
	n, err := w.take(ctx, s)
	switch {
	case err == nil:
		delete(w.known, s.name)
		w.config.Tell(n)
	case ctx.Err() != nil: // it is taken after the next start
	case errors.Is(err, errChanged):
		delete(w.known, s.name) // and is looked at anew
	case errors.Is(err, ErrDamaged), errors.Is(err, producers.ErrDamaged), errors.Is(err, ledger.ErrClosed):
		return fmt.Errorf("watch: %s: %w", s.name, err)
	default:
		w.known[s.name] = w.stays(FileReport{File: s.name}, w.known[s.name], err)
	}
	return nil
}

// take makes a batch of a file, keeps its event and moves it to done, or moves
// it to refused. Each step finds what an earlier try has left of it; the package
// comment says what a crash behind each of them means.
func (w *Watcher) take(ctx context.Context, s sighting) (Notice, error) {
	f, err := w.inbox.open(s)
	if err != nil {
		return Notice{}, err
	}
	defer f.Close()
	n := Notice{Time: w.config.Now().UTC()}
	folder := doneDir
	m, err := w.config.Gateway.Take(ctx, f)
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal):
		folder, n.Report = refusedDir, FileReport{Towns: []Town{}, Refused: refusal}
	case err != nil:
		return n, err
	default:
		if n.Entry, err = w.keep(m); err != nil {
			return n, err
		}
		n.Report = reportOf(m, n.Entry.ID)
	}
	n.Report.File, n.Report.Time = s.name, n.Time
	if n.Moved, err = w.inbox.put(f, folder, &n.Report); err != nil {
		return n, err
	}
	if e, there, err := w.config.Outbox.Entry(n.Entry.ID); err == nil && there {
		n.Entry = e // the ledger may have answered already
	}
	return n, nil
}

// keep makes upload.completed of a batch and keeps it. For a batch that is known
// it finds what was kept before.
func (w *Watcher) keep(m Manifest) (producers.Entry, error) {
	record, err := w.config.Reporter.Record(m.Report())
	if err != nil {
		return producers.Entry{}, err
	}
	return w.config.Outbox.Keep(record)
}

// stays tells that a file, or the folder, stays as it is, unless that was told
// before, and returns when it is tried again.
func (w *Watcher) stays(of FileReport, was watched, err error) watched {
	now := w.config.Now()
	if why := reason(err); why != was.said {
		was.said = why
		w.config.Tell(Notice{Time: now.UTC(), Report: of, Err: err})
	}
	was.pause = min(max(2*was.pause, w.config.Interval), longestPause)
	was.again = now.Add(was.pause)
	return was
}

// reason returns what is the same in two errors that are worth telling once:
// without the names of drafts, and the numbers of bytes.
func reason(err error) string {
	var system syscall.Errno
	switch {
	case errors.Is(err, producers.ErrOutboxFull):
		return producers.ErrOutboxFull.Error()
	case errors.As(err, &system):
		return system.Error()
	}
	return err.Error()
}
