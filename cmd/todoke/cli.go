package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/rs/zerolog"
	"golang.org/x/term"

	"todoke/ledger"
	"todoke/producers/intake"
)

// The exit statuses; they are part of the command line's contract.
const (
	exitFine        = 0
	exitBadNews     = 1 // the answer is bad news: late, verification failed
	exitUsage       = 2
	exitUnavailable = 3 // the ledger could not be reached, or nobody knows the outcome
	exitRefused     = 4 // the input was refused; nothing was appended
)

// errBadNews makes a command that worked exit with status 1.
var errBadNews = errors.New("bad news")

// errUsage marks what the caller wrote wrongly.
var errUsage = errors.New("usage")

// commands is the whole command line.
type commands struct {
	Data  string `help:"Folder of the ledger." default:"todoke-data" env:"TODOKE_DATA" placeholder:"DIR"`
	Nats  string `name:"nats" help:"Servers of a cluster that keeps the ledger instead, as nats://todoke:PASSWORD@a:4222,nats://b:4222." env:"TODOKE_NATS" placeholder:"URL"`
	Party string `help:"Who speaks, as municipality:131229 or relay:2." env:"TODOKE_PARTY" placeholder:"ROLE:ID"`
	JSON  bool   `help:"Print JSON, as docs/json.md describes it."`
	Lang  string `help:"Language: ja or en (default: from the locale)." enum:"ja,en," default:"" placeholder:"ja|en"`

	Demo    demoCommand    `cmd:"" help:"Play a real incident as a story, on a ledger of its own."`
	Serve   serveCommand   `cmd:"" help:"Run the ledger: broker, gate and watchdog in one process."`
	Move    moveCommand    `cmd:"" help:"Take the ledger of a folder to a cluster, every sequence and byte of it."`
	Intake  intakeCommand  `cmd:"" help:"A municipality's gateway: take a file, make a batch of it, report it."`
	Report  reportCommand  `cmd:"" help:"Report one event as one party."`
	Batches batchesCommand `cmd:"" help:"List the batches and how they stand."`
	Batch   batchCommand   `cmd:"" help:"Everything about one batch: what is said, what is, what is owed."`
	Missing missingCommand `cmd:"" help:"The items of a batch that wait for a word, by hop and town."`
	Alerts  alertsCommand  `cmd:"" help:"List the alerts, the open ones first."`
	Replay  replayCommand  `cmd:"" help:"Print the events themselves."`
	Rules   rulesCommand   `cmd:"" help:"The rule pack in force, and its calendar."`
}

// An app is what a command gets to work with.
type app struct {
	*commands
	ctx      context.Context
	stdin    io.Reader
	out, err io.Writer
	terminal bool // out is one
}

// run is the program: arguments and streams in, exit status out.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var c commands
	helped := false // kong has printed help or version and wants to exit
	parser, err := kong.New(&c, kong.Name("todoke"),
		kong.Description("届け: an issuance ledger. A party may only claim its own work; only the next party's acknowledgement makes it true; absence is an event."),
		kong.Writers(stdout, stderr), kong.Exit(func(int) { helped = true }))
	if err != nil {
		fmt.Fprintln(stderr, "todoke:", err)
		return exitUsage
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	switch {
	case helped:
		return exitFine
	case err != nil:
		fmt.Fprintf(stderr, "todoke: %v; see todoke --help\n", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{commands: &c, ctx: ctx, stdin: stdin, out: stdout, err: stderr, terminal: isTerminal(stdout)}
	if c.Lang == "" {
		c.Lang = locale(os.Getenv)
	}
	return a.finish(parsed.Run(a))
}

// finish turns an error into one sentence and an exit status.
func (a *app) finish(err error) int {
	if err == nil {
		return exitFine
	}
	if errors.Is(err, errBadNews) {
		return exitBadNews
	}
	var refusal *intake.Refusal
	if !errors.As(err, &refusal) || !a.JSON {
		fmt.Fprintln(a.err, "todoke:", err)
	}
	switch {
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.Is(err, ledger.ErrRefused), errors.As(err, &refusal):
		return exitRefused
	}
	return exitUnavailable
}

// usagef returns an error about how the command was called.
func usagef(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errUsage, fmt.Sprintf(format, args...))
}

// printJSON prints one value a line.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// say returns the text in the language of the screen.
func (a *app) say(ja, en string) string {
	if a.Lang == "ja" {
		return ja
	}
	return en
}

// logger writes JSON lines, or for people when stderr is a terminal.
func (a *app) logger() zerolog.Logger {
	w := a.err
	if isTerminal(a.err) {
		w = zerolog.ConsoleWriter{Out: a.err, TimeFormat: time.DateTime}
	}
	return zerolog.New(w).With().Timestamp().Logger()
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// locale returns ja or en.
func locale(getenv func(string) string) string {
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := getenv(name); v != "" {
			if strings.HasPrefix(v, "ja") {
				return "ja"
			}
			return "en"
		}
	}
	return "en"
}
