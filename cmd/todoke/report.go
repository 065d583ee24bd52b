package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"todoke/ledger"
	"todoke/producers"
	"todoke/producers/intake"
)

type reportCommand struct {
	Kind       string `arg:"" help:"What is said, as upload.received or mail.handed-over."`
	Batch      string `required:"" help:"The batch, as 131229-20151005-0042."`
	Items      string `help:"Which items, as 1-551,560." placeholder:"RANGES"`
	Count      uint32 `help:"How many; alone it is a count without content."`
	Root       string `help:"Root that the party recomputed over what it holds." placeholder:"HEX"`
	FromFile   string `help:"Recompute count and root from the rows of this file." placeholder:"FILE"`
	BatchKey   string `help:"The batch key that came with the rows, for --from-file." placeholder:"FILE"`
	Document   string `help:"What it rests on: KIND or KIND:DATE, as notice:2015-10-06." placeholder:"KIND[:DATE]"`
	Transcribe string `help:"Write down what another party said on paper, by phone or in a notice." placeholder:"PARTY"`
	Slip       string `help:"Number of the slip: the same slip again is the same event." placeholder:"NUMBER"`
	Posting    string `help:"Number of the 差出票 or 受領証." placeholder:"NUMBER"`
	Reason     string `help:"Why, in a few words; never a name." placeholder:"TEXT"`

	Wait time.Duration `help:"How long to wait for the ledger." default:"30s" placeholder:"TIME"`
}

// Run reports one event and prints its receipt.
func (c *reportCommand) Run(a *app) error {
	r, err := c.report()
	if err != nil {
		return err
	}
	if _, err := a.party(); err != nil {
		return err
	}
	log, err := a.existing()
	if err != nil {
		return err
	}
	defer log.close()
	reporter, err := a.reporter(log)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(a.ctx, c.Wait)
	defer cancel()
	receipt, err := reporter.Report(ctx, r)
	if err != nil {
		return err
	}
	if a.JSON {
		return a.printJSON(receipt)
	}
	again := ""
	if receipt.Duplicate {
		again = a.say("（前と同じ記録。二重にはなっていない）", " (said before; nothing was doubled)")
	}
	_, err = fmt.Fprintf(a.out, a.say("%s  %s  台帳 %d番、%s%s\n", "%s  %s  in the ledger at %d, %s%s\n"), c.Batch, c.Kind, receipt.Seq, stamp(receipt.Time), again)
	return err
}

// report reads the flags.
func (c *reportCommand) report() (producers.Report, error) {
	r := producers.Report{Batch: c.Batch, Count: c.Count, Slip: c.Slip, Posting: c.Posting, Reason: c.Reason}
	var err error
	if r.Kind, err = ledger.ParseKind(c.Kind); err != nil {
		return r, usagef("%v; this program speaks %s", err, spoken())
	}
	if _, err := producers.ParseBatch(c.Batch); err != nil {
		return r, usagef("--batch: %v", err)
	}
	if r.Items, err = ledger.ParseItems(c.Items); err != nil {
		return r, usagef("--items: %v", err)
	}
	if err := r.Root.UnmarshalText([]byte(c.Root)); err != nil {
		return r, usagef("--root: %v", err)
	}
	kind, date, _ := strings.Cut(c.Document, ":")
	r.Document = ledger.Document{Kind: kind, Date: date}
	if c.Transcribe != "" {
		if r.Speaker, err = ledger.ParseParty(c.Transcribe); err != nil {
			return r, usagef("--transcribe: %v", err)
		}
		if kind == "" {
			return r, usagef("--transcribe: say what it was written down from, as --document notice:2015-10-06")
		}
	}
	return r, c.recompute(&r)
}

// recompute fills in count and root from the rows that the party holds.
func (c *reportCommand) recompute(r *producers.Report) error {
	if (c.FromFile == "") != (c.BatchKey == "") {
		return usagef("--from-file and --batch-key belong together")
	}
	if c.FromFile == "" {
		return nil
	}
	if c.Root != "" || c.Count != 0 {
		return usagef("--from-file recomputes count and root; do not give them")
	}
	key, err := readBatchKey(c.BatchKey)
	if err != nil {
		return err
	}
	f, err := os.Open(c.FromFile)
	if err != nil {
		return usagef("--from-file: %v", err)
	}
	defer f.Close()
	if r.Count, r.Root, err = intake.RootOf(key, f, r.Items); err != nil {
		return fmt.Errorf("--from-file %s: %w", c.FromFile, err)
	}
	return nil
}

// spoken lists the kinds that a party may report.
func spoken() string {
	var names []string
	for _, k := range ledger.Kinds() {
		if k.By() != ledger.Watchdog && k.By() != ledger.Operator {
			names = append(names, k.String())
		}
	}
	return strings.Join(names, ", ")
}
