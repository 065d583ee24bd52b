package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"todoke/ledger"
	"todoke/ledger/rule"
	"todoke/producers"
	"todoke/producers/intake"
)

type intakeCommand struct {
	Files  []string `arg:"" optional:"" name:"file" help:"Municipal files: CSV, CP932 or UTF-8."`
	Check  bool     `help:"Read and judge only; keep and report nothing."`
	Towns  string   `help:"Table of towns, as docs/intake.md describes it." placeholder:"FILE"`
	Answer bool     `help:"Then go on: answer every 登録 of this gateway's batches against its manifest, until stopped."`
	Digits []string `help:"A column whose 12-digit numbers are no My Numbers; recorded in the manifest." placeholder:"COLUMN"`
}

// An intakeRow is one file, as intake --json prints it.
type intakeRow struct {
	File         string          `json:"file"`
	Batch        string          `json:"batch,omitempty"`
	Known        bool            `json:"known"` // the same file was taken before
	Items        uint32          `json:"items"`
	Root         ledger.Root     `json:"root"`
	Towns        []intake.Town   `json:"towns"`
	UnknownTowns int             `json:"unknown_towns"`
	Keep         string          `json:"keep,omitempty"` // folder of manifest and batch key
	Receipt      *ledger.Receipt `json:"receipt,omitempty"`
	Refused      *intake.Refusal `json:"refused,omitempty"`
}

// Run takes the files one after the other. A refused file stops none of the
// others; the exit status is then 4.
func (c *intakeCommand) Run(a *app) error {
	if len(c.Files) == 0 && !c.Answer {
		return usagef("name a file, or --answer")
	}
	for _, file := range c.Files {
		if _, err := os.Stat(file); err != nil {
			return usagef("%v", err)
		}
	}
	cfg, err := c.config(a)
	if err != nil {
		return err
	}
	if c.Check {
		return c.files(a, func(r io.Reader) (intakeRow, error) {
			m, err := intake.Check(a.ctx, cfg, r)
			return manifestRow(m), err
		})
	}
	var gateway *intake.Gateway
	open := func() (err error) { gateway, err = intake.Open(cfg); return err }
	if err := a.waitForLock(open(), open); err != nil {
		return err
	}
	defer gateway.Close()
	log, err := a.open(rule.Default())
	if err != nil {
		return err
	}
	defer log.close()
	if log.story != "" {
		return fmt.Errorf("take files into %s: %w", a.Data, ledger.ErrStory)
	}
	reporter, err := a.reporter(&answers{log, a})
	if err != nil {
		return err
	}
	refused := c.files(a, func(r io.Reader) (intakeRow, error) { return c.take(a.ctx, cfg.Dir, gateway, reporter, r) })
	if refused != nil || !c.Answer {
		return refused
	}
	if !a.JSON {
		fmt.Fprintf(a.out, a.say("%s の登録通知を控えと照合して答える。Ctrl-C で終わる\n", "answering every 登録 of %s against its manifest; Ctrl-C ends it\n"), reporter.Party())
	}
	return gateway.Run(a.ctx, log, reporter)
}

// answers is the log of a gateway that says on the screen what it answers.
type answers struct {
	producers.Appender
	app *app
}

// Append implements producers.Appender.
func (l *answers) Append(ctx context.Context, r ledger.Record) (ledger.Receipt, error) {
	receipt, err := l.Appender.Append(ctx, r)
	if subject, bad := ledger.ParseSubject(r.Subject); err == nil && bad == nil && subject.Kind != ledger.UploadCompleted && !l.app.JSON {
		fmt.Fprintf(l.app.out, "%s  %s  %s  %d\n", stamp(receipt.Time), subject.Aggregate, subject.Kind, receipt.Seq)
	}
	return receipt, err
}

// files reads every file and prints what became of it. It returns the last
// refusal, or the first other error.
func (c *intakeCommand) files(a *app, take func(io.Reader) (intakeRow, error)) error {
	var refused error
	for _, file := range c.Files {
		row, err := c.file(a, file, take)
		var refusal *intake.Refusal
		switch {
		case errors.As(err, &refusal):
			row, refused = intakeRow{File: file, Towns: []intake.Town{}, Refused: refusal}, err
		case err != nil:
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := c.print(a, &row); err != nil {
			return err
		}
	}
	return refused
}

// config reads --party, --towns and --digits.
func (c *intakeCommand) config(a *app) (intake.Config, error) {
	party, err := a.party()
	if err != nil {
		return intake.Config{}, err
	}
	if party.Role() != ledger.Municipality || !ledger.ValidMunicipality(party.ID()) {
		return intake.Config{}, usagef("--party %s: intake is for a municipality, as municipality:131229", party)
	}
	cfg := intake.Config{Dir: filepath.Join(a.Data, "gateway", party.ID()), Municipality: party.ID(),
		Harmless: c.Digits, Now: time.Now, Rand: rand.Reader}
	if err := cfg.Validate(); err != nil {
		return cfg, usagef("%v", err)
	}
	if c.Towns == "" {
		return cfg, nil
	}
	f, err := os.Open(c.Towns)
	if err != nil {
		return cfg, usagef("%v", err)
	}
	defer f.Close()
	if cfg.Towns, err = intake.ReadTowns(f, party.ID()); err != nil {
		return cfg, usagef("--towns %s: %v", c.Towns, err)
	}
	return cfg, nil
}

// file opens one file and shows how far its reading has come.
func (c *intakeCommand) file(a *app, name string, take func(io.Reader) (intakeRow, error)) (intakeRow, error) {
	f, err := os.Open(name)
	if err != nil {
		return intakeRow{}, err
	}
	defer f.Close()
	var r io.Reader = f
	if info, err := f.Stat(); err == nil && isTerminal(a.err) {
		p := &progress{r: f, w: a.err, name: filepath.Base(name), size: info.Size()}
		defer p.done()
		r = p
	}
	row, err := take(r)
	row.File = name
	return row, err
}

// take makes a batch of the file and reports it. A crash between the two is
// mended by taking the same file again: the batch is known, and reporting it
// again is the same event.
func (c *intakeCommand) take(ctx context.Context, dir string, g *intake.Gateway, reporter *producers.Reporter, r io.Reader) (intakeRow, error) {
	m, err := g.Take(ctx, r)
	if err != nil {
		return intakeRow{}, err
	}
	row := manifestRow(m)
	row.Keep = filepath.Join(dir, "batches", m.Batch)
	receipt, err := reporter.Report(ctx, m.Report())
	if err != nil {
		return row, err
	}
	row.Receipt = &receipt
	return row, nil
}

func manifestRow(m intake.Manifest) intakeRow {
	return intakeRow{Batch: m.Batch, Known: m.Known, Items: m.Count, Root: m.Root, Towns: m.Towns, UnknownTowns: m.UnknownTowns}
}

func (c *intakeCommand) print(a *app, row *intakeRow) error {
	if a.JSON {
		return a.printJSON(row)
	}
	if row.Refused != nil {
		fmt.Fprintf(a.out, a.say("%s  受け付けない。何も送っていない（%d行中 %d件）\n", "%s  refused whole; nothing was sent (%d rows, %d problems)\n"),
			row.File, row.Refused.Rows, len(row.Refused.Problems)+row.Refused.More)
		for _, p := range row.Refused.Problems {
			fmt.Fprintf(a.out, "    %s\n", p)
		}
		if row.Refused.More > 0 {
			fmt.Fprintf(a.out, a.say("    ほか %d件\n", "    and %d more\n"), row.Refused.More)
		}
		return nil
	}
	fmt.Fprintf(a.out, a.say("%s  %s  %d通  %s\n", "%s  %s  %d items  %s\n"), row.File, row.Batch, row.Items, row.Root)
	for _, t := range row.Towns {
		fmt.Fprintf(a.out, "    %s %d  %s\n", t.Name, t.Count, short(t.Items))
	}
	if row.UnknownTowns > 0 {
		fmt.Fprintf(a.out, a.say("    町名不明 %d通\n", "    %d items of no known town\n"), row.UnknownTowns)
	}
	if row.Receipt == nil {
		_, err := fmt.Fprintln(a.out, a.say("    受け付けられる。何も送っていない", "    acceptable; nothing was sent"))
		return err
	}
	known := ""
	if row.Receipt.Duplicate {
		known = a.say("（前に受け付けたファイル。二重にはなっていない）", " (the same file as before; nothing was doubled)")
	}
	_, err := fmt.Fprintf(a.out, a.say("    台帳 %d番、%s%s\n    控えとロットキー %s\n", "    in the ledger at %d, %s%s\n    manifest and batch key in %s\n"),
		row.Receipt.Seq, stamp(row.Receipt.Time), known, row.Keep)
	return err
}

// progress shows on a terminal how far a file has been read.
type progress struct {
	r          io.Reader
	w          io.Writer
	name       string
	read, size int64
	shown      int64 // percent
}

func (p *progress) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.read += int64(n)
	if percent := 100 * p.read / max(p.size, 1); percent != p.shown {
		p.shown = percent
		fmt.Fprintf(p.w, "\r%s %3d%%", p.name, percent)
	}
	return n, err
}

func (p *progress) done() { fmt.Fprint(p.w, "\r\x1b[K") }

// readBatchKey reads a batch key file: 64 hex digits or 32 bytes.
func readBatchKey(name string) (key [32]byte, err error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return key, usagef("--batch-key: %v", err)
	}
	if len(b) == len(key) {
		return [32]byte(b), nil
	}
	if len(b) > 0 && b[len(b)-1] == '\n' {
		b = b[:len(b)-1]
	}
	if n, err := hex.Decode(key[:], b[:min(len(b), 2*len(key))]); err != nil || n != len(key) || len(b) != 2*len(key) {
		return key, usagef("--batch-key %s: not a batch key", name)
	}
	return key, nil
}
