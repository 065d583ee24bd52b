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
	Files    []string      `arg:"" optional:"" name:"file" help:"Municipal files: CSV, CP932 or UTF-8."`
	Check    bool          `help:"Read and judge only; keep and report nothing."`
	Towns    string        `help:"Table of towns, as docs/intake.md describes it." placeholder:"FILE"`
	Digits   []string      `help:"A column whose 12-digit numbers are no My Numbers; recorded in the manifest." placeholder:"COLUMN"`
	Wait     time.Duration `help:"How long to wait for the ledger; what it has not answered for is kept and sent later." default:"30s" placeholder:"TIME"`
	Kept     bool          `help:"List what the outbox holds, and send nothing."`
	Answer   bool          `help:"Then go on: answer every 登録 of this gateway's batches against its manifest, until stopped."`
	Watch    string        `help:"Go on: take every *.csv that is put into this folder, until stopped." placeholder:"DIR"`
	Interval time.Duration `help:"With --watch: between two looks at the folder." default:"2s" placeholder:"TIME"`
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
	State        string          `json:"state,omitempty"`
	Receipt      *ledger.Receipt `json:"receipt,omitempty"`
	Refusal      *refusalRow     `json:"refusal,omitempty"` // the ledger's
	Refused      *intake.Refusal `json:"refused,omitempty"`
}

// Run takes the files one after the other. A refused file stops none of the
// others; the exit status is then 4.
func (c *intakeCommand) Run(a *app) error {
	for _, file := range c.Files {
		if _, err := os.Stat(file); err != nil {
			return usagef("%v", err)
		}
	}
	cfg, err := c.config(a)
	if err != nil {
		return err
	}
	if len(c.Files) > 0 && (c.Watch != "" || c.Kept) || c.Watch != "" && c.Kept {
		return usagef("files, --watch and --kept are three different things: name one")
	}
	switch {
	case c.Kept:
		return c.listKept(a, cfg)
	case c.Watch != "":
		return c.watch(a, cfg)
	case c.Check:
		return c.files(a, func(r io.Reader) (intakeRow, error) {
			m, err := intake.Check(a.ctx, cfg, r)
			return manifestRow(m), err
		})
	}
	if len(c.Files) == 0 && !c.Answer {
		if there, err := hasOutbox(cfg.Dir); err != nil || !there {
			return usagef("name a file, or --answer, or a folder with --watch")
		}
	}
	return c.once(a, cfg)
}

// takeGateway opens the folder of a gateway, and waits a while for another that
// has it.
func (a *app) takeGateway(cfg intake.Config) (taken *intake.Gateway, err error) {
	open := func() (err error) { taken, err = intake.Open(cfg); return err }
	return taken, lockedGateway(a.waitForLock(open(), open))
}

// once takes files, sends what is kept, and then answers if it is asked to.
func (c *intakeCommand) once(a *app, cfg intake.Config) (err error) {
	taken, err := a.takeGateway(cfg)
	if err != nil {
		return err
	}
	defer taken.Close()
	known, err := hasOutbox(cfg.Dir)
	if err != nil {
		return err
	}
	pack := rule.Default()
	if known {
		pack = nil // what was reached before and is not there now is lost, and not made anew
	}
	open := func() (*source, error) { return a.open(pack) }
	log, away := open()
	if away != nil && (!known || a.ctx.Err() != nil) {
		return fmt.Errorf("for which ledger is not known before it was reached once, so no file was taken: %w", away)
	}
	g, err := a.openGateway(taken, cfg.Dir, log, open)
	if err != nil {
		if log != nil {
			log.close()
		}
		return fmt.Errorf("take files into %s: %w", a.Data, err)
	}
	defer func() { err = errors.Join(err, g.close(0)) }()
	g.line.note(away)
	g.line.told = func(d delivery) { a.sayAnswer(d) }
	before := g.outbox.Counts().KeptHere
	g.deliver()
	if err := c.files(a, func(r io.Reader) (intakeRow, error) { return c.take(a, cfg.Dir, g, r) }); err != nil {
		return err
	}
	if err := c.send(a, g, before); err != nil || !c.Answer || g.over() {
		return err
	}
	if !a.JSON {
		fmt.Fprintf(a.out, a.say("%s の登録通知を控えと照合して答える。Ctrl-C で終わる\n", "answering every 登録 of %s against its manifest; Ctrl-C ends it\n"), g.Party())
	}
	log, err = g.line.reach()
	if err != nil {
		return err
	}
	return together(a.ctx, g.guard, func(ctx context.Context) error { return g.Run(ctx, log, g.reporter) })
}

// sayAnswer says on the screen what a gateway has answered.
func (a *app) sayAnswer(d delivery) {
	if d.refusal == nil && d.subject.Kind != ledger.UploadCompleted && !a.JSON {
		fmt.Fprintf(a.out, "%s  %s  %s  %d\n", stamp(d.receipt.Time), d.subject.Aggregate, d.subject.Kind, d.receipt.Seq)
	}
}

// send waits until the ledger has answered for everything that is kept, from
// this run and from earlier ones, of which there were before. The error says how
// much remains, unless nothing is delivered any more.
func (c *intakeCommand) send(a *app, g *gateway, before int) error {
	left := g.flush(a.ctx, c.Wait)
	if g.over() {
		return nil
	}
	if left > 0 {
		why := g.line.why()
		if why == nil {
			why = ledger.ErrUnavailable
		}
		return fmt.Errorf(a.say("%d件は手元に保管し、台帳にはまだない。次の intake か --watch が送る: %w", "%d kept here, not in the ledger yet; the next intake, or --watch, sends it: %w"), left, why)
	}
	if before > 0 && !a.JSON {
		fmt.Fprintf(a.out, a.say("前に保管した %d件に台帳が答えた\n", "the ledger has answered for %d kept here before\n"), before)
	}
	if before == 0 && len(c.Files) == 0 && !c.Answer && !a.JSON {
		fmt.Fprintln(a.out, a.say("手元に保管しているものはない", "nothing is kept here"))
	}
	return nil
}

// files reads every file and prints what became of it. It returns the last
// refusal, the file's or the ledger's, or the first other error.
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
		if row.Refusal != nil {
			refused = fmt.Errorf("%s: %w", file, ledger.FromCode(row.Refusal.Code, row.Refusal.Sentence))
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

// take makes a batch of the file, keeps its report, and waits for the ledger. A
// crash between the two is mended by taking the same file again: the batch is
// known, and its report is the same event.
func (c *intakeCommand) take(a *app, dir string, g *gateway, r io.Reader) (intakeRow, error) {
	m, err := g.Take(a.ctx, r)
	if err != nil {
		return intakeRow{}, err
	}
	row := manifestRow(m)
	row.Keep = filepath.Join(dir, "batches", m.Batch)
	record, err := g.reporter.Record(m.Report())
	if err != nil {
		return row, err
	}
	e, err := g.outbox.Keep(record)
	if err != nil {
		return row, err
	}
	e.Receipt.Duplicate = e.State == producers.InLedger
	if e.State == producers.KeptHere {
		if e, err = c.await(a, g, e); err != nil {
			return row, err
		}
	}
	row.State, row.Receipt, row.Refusal = stateCode(e.State), receiptOf(e), refusalOf(e.Refusal)
	return row, nil
}

// await returns an entry as it is when the ledger has answered, or is not waited
// for any more. After one file for which it had no answer there is no wait for
// the others.
func (c *intakeCommand) await(a *app, g *gateway, e producers.Entry) (producers.Entry, error) {
	ctx, cancel := g.waiting(a.ctx, c.Wait)
	defer cancel()
	_, _ = g.outbox.Append(ctx, e.Record) // what became of it is in the outbox
	after, there, err := g.outbox.Entry(e.ID)
	if err == nil && there {
		e = after
	}
	if e.State == producers.KeptHere {
		c.Wait = 0
	}
	return e, err
}

func manifestRow(m intake.Manifest) intakeRow {
	return intakeRow{Batch: m.Batch, Known: m.Known, Items: m.Count, Root: m.Root, Towns: m.Towns, UnknownTowns: m.UnknownTowns}
}

func (c *intakeCommand) print(a *app, row *intakeRow) error {
	if a.JSON {
		return a.printJSON(row)
	}
	if row.Refused != nil {
		fmt.Fprintf(a.out, a.say("%s  受け付けなかった。何も送っていない（%d行中 誤り%d件）\n", "%s  refused whole; nothing was sent (%d rows, %d problems)\n"),
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
	if row.State == "" {
		_, err := fmt.Fprintln(a.out, a.say("    受け付けられる。何も送っていない", "    acceptable; nothing was sent"))
		return err
	}
	said := standing(a, row.Receipt, row.Refusal)
	if row.Known {
		said += known(a)
	}
	_, err := fmt.Fprintf(a.out, a.say("    %s\n    控えとロットキー %s\n", "    %s\n    manifest and batch key in %s\n"), said, row.Keep)
	return err
}

// known says that a file was taken before.
func known(a *app) string {
	return a.say("（前に受け付けたファイル。二重にはなっていない）", " (the same file as before; nothing was doubled)")
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
