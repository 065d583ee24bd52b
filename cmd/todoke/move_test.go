package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"todoke/ledger"
	"todoke/ledger/rule"
	"todoke/ledger/stream"
	"todoke/testenv"
	"todoke/testenv/cluster"
)

// moveEvents is how many events the ledger has that is moved.
const moveEvents = 3000

// TestDocumentedMove does what docs/operations.md says about moving a ledger, on
// a real cluster, with a move that is killed over and over.
func TestDocumentedMove(t *testing.T) {
	m := &moving{T: t, dir: t.TempDir()}
	m.fill()
	c := cluster.Start(t, cluster.Config{})
	m.env = []string{"TODOKE_NATS=" + c.URL(), "TODOKE_NATS_SYSTEM=" + c.SystemURL()}
	if err := os.WriteFile(filepath.Join(m.dir, "todoke.env"), []byte(strings.Join(m.env, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.refusedWhileServed()
	before := m.said(0, false, "--json", "replay")
	m.killOverAndOver()

	out, err := m.shell("move").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "moved to 127.0.0.1:") {
		t.Fatalf("docs/operations.md: move: %v\n%s", err, out)
	}
	if told := m.said(3, false, "batches"); !strings.Contains(told, "moved to a cluster") || !strings.Contains(told, "--nats") {
		t.Errorf("batches on the folder says\n%s", told)
	}
	if told := m.said(3, false, "serve"); !strings.Contains(told, "moved to a cluster") {
		t.Errorf("serve on the folder says\n%s", told)
	}
	m.describe(m.said(0, true, "--json", "move"))

	serving := m.shell("serve")
	p, err := launch(serving, serves)
	if err != nil {
		t.Fatalf("docs/operations.md: serve: %v", err)
	}
	defer p.stop()
	if after := m.said(0, true, "--json", "replay"); !strings.HasPrefix(after, before) {
		t.Errorf("replay says on the cluster something else than in the folder")
	}
	if row := m.said(0, true, "--json", "--party", "relay:2", "report", "import.completed", "--batch", "131229-20151005-0001", "--count", "3"); !strings.Contains(row, `"incarnation":3`) {
		t.Errorf("the next receipt: %s", row)
	}
}

// moving is a folder whose ledger is moved.
type moving struct {
	*testing.T
	dir string
	env []string // names the cluster
}

// fill makes a ledger in the folder.
func (m *moving) fill() {
	m.Helper()
	l, err := stream.Open(m.Context(), stream.Config{Dir: filepath.Join(m.dir, "todoke-data"), Now: time.Now, Rand: rand.Reader,
		Party: operator, Key: testenv.Key(m, string(operator)), Opening: stream.Opening{Pack: rule.Default().Text()}})
	if err != nil {
		m.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range moveEvents {
		record := testenv.Claim(m, l.ID(), fmt.Sprintf("131229-20151005-%04d", 1+i%100), fmt.Sprint("slip ", i), ledger.Items{{First: 1, Last: 3}})
		all.Go(func() {
			if _, err := l.Append(m.Context(), record); err != nil {
				m.Error(err)
			}
		})
	}
	all.Wait()
	if err := l.Close(); err != nil || m.Failed() {
		m.Fatal(err)
	}
}

// command returns todoke in the folder, with the variables of todoke.env if it
// shall know of the cluster.
func (m *moving) command(cluster bool, args ...string) *exec.Cmd {
	cmd := todoke(m.dir, args...)
	if cluster {
		cmd.Env = append(cmd.Env, m.env...)
	}
	return cmd
}

// said runs todoke, which has to end with a status, and returns what it says.
func (m *moving) said(status int, cluster bool, args ...string) string {
	m.Helper()
	cmd := m.command(cluster, args...)
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != status {
		m.Fatalf("todoke %v: exit status %d, %v, want %d\n%s", args, code, err, status, out)
	}
	return string(out)
}

// shell returns the commands of a block of docs/operations.md, as a shell runs
// them.
func (m *moving) shell(name string) *exec.Cmd {
	m.Helper()
	for _, b := range indented(m.T, top+"/docs/operations.md") {
		if b.info == "sh "+name {
			cmd := m.command(name != "move", "")
			shell := exec.Command("sh", "-ec", "exec 2>&1\n"+strings.Replace(b.text(), "todoke serve", "exec todoke serve", 1))
			shell.Dir, shell.Env = cmd.Dir, cmd.Env
			return shell
		}
	}
	m.Fatalf("docs/operations.md has no block sh %s", name)
	return nil
}

// indented returns the blocks of a document that stand in lists.
func indented(t *testing.T, doc string) (found []block) {
	t.Helper()
	for _, m := range regexp.MustCompile("(?ms)^   ```([^\n]+)\n(.*?)\n   ```$").FindAllStringSubmatch(readText(t, doc), -1) {
		found = append(found, block{doc: doc, info: m[1], lines: strings.Split(m[2], "\n")})
	}
	return found
}

func (m *moving) refusedWhileServed() {
	m.Helper()
	p, err := launch(m.command(false, "serve"), serves)
	if err != nil {
		m.Fatal(err)
	}
	if told := m.said(3, true, "move"); !strings.Contains(told, "end it first") {
		m.Errorf("move while it is served says\n%s", told)
	}
	if err := p.stop(); err != nil {
		m.Fatal(err)
	}
}

// killOverAndOver kills moves wherever they are.
func (m *moving) killOverAndOver() {
	m.Helper()
	random := mathrand.New(mathrand.NewPCG(2015, 10))
	killed := 0
	for range 6 {
		cmd := m.command(true, "move")
		if err := cmd.Start(); err != nil {
			m.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(100+random.IntN(600))*time.Millisecond, func() { cmd.Process.Kill() })
		if err := cmd.Wait(); err != nil {
			killed++
		}
		timer.Stop()
	}
	m.Logf("%d of 6 moves were killed", killed)
}

// describe holds what move --json prints against docs/json.md.
func (m *moving) describe(output string) {
	m.Helper()
	schemas := readSchemas(m.T)
	if err := conforms(compile(m.T, schemas)["move"], output); err != nil {
		m.Error(err)
	}
	s := structure{m.T, schemas}
	s.compare("move", schemas["move"], reflect.TypeFor[moveRow]())
	var row moveRow
	if err := json.Unmarshal([]byte(output), &row); err != nil || row.Compared != row.Head || row.Head < moveEvents {
		m.Errorf("%v: %s", err, output)
	}
}
