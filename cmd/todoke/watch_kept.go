package main

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"todoke/ledger"
	"todoke/producers"
	"todoke/producers/intake"
)

// A keptRow is an event in the outbox, as intake --kept --json prints it.
type keptRow struct {
	Batch   string           `json:"batch"`
	Kind    string           `json:"kind"`
	ID      string           `json:"id"`
	Kept    time.Time        `json:"kept"`
	State   string           `json:"state"`
	Receipt *ledger.Receipt  `json:"receipt,omitempty"`
	Earlier []ledger.Receipt `json:"earlier,omitempty"`
	Refusal *refusalRow      `json:"refusal,omitempty"`
}

// A refusalRow is why the ledger refused an event.
type refusalRow struct {
	Code     string `json:"code"`
	Sentence string `json:"sentence"`
}

func refusalOf(err error) *refusalRow {
	if err == nil {
		return nil
	}
	return &refusalRow{ledger.Code(err), err.Error()}
}

func receiptOf(e producers.Entry) *ledger.Receipt {
	if e.State != producers.InLedger {
		return nil
	}
	return &e.Receipt
}

// stateCode returns a state as JSON has it.
func stateCode(s producers.State) string {
	switch s {
	case producers.InLedger:
		return "in-the-ledger"
	case producers.Refused:
		return "refused"
	}
	return "kept-here"
}

// listKept prints what the outbox of a gateway holds, in order of keeping. It
// sends nothing.
func (c *intakeCommand) listKept(a *app, cfg intake.Config) error {
	there, err := hasOutbox(cfg.Dir)
	if err != nil {
		return err
	}
	var counts producers.Counts
	if there {
		if counts, err = c.printKept(a, cfg); err != nil {
			return err
		}
	}
	if a.JSON {
		return nil
	}
	_, err = fmt.Fprintf(a.out, a.say("手元に保管 %d、台帳 %d、台帳が拒否 %d\n", "%d kept here, %d in the ledger, %d refused by it\n"), counts.KeptHere, counts.InLedger, counts.Refused)
	return err
}

func (c *intakeCommand) printKept(a *app, cfg intake.Config) (counts producers.Counts, err error) {
	taken, err := a.takeGateway(cfg)
	if err != nil {
		return counts, err
	}
	defer taken.Close()
	g, err := a.openGateway(taken, cfg.Dir, nil, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return counts, nil
	} else if err != nil {
		return counts, err
	}
	defer func() { err = errors.Join(err, g.close(0)) }()
	rows := table{}
	rows.add(a.say("送付ロット", "BATCH"), a.say("記録", "SAYS"), a.say("保管", "KEPT"), a.say("状態", "STATE"))
	for e, err := range g.outbox.Entries() {
		if err != nil {
			return counts, err
		}
		subject, err := ledger.ParseSubject(e.Record.Subject)
		if err != nil {
			return counts, err
		}
		if a.JSON {
			err = a.printJSON(keptRow{subject.Aggregate, subject.Kind.String(), e.ID.String(), e.Kept, stateCode(e.State), receiptOf(e), e.Earlier, refusalOf(e.Refusal)})
		}
		if err != nil {
			return counts, err
		}
		rows.add(subject.Aggregate, subject.Kind.String(), stamp(e.Kept), standing(a, receiptOf(e), refusalOf(e.Refusal)))
	}
	if counts = g.outbox.Counts(); a.JSON || len(rows.rows) == 1 {
		return counts, nil
	}
	return counts, rows.print(a.out)
}

// standing says how far an event has come.
func standing(a *app, receipt *ledger.Receipt, refusal *refusalRow) string {
	switch {
	case receipt != nil:
		return fmt.Sprintf(a.say("台帳 %d番、%s", "in the ledger at %d, %s"), receipt.Seq, stamp(receipt.Time))
	case refusal != nil:
		return fmt.Sprintf(a.say("台帳が拒否（%s）", "refused by the ledger (%s)"), refusal.Sentence)
	}
	return a.say("手元に保管。台帳にはまだない", "kept here, not in the ledger yet")
}
