package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"todoke/testenv/cluster"
	"todoke/testenv/fault"
)

// standsBy is what todoke serve writes when another process commits.
var standsBy = regexp.MustCompile(`standby: another process commits`)

// A site is the folder of somebody who runs todoke on a cluster.
type site struct {
	*testing.T
	dir     string
	cluster []string // arguments that name it
	system  []string // and who is asked how its servers run
}

func newSite(t *testing.T, url, system string) *site {
	return &site{t, t.TempDir(), []string{"--nats", url}, []string{"--nats-system", system}}
}

// serve starts todoke serve on a folder of its own and waits until it says so.
func (s *site) serve(folder string, says *regexp.Regexp, args ...string) *process {
	s.Helper()
	if args == nil {
		args = s.system
	}
	p, err := launch(s.todoke(folder, append([]string{"serve"}, args...)...), says)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
	})
	return p
}

func (s *site) todoke(folder string, args ...string) *exec.Cmd {
	return todoke(s.dir, append(append([]string{"--data", folder}, s.cluster...), args...)...)
}

// run returns what a command prints on both streams, and its exit status.
func (s *site) run(folder string, args ...string) (out, complaints string, status int) {
	s.Helper()
	cmd := s.todoke(folder, args...)
	var said, complained strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &complained
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		status = exit.ExitCode()
	} else if err != nil {
		s.Fatal(err)
	}
	return said.String(), complained.String(), status
}

// report says something as a relay, which has to work.
func (s *site) report(slip string) {
	s.Helper()
	if out, complaints, status := s.run("gateway", "--party", "relay:2", "report", "import.completed",
		"--batch", "131229-20151005-0001", "--count", "551", "--slip", slip); status != exitFine {
		s.Fatalf("report %s: exit status %d: %s%s", slip, status, out, complaints)
	}
}

// awaitMore waits until a process writes something more that matches.
func (p *process) awaitMore(t *testing.T, pattern *regexp.Regexp) {
	t.Helper()
	p.mu.Lock()
	p.said, p.pattern, p.matched = nil, pattern, make(chan struct{})
	matched := p.matched
	p.mu.Unlock()
	select {
	case <-matched:
	case <-p.ended:
		t.Fatalf("it ended: %v", p.err)
	case <-time.After(patience):
		t.Fatalf("it has not written %s", pattern)
	}
}

func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three servers")
	}
	c := cluster.Start(t, cluster.Config{})
	s := newSite(t, c.URL(), c.SystemURL())
	t.Run("serve wants to know who is asked", func(t *testing.T) {
		if _, complaints, status := s.run("a", "serve"); status != exitUsage || !strings.Contains(complaints, "--unchecked-sync") {
			t.Errorf("exit status %d: %s", status, complaints)
		}
	})
	first := s.serve("a", serves)
	second := s.serve("b", standsBy)
	s.report("first")
	t.Run("a standby takes over from one that was killed", func(t *testing.T) {
		if err := first.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-first.ended
		second.awaitMore(t, serves)
		s.report("first") // again
		s.report("second")
		first = s.serve("a", standsBy)
	})
	t.Run("one that is paused too long waits for its turn again", func(t *testing.T) {
		pause(t, second)
		first.awaitMore(t, serves)
		resume(t, second)
		second.awaitMore(t, standsBy)
		s.report("third")
	})
	t.Run("every report is there once", func(t *testing.T) {
		out, complaints, status := s.run("reader", "replay", "--json", "--kind", "import.completed")
		if n := strings.Count(out, "\n"); status != exitFine || n != 3 || complaints != "" {
			t.Errorf("exit status %d, %d reports: %s", status, n, complaints)
		}
	})
	t.Run("every command says that nobody checks", func(t *testing.T) {
		for _, p := range []*process{first, second} {
			if err := p.stop(); err != nil {
				t.Fatal(err)
			}
		}
		s.serve("a", serves, "--unchecked-sync")
		for _, args := range [][]string{{"batches"}, {"alerts"}, {"replay"}, {"batch", "131229-20151005-0001"}} {
			if _, complaints, _ := s.run("reader", args...); !strings.Contains(complaints, "nobody checks") {
				t.Errorf("todoke %s says %q", strings.Join(args, " "), complaints)
			}
		}
	})
}

// TestPrintedCluster starts three servers from what --print-cluster-config
// prints, as its first lines say.
func TestPrintedCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three servers")
	}
	program, dir := cluster.Build(t), t.TempDir()
	var urls []string
	for _, port := range freePorts(t, 3) {
		urls = append(urls, fmt.Sprint("nats://127.0.0.1:", port))
	}
	out, err := todoke(dir, "serve", "--print-cluster-config", "--nats", strings.Join(urls, ",")).Output()
	if err != nil {
		t.Fatal(err)
	}
	// Three machines have the same folder and a port each; here it is the other way.
	text := strings.ReplaceAll(string(out), "/var/lib/todoke-nats", filepath.Join(dir, "store"))
	files := regexp.MustCompile(`(?m)^##### (\S+?):.*$`).FindAllStringSubmatchIndex(text, -1)
	env := make(map[string]string)
	for i, at := range files {
		end := len(text)
		if i+1 < len(files) {
			end = files[i+1][0]
		}
		name, content := text[at[2]:at[3]], text[at[1]:end]
		if strings.HasSuffix(name, ".env") {
			for _, m := range regexp.MustCompile(`(?m)^(\w+)=(.*)$`).FindAllStringSubmatch(content, -1) {
				env[m[1]] = m[2]
			}
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		fault.Start(t, exec.Command(program, "-c", filepath.Join(dir, name)))
	}
	if len(files) != 4 || env["TODOKE_NATS"] == "" || env["TODOKE_NATS_SYSTEM"] == "" {
		t.Fatalf("%d files, %d variables:\n%s", len(files), len(env), text)
	}
	await(t, env["TODOKE_NATS"])
	s := newSite(t, env["TODOKE_NATS"], env["TODOKE_NATS_SYSTEM"])
	s.serve("a", serves)
	s.report("first")
}

// freePorts returns ports on which nobody listens, nor on those that the printed
// files give to the servers among themselves.
func freePorts(t *testing.T, n int) (ports []int) {
	t.Helper()
	for port := 10000 + rand.IntN(10000); len(ports) < n && port < 25000; port++ {
		client, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			continue
		}
		route, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port+routeOffset))
		if err == nil {
			ports = append(ports, port)
			route.Close()
		}
		client.Close()
	}
	return ports
}

// await waits until the servers of a cluster can store something.
func await(t *testing.T, url string) {
	t.Helper()
	nc, err := nats.Connect(url, nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for {
		answer, err := nc.RequestWithContext(t.Context(), "$JS.API.INFO", nil)
		if err == nil && !strings.Contains(string(answer.Data), `"error"`) {
			return
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
}

// pause stops a process as a machine that hangs does.
func pause(t *testing.T, p *process) { send(t, p, syscall.SIGSTOP) }

func resume(t *testing.T, p *process) { send(t, p, syscall.SIGCONT) }

func send(t *testing.T, p *process, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}
