package fault

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for a process. It is far more than any of them
// needs: who waits that long waits for something that will not come.
const patience = 30 * time.Second

// A Process is a program that runs beside the test. Its methods are for the
// test's own goroutine.
type Process struct {
	tb    testing.TB
	cmd   *exec.Cmd
	said  *transcript
	ended chan struct{} // closed when err is set
	err   error

	mu      sync.Mutex
	lines   []string      // of standard output, which nobody has taken yet
	arrived chan struct{} // one place: there may be another line, or no more
	silent  bool          // standard output has ended
}

// Self returns a command that runs the test binary itself, with variables
// (NAME=value) added to its environment. TestMain looks for one of them before
// it runs any test, and does the child's work instead.
func Self(tb testing.TB, variables ...string) *exec.Cmd {
	tb.Helper()
	program, err := os.Executable()
	if err != nil {
		tb.Fatalf("find the test binary: %v", err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), variables...)
	return cmd
}

// Start starts a program of which no output has been claimed. It is killed with
// the test, and with the test binary however that ends.
func Start(tb testing.TB, cmd *exec.Cmd) *Process {
	tb.Helper()
	p := newProcess(tb, cmd)
	p.begin(cmd.Start, cmd.Wait)
	return p
}

// newProcess returns a process that is yet to begin.
func newProcess(tb testing.TB, cmd *exec.Cmd) *Process {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Setpgid = true // so that what it starts is killed with it
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	return &Process{tb: tb, cmd: cmd, said: new(transcript), ended: make(chan struct{}), arrived: make(chan struct{}, 1)}
}

// begin starts the process with start, and leaves it to wait to say how it
// ended.
func (p *Process) begin(start, wait func() error) {
	p.tb.Helper()
	out, outEnd, err := os.Pipe()
	if err != nil {
		p.tb.Fatalf("start %s: %v", p.cmd.Path, err)
	}
	complaints, complaintsEnd, err := os.Pipe()
	if err != nil {
		p.tb.Fatalf("start %s: %v", p.cmd.Path, err)
	}
	p.cmd.Stdout, p.cmd.Stderr = outEnd, complaintsEnd
	err = start()
	outEnd.Close()
	complaintsEnd.Close()
	var heard sync.WaitGroup
	heard.Go(func() { p.listen(out) })
	heard.Go(func() {
		defer complaints.Close()
		_, _ = io.Copy(p.said, complaints)
	})
	if err != nil {
		p.tb.Fatalf("start %s: %v", p.cmd.Path, err)
	}
	go func() {
		p.err = wait()
		heard.Wait()
		close(p.ended)
	}()
	p.tb.Cleanup(p.finish)
}

// listen takes lines until the process and all that it started have ended.
func (p *Process) listen(out *os.File) {
	defer out.Close()
	for reader := bufio.NewReader(out); ; {
		line, err := reader.ReadString('\n')
		_, _ = io.WriteString(p.said, line)
		p.mu.Lock()
		if line, whole := strings.CutSuffix(line, "\n"); whole {
			p.lines = append(p.lines, line)
		}
		p.silent = err != nil
		p.mu.Unlock()
		select {
		case p.arrived <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// finish ends the process with the test.
func (p *Process) finish() {
	p.Kill9()
	if p.tb.Failed() {
		p.tb.Logf("%s said:\n%s", p.cmd.Path, p.said)
	}
}

// PID returns the id of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Line returns the next whole line of standard output. It fails the test when
// the process has ended without one, or says nothing for half a minute.
func (p *Process) Line() string {
	p.tb.Helper()
	for late := time.After(patience); ; {
		line, some, more := p.take()
		switch {
		case some:
			return line
		case !more:
			p.tb.Fatalf("%s ended without a line: %v: %s", p.cmd.Path, p.Wait(), p.said)
		}
		select {
		case <-p.arrived:
		case <-late:
			p.tb.Fatalf("%s has said nothing for %s: %s", p.cmd.Path, patience, p.said)
		}
	}
}

// take returns the next line if there is some, and whether more may come.
func (p *Process) take() (line string, some, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.lines) == 0 {
		return "", false, !p.silent
	}
	line, p.lines = p.lines[0], p.lines[1:]
	return line, true, true
}

// Rest returns the whole lines of standard output that are there and that Line
// has not returned; after [Process.Kill9] or [Process.Wait], all of them. A line
// that was cut off in the middle is not among them.
func (p *Process) Rest() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	rest := p.lines
	p.lines = nil
	return rest
}

// Said returns what came last over standard output and standard error, 64 KiB.
func (p *Process) Said() string { return p.said.String() }

// Kill9 kills the process, and what it started, as a power switch would, and
// returns when it is gone. What is in the kernel's memory survives.
func (p *Process) Kill9() {
	p.tb.Helper()
	p.signal(syscall.SIGKILL)
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.tb.Errorf("%s is still there %s after it was killed", p.cmd.Path, patience)
	}
}

// Stop pauses the process at once (SIGSTOP): its connections stay, and it says
// nothing. Continue lets it go on, in the belief that no time has passed.
func (p *Process) Stop() { p.signal(syscall.SIGSTOP) }

// Continue takes back [Process.Stop].
func (p *Process) Continue() { p.signal(syscall.SIGCONT) }

// Terminate asks the process to end (SIGTERM). [Process.Wait] says how it did.
func (p *Process) Terminate() { p.signal(syscall.SIGTERM) }

func (p *Process) signal(s syscall.Signal) {
	p.tb.Helper()
	select {
	case <-p.ended: // its number may be another's by now
		return
	default:
	}
	if err := syscall.Kill(-p.PID(), s); err != nil && !errors.Is(err, syscall.ESRCH) {
		p.tb.Errorf("send %s to %s: %v", s, p.cmd.Path, err)
	}
}

// Wait returns when the process has ended: nil for status 0, else an
// *exec.ExitError. It fails the test after half a minute.
func (p *Process) Wait() error {
	p.tb.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.tb.Fatalf("%s has not ended after %s: %s", p.cmd.Path, patience, p.said)
	}
	return p.err
}

// A transcript takes what a process says from two sides at once.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (t *transcript) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(b)
}

// String returns the last 64 KiB.
func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.text.Bytes()
	return string(b[max(0, len(b)-64<<10):])
}
