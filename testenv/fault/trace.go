package fault

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// A Call is a system call that changes what is on a disk.
type Call struct {
	Name string // open (to make or cut a file), write, sync, truncate, rename, remove, mkdir or link
	Path string // the file, of a rename what it was called before
}

// String returns the name and the path.
func (c Call) String() string { return c.Name + " " + c.Path }

// A Tampering says which calls of a [Traced] program go wrong, and how. The zero
// Tampering only counts.
type Tampering struct {
	// Under is a folder: calls on files at or below it count. It is the path as
	// the kernel knows it, without symbolic links. "" counts all files.
	Under string
	// Calls are the names of the calls that count, all of them when there is none.
	Calls []string
	// Nth is the first call that goes wrong, counted from 1; 0 is none.
	Nth int
	// Error is what that call answers, without having been made: syscall.EIO,
	// syscall.ENOSPC. With 0 the program is killed instead, just before it.
	Error syscall.Errno
	// Onwards lets every call after the n-th fail in the same way.
	Onwards bool
}

func (t Tampering) counts(c Call) bool {
	return (len(t.Calls) == 0 || slices.Contains(t.Calls, c.Name)) &&
		(t.Under == "" || c.Path == t.Under || strings.HasPrefix(c.Path, t.Under+"/"))
}

// Traced is a process of which every system call passes through the test. It is
// several times slower than without, cannot be paused, and an error of
// [Process.Wait] is a text only. The calls are known by their numbers on amd64.
type Traced struct {
	*Process

	mu    sync.Mutex
	plan  Tampering
	calls []Call

	// Of the one thread that the kernel lets do this.
	threads map[int]thread
	status  syscall.WaitStatus // of the process, when it has ended
}

// A thread is what is known of a thread of the process between two stops.
type thread struct {
	inside bool          // it stopped where a call begins
	answer syscall.Errno // what this call will answer without being made
}

// StartTraced starts a program as [Start] does, with every call counted from its
// first instruction on. Where tracing is not permitted, the test is skipped.
func StartTraced(tb testing.TB, cmd *exec.Cmd, plan Tampering) *Traced {
	tb.Helper()
	if !callsKnown {
		skip(tb, "trace %s: the calls of this processor are not known: run the test on amd64", cmd.Path)
	}
	t := &Traced{Process: newProcess(tb, cmd), plan: plan, threads: make(map[int]thread)}
	cmd.SysProcAttr.Ptrace = true
	started, ended := make(chan error), make(chan error, 1)
	run := func() {
		// The kernel takes orders from the thread that started the process only.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := t.launch()
		if started <- err; err == nil {
			ended <- t.follow()
		}
	}
	start := func() error {
		go run()
		err := <-started
		if errors.Is(err, syscall.EPERM) {
			skip(tb, "trace %s: %v: permit ptrace", cmd.Path, err)
		}
		return err
	}
	t.begin(start, func() error { return <-ended })
	return t
}

// Calls returns the calls that counted so far, in the order in which they began.
// The one that the program was killed before is the last.
func (t *Traced) Calls() []Call {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.calls)
}

// Tamper changes the plan of a program that runs, and counts from nothing.
func (t *Traced) Tamper(plan Tampering) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.plan, t.calls = plan, nil
}

// What the syscall package does not name.
const (
	ptraceExitKill = 1 << 20    // PTRACE_O_EXITKILL: nothing outlives the test
	callStop       = 0x80       // set in the signal of a stop at a system call
	ownThread      = 0x20000000 // __WNOTHREAD: not the children of other tests
)

// launch starts the process, which stops at its first instruction.
func (t *Traced) launch() error {
	if err := t.cmd.Start(); err != nil {
		return err
	}
	if _, err := syscall.Wait4(t.PID(), &t.status, syscall.WALL, nil); err != nil {
		return fmt.Errorf("wait for the start: %w", err)
	}
	t.threads[t.PID()] = thread{}
	const options = ptraceExitKill | syscall.PTRACE_O_TRACESYSGOOD | syscall.PTRACE_O_TRACECLONE |
		syscall.PTRACE_O_TRACEFORK | syscall.PTRACE_O_TRACEVFORK | syscall.PTRACE_O_TRACEEXEC
	if err := syscall.PtraceSetOptions(t.PID(), options); err != nil {
		return fmt.Errorf("set options: %w", err)
	}
	return syscall.PtraceSyscall(t.PID(), 0)
}

// follow lets the threads run from stop to stop until none is left, and returns
// how the process ended.
func (t *Traced) follow() error {
	for {
		var status syscall.WaitStatus
		// Those of its process group: other children of this thread are not ours.
		id, err := syscall.Wait4(-t.PID(), &status, syscall.WALL|ownThread, nil)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			return t.verdict()
		case !status.Stopped():
			delete(t.threads, id)
			if id == t.PID() {
				t.status = status
			}
			continue
		}
		// A thread that was killed meanwhile is gone, which the next wait tells.
		_ = syscall.PtraceSyscall(id, t.stopped(id, status))
	}
}

// verdict says how the process ended, as exec.Cmd would.
func (t *Traced) verdict() error {
	switch {
	case t.status.Signaled():
		return fmt.Errorf("signal: %s", t.status.Signal())
	case t.status.ExitStatus() != 0:
		return fmt.Errorf("exit status %d", t.status.ExitStatus())
	}
	return nil
}

// stopped looks at a thread that stands still and returns the signal that it
// goes on with.
func (t *Traced) stopped(id int, status syscall.WaitStatus) (signal int) {
	at, known := t.threads[id]
	switch sig := status.StopSignal(); {
	case sig == syscall.SIGTRAP|callStop:
		t.threads[id] = t.atCall(id, at)
		return 0
	case sig == syscall.SIGTRAP: // a thread or program was started; nothing of ours
		return 0
	case sig == syscall.SIGSTOP && !known: // how a new thread begins
		t.threads[id] = thread{}
		return 0
	default:
		return int(sig)
	}
}

// atCall is where a call begins and ends.
func (t *Traced) atCall(id int, at thread) thread {
	var regs syscall.PtraceRegs
	if syscall.PtraceGetRegs(id, &regs) != nil {
		return thread{}
	}
	if at.inside {
		if at.answer != 0 {
			setResult(&regs, at.answer)
			_ = syscall.PtraceSetRegs(id, &regs)
		}
		return thread{}
	}
	answer, kill := t.judge(id, &regs)
	if kill {
		_ = syscall.Kill(t.PID(), syscall.SIGKILL)
	}
	if answer != 0 {
		setCall(&regs, -1)
		_ = syscall.PtraceSetRegs(id, &regs)
	}
	return thread{inside: true, answer: answer}
}

// judge counts a call that begins, and says what becomes of it.
func (t *Traced) judge(id int, regs *syscall.PtraceRegs) (answer syscall.Errno, kill bool) {
	call, ok := readCall(id, regs)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !ok || !t.plan.counts(call) {
		return 0, false
	}
	t.calls = append(t.calls, call)
	if n := len(t.calls); t.plan.Nth == 0 || n < t.plan.Nth || n > t.plan.Nth && !t.plan.Onwards {
		return 0, false
	}
	return t.plan.Error, t.plan.Error == 0
}

// A shape says what a call is named and where it keeps its file. One without a
// name changes nothing on a disk.
type shape struct {
	name string
	file int // the number of the argument
	kind fileKind
}

type fileKind int

const (
	descriptor fileKind = iota
	path
	pathAt // a path after the folder that it may be relative to
)

// readCall reads a call that is about to begin; not ok is one that changes
// nothing on a disk.
func readCall(id int, regs *syscall.PtraceRegs) (c Call, ok bool) {
	s := shapeOf(number(regs))
	if s.name == "" {
		return c, false
	}
	if s.name == "open" && argument(regs, s.file+1)&(syscall.O_CREAT|syscall.O_TRUNC) == 0 {
		return c, false
	}
	c.Name = s.name
	switch s.kind {
	case descriptor:
		c.Path = linkOf(id, fmt.Sprintf("fd/%d", int32(argument(regs, s.file))))
	case path:
		c.Path = absolute(readText(id, argument(regs, s.file)), linkOf(id, "cwd"))
	case pathAt:
		folder := "cwd"
		if fd := int32(argument(regs, s.file-1)); fd >= 0 {
			folder = fmt.Sprintf("fd/%d", fd)
		}
		c.Path = absolute(readText(id, argument(regs, s.file)), linkOf(id, folder))
	}
	return c, true
}

// linkOf reads a link in the kernel's folder of a thread; "" when there is none.
func linkOf(id int, name string) string {
	to, _ := os.Readlink(fmt.Sprintf("/proc/%d/%s", id, name))
	return strings.TrimSuffix(to, " (deleted)")
}

func absolute(name, folder string) string {
	if strings.HasPrefix(name, "/") {
		return name
	}
	return folder + "/" + name
}

// readText reads a string out of the memory of a thread.
func readText(id int, at uint64) string {
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", id))
	if err != nil {
		return ""
	}
	defer memory.Close()
	buf := make([]byte, syscall.PathMax)
	n, _ := memory.ReadAt(buf, int64(at)) // as far as the memory goes
	text, _, _ := strings.Cut(string(buf[:n]), "\x00")
	return text
}
