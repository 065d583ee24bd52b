package intake

import (
	"context"
	"errors"
	"fmt"

	"todoke/ledger"
	"todoke/producers"
)

// Run follows the ledger from its first event and answers every 登録 of a batch of this
// gateway once, through the reporter of its municipality. It blocks, and
// returns nil when ctx is done. What was answered in an earlier run is seen in
// the ledger itself and not answered again. It stops with the error of the
// ledger, of the reporter or of [Gateway.Answer]; what it cannot decode it
// passes over, since others quarantine that.
func (g *Gateway) Run(ctx context.Context, reader ledger.Reader, reporter *producers.Reporter) error {
	if reporter.Party() != g.Party() {
		return fmt.Errorf("answer 登録: the reporter speaks as %s and not as %s: %w", reporter.Party(), g.Party(), ledger.ErrOtherParty)
	}
	head, err := reader.Head(ctx)
	if err != nil {
		return stopped(ctx, err)
	}
	a := answerer{gateway: g, reporter: reporter, answered: map[ledger.ID]bool{}}
	for record, err := range reader.Follow(ctx, 1) {
		if err != nil {
			return stopped(ctx, err)
		}
		if e, err := ledger.Decode(record); err == nil {
			a.note(e)
		}
		if record.Seq >= head {
			if err := a.answer(ctx); err != nil {
				return stopped(ctx, err)
			}
		}
	}
	return nil
}

// stopped returns nil when err comes from ctx being done.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("answer 登録: %w", err)
}

// answerer remembers which 登録 were seen and which answers.
type answerer struct {
	gateway  *Gateway
	reporter *producers.Reporter
	open     []ledger.Event
	answered map[ledger.ID]bool
}

// note takes in one event of the past or present.
func (a *answerer) note(e ledger.Event) {
	switch {
	case a.gateway.concerns(e):
		a.open = append(a.open, e)
	case e.Author == a.reporter.Party() && (e.Kind() == ledger.ImportConfirmed || e.Kind() == ledger.ImportDisputed):
		a.answered[e.ID()] = true
	}
}

// answer answers what is open. A crash between two answers leaves the rest to
// the next run.
func (a *answerer) answer(ctx context.Context) error {
	for _, e := range a.open {
		done, err := a.isAnswered(e)
		if err != nil {
			return err
		}
		if done {
			continue
		}
		r, ok, err := a.gateway.Answer(e)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if _, err := a.reporter.Report(ctx, r); errors.Is(err, ledger.ErrRefused) {
			// One answer that cannot be said keeps none of the others
			// back. What it would have confirmed stays owed, and alerts.
			continue
		} else if err != nil {
			return err
		}
	}
	a.open = a.open[:0]
	clear(a.answered)
	return nil
}

// isAnswered reports whether either answer to e was seen, by the id that it
// would have.
func (a *answerer) isAnswered(e ledger.Event) (bool, error) {
	for _, k := range []ledger.Kind{ledger.ImportConfirmed, ledger.ImportDisputed} {
		id, err := a.reporter.EventID(producers.Report{Kind: k, Batch: e.Subject.Aggregate, Slip: e.ID().String()})
		if err != nil {
			return false, err
		}
		if a.answered[id] {
			return true, nil
		}
	}
	return false, nil
}
