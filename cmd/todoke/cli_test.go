package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/unicode"

	"todoke/ledger"
)

// TestMain lets the test binary stand for todoke: under that name it is in the
// PATH of every script and document.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"todoke": main})
}

// TestScripts runs the scripts of testdata/script, which say how the commands
// behave.
func TestScripts(t *testing.T) { testscript.Run(t, scripts(t, "testdata/script")) }

// scripts returns how the scripts of a folder are run. Beside testscript's own
// they have the commands below, and in their environment STORY, the folder of a
// story ledger, of which each takes a copy, and STORY_TOLD, what was told of it.
func scripts(t *testing.T, dir string) testscript.Params {
	story, told := playStory(t)
	return testscript.Params{Dir: dir, RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			e.Vars = append(e.Vars, "LC_ALL=C", "STORY="+story, "STORY_TOLD="+told)
			e.Vars = append(e.Vars, myNumber()...)
			e.Values[serverKey{}] = new(*process)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": status, "serve": serve, "stop-serving": stopServing, "awaits": awaits,
			"take": take, "edit": edit, "encode": encode, "nowhere": nowhere,
		}}
}

// playStory plays the story with its default fault and returns where its ledger
// and what was told of it are kept.
func playStory(t *testing.T) (story, told string) {
	t.Helper()
	dir := t.TempDir()
	story, told = filepath.Join(dir, "story"), filepath.Join(dir, "told.txt")
	cmd := todoke(dir, "demo", "katsushika-2015", "--keep", "story")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	if err := os.WriteFile(told, out, 0o600); err != nil {
		t.Fatal(err)
	}
	return story, told
}

// serverKey is where a script keeps its server.
type serverKey struct{}

// myNumber returns a number that has the shape of a My Number, as environment:
// in half width, in full width and in groups. It is computed, since none may
// stand in a file.
func myNumber() []string {
	digits := [12]byte{9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 9}
	for !ledger.ValidMyNumber(digits) {
		digits[11]++
	}
	for i := range digits {
		digits[i] += '0'
	}
	half := string(digits[:])
	wide := strings.Map(func(r rune) rune { return r - '0' + '０' }, half)
	return []string{"MYNUMBER=" + half, "MYNUMBER_WIDE=" + wide, "MYNUMBER_GROUPS=" + half[:4] + "-" + half[4:8] + "-" + half[8:]}
}

// status N COMMAND… runs a command that has to end with exit status N.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command…")
	}
	code := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("%s: exit status %d, want %s", strings.Join(args[1:], " "), code, args[0])
	}
}

// serve ARGS… runs todoke serve, until stop-serving or the end of the script.
func serve(ts *testscript.TestScript, neg bool, args []string) {
	p, err := launch(inScript(ts, append([]string{"serve"}, args...)...), serves)
	ts.Check(err)
	*ts.Value(serverKey{}).(**process) = p
	ts.Defer(func() { p.stop() })
}

// stop-serving ends todoke serve as Ctrl-C does; ! stop-serving kills it.
func stopServing(ts *testscript.TestScript, neg bool, args []string) {
	p := *ts.Value(serverKey{}).(**process)
	if !neg {
		ts.Check(p.stop())
		return
	}
	ts.Check(p.cmd.Process.Kill())
	<-p.ended
}

// awaits PATTERN todoke ARGS… runs todoke until it has written a line that
// matches, and ends it as Ctrl-C does.
func awaits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || args[1] != "todoke" {
		ts.Fatalf("usage: awaits pattern todoke …")
	}
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	p, err := launch(inScript(ts, args[2:]...), pattern)
	ts.Check(err)
	ts.Check(p.stop())
}

// inScript returns the command todoke ARGS… as a script would run it.
func inScript(ts *testscript.TestScript, args ...string) *exec.Cmd {
	cmd := todoke(ts.MkAbs("."), args...)
	for _, name := range []string{"TODOKE_DATA", "TODOKE_PARTY"} {
		if value := ts.Getenv(name); value != "" {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	return cmd
}

// take NAME PATTERN puts what matches in the last standard output into the
// environment.
func take(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: take NAME pattern")
	}
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	found := pattern.FindString(ts.ReadFile("stdout"))
	if found == "" {
		ts.Fatalf("nothing in the output matches %s", args[1])
	}
	ts.Setenv(args[0], found)
}

// edit FILE OLD NEW… replaces every OLD of a file. Both may have the escapes of
// a Go string, for bytes that no script can hold.
func edit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || len(args)%2 == 0 {
		ts.Fatalf("usage: edit file old new…")
	}
	text := ts.ReadFile(args[0])
	for i := 1; i < len(args); i += 2 {
		before, err := strconv.Unquote(`"` + args[i] + `"`)
		ts.Check(err)
		after, err := strconv.Unquote(`"` + args[i+1] + `"`)
		ts.Check(err)
		if !strings.Contains(text, before) {
			ts.Fatalf("%s does not hold %q", args[0], before)
		}
		text = strings.ReplaceAll(text, before, after)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// encode ENCODING FILE turns a file of UTF-8 into another encoding.
func encode(ts *testscript.TestScript, neg bool, args []string) {
	encodings := map[string]encoding.Encoding{"cp932": japanese.ShiftJIS, "utf-8-bom": unicode.UTF8BOM,
		"utf-16": unicode.UTF16(unicode.LittleEndian, unicode.UseBOM)}
	if neg || len(args) != 2 || encodings[args[0]] == nil {
		ts.Fatalf("usage: encode cp932|utf-8-bom|utf-16 file")
	}
	text, err := encodings[args[0]].NewEncoder().String(ts.ReadFile(args[1]))
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
}

// nowhere TEXT FOLDER fails when a file in the folder, or a name in it, holds
// the text.
func nowhere(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: nowhere text folder")
	}
	ts.Check(filepath.WalkDir(ts.MkAbs(args[1]), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(args[0])) || strings.Contains(path, args[0]) {
			return fmt.Errorf("%s holds %q", path, args[0])
		}
		return err
	}))
}

// serves is what todoke serve writes when it is ready.
var serves = regexp.MustCompile(`ledger serves`)

// patience bounds what a test waits for; nothing is expected to take as long.
const patience = time.Minute

// todoke returns the command todoke ARGS… in a folder, in English, with nothing
// of the environment of whoever runs the test.
func todoke(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command("todoke", args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "LC_ALL=C"}
	return cmd
}

// A process is a command that runs in the background.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has
	err   error         // how; set before

	mu      sync.Mutex     // guards what follows
	said    []byte         // everything that it wrote
	pattern *regexp.Regexp // that nothing of it matched so far; then nil
	matched chan struct{}  // closed when something has
}

// launch starts a command and returns when it has written something that
// matches, or the error with which it ended before that.
func launch(cmd *exec.Cmd, pattern *regexp.Regexp) (*process, error) {
	p := &process{cmd: cmd, ended: make(chan struct{}), pattern: pattern, matched: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p, p
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		if err := cmd.Wait(); err != nil {
			p.err = fmt.Errorf("%s: %w\n%s", cmd, err, p.said)
		}
		close(p.ended)
	}()
	timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer timer.Stop()
	select {
	case <-p.matched:
	case <-p.ended:
		if p.pattern != nil {
			return nil, fmt.Errorf("%s ended and never wrote %s:\n%s", cmd, pattern, p.said)
		}
	}
	return p, nil
}

// Write takes what the process writes.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said = append(p.said, b...)
	if p.pattern != nil && p.pattern.Match(p.said) {
		p.pattern = nil
		close(p.matched)
	}
	return len(b), nil
}

// stop ends the process as Ctrl-C does and returns how it ended. It may be
// called again.
func (p *process) stop() error {
	p.cmd.Process.Signal(os.Interrupt)
	<-p.ended
	return p.err
}
