package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"time"

	"todoke/ledger"
	"todoke/ledger/rule"
	"todoke/projections"
)

type rulesCommand struct {
	Show     rulesShow     `cmd:"" help:"Print the pack in force."`
	Calendar rulesCalendar `cmd:"" help:"Load the Cabinet Office list of holidays (syukujitsu.csv) and publish a new version of the pack."`
}

type rulesShow struct{ asOf }

// Run prints the pack as text, as it was published.
func (c *rulesShow) Run(a *app) error {
	history, m, err := a.packs(c.asOf)
	if err != nil {
		return err
	}
	pack := history.At(m.seq)
	if a.JSON {
		return a.printJSON(rulesRow{pack.Version(), m.seq, string(pack.Text())})
	}
	_, err = a.out.Write(pack.Text())
	return err
}

// A rulesRow is the pack in force, as rules show --json prints it.
type rulesRow struct {
	Version string     `json:"version"`
	Seq     ledger.Seq `json:"seq"`
	Pack    string     `json:"pack"`
}

// packs replays the rule packs of the ledger.
func (a *app) packs(o asOf) (*rule.History, moment, error) {
	var v packView
	m, err := a.replay(o, &v)
	return &v.history, m, err
}

// packView is the view that knows the packs.
type packView struct{ history rule.History }

// Apply implements projections.View. A pack that cannot be read changes
// nothing; the one before stays in force.
func (v *packView) Apply(e *ledger.Event, err error) {
	if err == nil {
		_ = v.history.Apply(*e)
	}
}

var _ projections.View = (*packView)(nil)

type rulesCalendar struct {
	File string `arg:"" help:"The file, as the Cabinet Office publishes it."`
}

// Run publishes a pack with the new calendar. Batches that are under way keep
// the pack that they pinned.
func (c *rulesCalendar) Run(a *app) error {
	text, err := os.ReadFile(c.File)
	if err != nil {
		return usagef("read %s: %v", c.File, err)
	}
	holidays, err := rule.ParseHolidays(text)
	if err != nil {
		return fmt.Errorf("%s: %v: %w", c.File, err, ledger.ErrRefused)
	}
	history, m, err := a.packs(asOf{})
	if err != nil {
		return err
	}
	pack, err := history.At(m.seq).WithHolidays(holidays)
	if err != nil {
		return fmt.Errorf("%s: %v: %w", c.File, err, ledger.ErrRefused)
	}
	log, err := a.existing()
	if err != nil {
		return err
	}
	defer log.close()
	key, err := a.key(operator)
	if err != nil {
		return err
	}
	d := ledger.Draft{Author: operator, DocumentKey: pack.Version(), Sent: time.Now(), Body: ledger.Body{Pack: pack.Text()},
		Subject: ledger.Subject{Municipality: ledger.National, Aggregate: "rules", Kind: ledger.RulesPublished}}
	if _, err := rand.Read(d.Salt[:]); err != nil {
		return fmt.Errorf("draw salt: %w", err)
	}
	record, err := ledger.New(log.ID(), d, key)
	if err != nil {
		return err
	}
	receipt, err := log.Append(a.ctx, record)
	if err != nil {
		return fmt.Errorf("publish %s: %w", pack.Version(), err)
	}
	if a.JSON {
		return a.printJSON(rulesRow{pack.Version(), receipt.Seq, string(pack.Text())})
	}
	_, err = fmt.Fprintf(a.out, a.say("%s を公表した（%d 番）。これから始まる送付ロットに適用する\n", "published %s at %d; it holds for batches that begin from now on\n"), pack.Version(), receipt.Seq)
	return err
}
