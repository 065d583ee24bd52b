package main

import (
	"encoding/json"
	"fmt"

	"todoke/ledger"
	"todoke/projections"
)

type replayCommand struct {
	asOf
	Batch        string `help:"Only this batch." placeholder:"ID"`
	Municipality string `help:"Only this municipality." placeholder:"CODE"`
	Party        string `name:"by" help:"Only what this party said or wrote down." placeholder:"PARTY"`
	Kind         string `help:"Only this kind." placeholder:"KIND"`
	From         uint64 `help:"From this sequence on." default:"1" placeholder:"SEQ"`
	Follow       bool   `help:"Go on with what comes." short:"f"`
}

// Run prints events as they are stored.
func (c *replayCommand) Run(a *app) error {
	if c.Kind != "" {
		if _, err := ledger.ParseKind(c.Kind); err != nil {
			return usagef("--kind: %v", err)
		}
	}
	to, err := c.point()
	if err != nil {
		return err
	}
	source, err := a.existing()
	if err != nil {
		return err
	}
	defer source.close()
	if err := beyond(a.ctx, source, to); err != nil {
		return err
	}
	last := to.Seq
	if last == 0 {
		if last, err = source.Head(a.ctx); err != nil {
			return fmt.Errorf("ask for the head: %w", err)
		}
	}
	from := ledger.Seq(max(c.From, 1))
	records := source.Read(a.ctx, from, last)
	if c.Follow {
		records = source.Follow(a.ctx, from)
	} else if from > last {
		return nil
	}
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	for r, err := range records {
		if a.ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("replay: %w", err)
		}
		e, err := ledger.Decode(r)
		if err == nil && !to.Time.IsZero() && e.Time.After(to.Time) {
			return nil
		}
		e.Record = r
		if !c.wants(&e) {
			continue
		}
		row := projections.NewEventRow(&e, err)
		if a.JSON {
			err = enc.Encode(row)
		} else {
			err = a.printEvent(&row)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// wants applies the filters. What cannot be read is shown unless a filter is
// set, since it cannot be said what it is about.
func (c *replayCommand) wants(e *ledger.Event) bool {
	return (c.Batch == "" || e.Subject.Aggregate == c.Batch) &&
		(c.Municipality == "" || e.Subject.Municipality == c.Municipality) &&
		(c.Party == "" || string(e.Author) == c.Party || string(e.Speaker()) == c.Party) &&
		(c.Kind == "" || (e.Subject.Kind != 0 && e.Kind().String() == c.Kind))
}

func (a *app) printEvent(row *projections.EventRow) error {
	if row.Error != "" {
		_, err := fmt.Fprintf(a.out, "%6d  %s  %s\n", row.Seq, row.Subject, row.Error)
		return err
	}
	who := row.Author
	if row.Speaker != "" {
		who = row.Speaker + a.say("（記録 ", " (by ") + row.Author + a.say("）", ")")
	}
	what := ""
	if n := row.Content.Count; n > 0 {
		what = fmt.Sprintf("%d %s", n, short(row.Content.Items))
	}
	_, err := fmt.Fprintf(a.out, "%6d  %s  %-20s  %-18s  %s  %s\n", row.Seq, stampOf(row.Time), row.Aggregate, row.Kind, who, what)
	return err
}
