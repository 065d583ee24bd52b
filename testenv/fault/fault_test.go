package fault_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"todoke/testenv/fault"
)

// child names the variable that makes the test binary one of the programs below.
const child = "TODOKE_TEST_CHILD"

func TestMain(m *testing.M) {
	name, argument, _ := strings.Cut(os.Getenv(child), " ")
	switch name {
	case "":
		os.Exit(m.Run())
	case "count":
		for i := 0; ; i++ {
			fmt.Println(i)
			time.Sleep(time.Millisecond)
		}
	case "save":
		if err := save(argument, 5); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	case "fail":
		fmt.Fprintln(os.Stderr, "a complaint")
		fmt.Print("a line\nhalf a l")
		os.Exit(3)
	}
}

// save writes a file of n lines, syncs each of them from a goroutine of its own,
// so that the calls come from several threads, and puts it in place.
func save(dir string, n int) error {
	name := filepath.Join(dir, "file")
	f, err := os.Create(name + ".new")
	if err != nil {
		return err
	}
	defer f.Close()
	for range n {
		if _, err := io.WriteString(f, "line\n"); err != nil {
			return err
		}
		synced := make(chan error)
		go func() { synced <- f.Sync() }()
		if err := <-synced; err != nil {
			return err
		}
	}
	return os.Rename(name+".new", name)
}

func self(t *testing.T, program string) *fault.Process {
	t.Helper()
	return fault.Start(t, fault.Self(t, child+"="+program))
}

func TestProcessSaysLinesUntilItIsKilled(t *testing.T) {
	p := self(t, "count")
	for i := range 3 {
		if line := p.Line(); line != fmt.Sprint(i) {
			t.Errorf("line %d is %q", i, line)
		}
	}
	p.Kill9()
	if err := p.Wait(); err == nil {
		t.Error("a killed process ended well")
	}
	for i, line := range p.Rest() {
		if line != fmt.Sprint(3+i) {
			t.Fatalf("line %d is %q", 3+i, line)
		}
	}
	p.Kill9() // of one that is gone
}

func TestProcessThatEndsByItself(t *testing.T) {
	p := self(t, "fail")
	err := p.Wait()
	if err == nil || err.Error() != "exit status 3" {
		t.Errorf("it ended with %v", err)
	}
	if rest := p.Rest(); !slices.Equal(rest, []string{"a line"}) {
		t.Errorf("whole lines %q", rest)
	}
	if said := p.Said(); !strings.Contains(said, "a complaint") || !strings.Contains(said, "half a l") {
		t.Errorf("it said %q", said)
	}
}

// TestStoppedProcess looks at the state that the kernel gives, since a process
// that says nothing may also be a slow one.
func TestStoppedProcess(t *testing.T) {
	p := self(t, "count")
	p.Line()
	p.Stop()
	await(t, func() bool { return state(t, p) == "T" })
	p.Rest()
	p.Continue()
	p.Line()
	if s := state(t, p); s == "T" {
		t.Error("it stands still")
	}
}

// state returns the letter that the kernel has for the state of a process.
func state(t *testing.T, p *fault.Process) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), ") ")
	return after[:1]
}

// await polls a condition that comes true soon.
func await(t *testing.T, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it has not come true")
		}
	}
}

// echo is a server that says everything back.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return listener.Addr().String()
}

func dial(t *testing.T, p *fault.Proxy) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", p.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func say(t *testing.T, c net.Conn, line string) {
	t.Helper()
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		t.Fatal(err)
	}
}

// hear returns the next line, or why there is none.
func hear(c net.Conn, within time.Duration) (string, error) {
	_ = c.SetReadDeadline(time.Now().Add(within))
	return bufio.NewReader(c).ReadString('\n')
}

const (
	soon  = 10 * time.Second
	while = 50 * time.Millisecond // long enough for what is not held to arrive
)

func TestProxyHoldsAndPasses(t *testing.T) {
	for name, d := range map[string]fault.Direction{"to the server": fault.ToServer, "to the client": fault.ToClient} {
		t.Run(name, func(t *testing.T) {
			p := fault.NewProxy(t, echo(t))
			c := dial(t, p)
			p.Hold(d)
			say(t, c, "held")
			if line, err := hear(c, while); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("while it was held: %q, %v", line, err)
			}
			p.Pass(d)
			if line, err := hear(c, soon); line != "held\n" {
				t.Errorf("after it was passed: %q, %v", line, err)
			}
		})
	}
}

func TestProxyDropEndsTheConnectionThatLostSomething(t *testing.T) {
	p := fault.NewProxy(t, echo(t))
	torn, whole := dial(t, p), dial(t, p)
	for _, c := range []net.Conn{torn, whole} {
		say(t, c, "before")
		if line, err := hear(c, soon); line != "before\n" {
			t.Fatalf("before: %q, %v", line, err)
		}
	}
	p.Drop(fault.ToClient)
	say(t, torn, "lost")
	if line, err := hear(torn, while); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("while it was dropped: %q, %v", line, err)
	}
	p.Pass(fault.ToClient)
	if line, err := hear(torn, soon); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection goes on: %q, %v", line, err)
	}
	say(t, whole, "after")
	if line, err := hear(whole, soon); line != "after\n" {
		t.Errorf("the other connection: %q, %v", line, err)
	}
}

func TestProxyCutsAndRefuses(t *testing.T) {
	p := fault.NewProxy(t, echo(t))
	old := dial(t, p)
	say(t, old, "before")
	if line, err := hear(old, soon); line != "before\n" {
		t.Fatalf("before: %q, %v", line, err)
	}
	p.Refuse()
	if line, err := hear(dial(t, p), soon); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a new connection was taken: %q, %v", line, err)
	}
	say(t, old, "still here")
	if line, err := hear(old, soon); line != "still here\n" {
		t.Errorf("the old one: %q, %v", line, err)
	}
	p.Cut()
	if line, err := hear(old, soon); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the old one goes on: %q, %v", line, err)
	}
	p.Accept()
	again := dial(t, p)
	say(t, again, "again")
	if line, err := hear(again, soon); line != "again\n" {
		t.Errorf("again: %q, %v", line, err)
	}
}

// traced runs save under a plan and returns what it called in dir.
func traced(t *testing.T, dir string, plan fault.Tampering) ([]fault.Call, error) {
	t.Helper()
	plan.Under = dir
	p := fault.StartTraced(t, fault.Self(t, child+"=save "+dir), plan)
	err := p.Wait()
	return p.Calls(), err
}

func folder(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestTraceCountsTheCallsUnderAFolder(t *testing.T) {
	dir := folder(t)
	calls, err := traced(t, dir, fault.Tampering{})
	if err != nil {
		t.Fatal(err)
	}
	want := []fault.Call{{Name: "open", Path: dir + "/file.new"}}
	for range 5 {
		want = append(want, fault.Call{Name: "write", Path: dir + "/file.new"}, fault.Call{Name: "sync", Path: dir + "/file.new"})
	}
	want = append(want, fault.Call{Name: "rename", Path: dir + "/file.new"})
	if !slices.Equal(calls, want) {
		t.Errorf("calls %v, want %v", calls, want)
	}
	if syncs, _ := traced(t, folder(t), fault.Tampering{Calls: []string{"sync"}}); len(syncs) != 5 {
		t.Errorf("only syncs: %v", syncs)
	}
}

// TestTraceKillsBeforeEveryCall goes through all crash points of save: whatever
// the point, the file is whole or not there.
func TestTraceKillsBeforeEveryCall(t *testing.T) {
	calls, err := traced(t, folder(t), fault.Tampering{})
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(calls) {
		dir := folder(t)
		before, err := traced(t, dir, fault.Tampering{Nth: n + 1})
		if err == nil || len(before) != n+1 {
			t.Errorf("killed before call %d: %v after %v", n+1, err, before)
		}
		lines, _ := os.ReadFile(filepath.Join(dir, "file.new"))
		if got, want := bytes.Count(lines, []byte("\n")), n/2; got != want && n > 0 {
			t.Errorf("killed before call %d, %s: %d lines, want %d", n+1, before[n], got, want)
		}
		if _, err := os.Stat(filepath.Join(dir, "file")); err == nil {
			t.Errorf("killed before call %d: the file is in place", n+1)
		}
	}
}

func TestTraceAnswersWithAnError(t *testing.T) {
	for _, c := range []struct {
		call string
		err  syscall.Errno
	}{{"sync", syscall.EIO}, {"write", syscall.ENOSPC}, {"rename", syscall.EIO}, {"open", syscall.EACCES}} {
		t.Run(c.call, func(t *testing.T) {
			dir := folder(t)
			p := fault.StartTraced(t, fault.Self(t, child+"=save "+dir), fault.Tampering{Under: dir, Calls: []string{c.call}, Nth: 1, Error: c.err})
			if err := p.Wait(); err == nil || err.Error() != "exit status 1" {
				t.Errorf("it ended with %v", err)
			}
			if !strings.Contains(p.Said(), c.err.Error()) {
				t.Errorf("it said %q", p.Said())
			}
			if _, err := os.Stat(filepath.Join(dir, "file")); err == nil {
				t.Error("the file is in place")
			}
		})
	}
}

func TestDiskIsFullUntilItIsFreed(t *testing.T) {
	d := fault.NewDisk(t, 1<<20)
	name := filepath.Join(d.Dir(), "file")
	d.Fill(64 << 10)
	if err := os.WriteFile(name, make([]byte, 128<<10), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write on a full disk: %v", err)
	}
	d.Free()
	if err := os.WriteFile(name, make([]byte, 128<<10), 0o600); err != nil {
		t.Errorf("write when there is room: %v", err)
	}
}
