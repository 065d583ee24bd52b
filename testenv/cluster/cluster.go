package cluster

import (
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"todoke/ledger/stream"
	"todoke/testenv/fault"
)

// Config says what cluster to start. The zero Config is three servers that
// cannot be cut off from each other.
type Config struct {
	Nodes   int    // 0 is 3
	Proxied bool   // for Partition and OneWay
	Program string // what [Build] returned; "" builds it
	// Adapt returns the configuration file that server i has instead of the
	// product's; nil: that one.
	Adapt func(i int, config string) string
}

// A Cluster is a group of running servers, numbered from 0. Its methods are for
// the test's own goroutine.
type Cluster struct {
	tb      testing.TB
	program string
	adapt   func(i int, config string) string
	plan    stream.Cluster
	nodes   []*node
	proxies [][]*fault.Proxy // [i][j]: connections that i makes to j; nil without proxies
}

// A node is one server.
type node struct {
	arguments []string
	process   *fault.Process
	up        bool // it runs and is not paused
}

// patience bounds every wait.
const patience = 30 * time.Second

// Build builds nats-server from the module's own dependency, which takes a
// second, and returns the program. It is there until the test ends.
func Build(tb testing.TB) string {
	tb.Helper()
	program := filepath.Join(tb.TempDir(), "nats-server")
	build := exec.CommandContext(tb.Context(), "go", "build", "-ldflags=-s -w", "-o", program, "github.com/nats-io/nats-server/v2")
	if out, err := build.CombinedOutput(); err != nil {
		tb.Fatalf("build nats-server: %v: %s", err, out)
	}
	return program
}

// Start starts a cluster and waits until it is ready. It ends with the test.
func Start(tb testing.TB, cfg Config) *Cluster {
	tb.Helper()
	if cfg.Program == "" {
		cfg.Program = Build(tb)
	}
	c := &Cluster{tb: tb, program: cfg.Program, adapt: cfg.Adapt}
	c.lay(max(cfg.Nodes, 3))
	if cfg.Proxied {
		c.join()
	}
	for i := range c.nodes {
		c.configure(i)
	}
	for i := range c.nodes {
		c.Restart(i)
	}
	c.WaitReady()
	return c
}

// lay plans n servers, each with ports and a folder of its own.
func (c *Cluster) lay(n int) {
	c.tb.Helper()
	ports, dir := freePorts(c.tb, 2*n), c.tb.TempDir()
	var nodes []stream.Node
	for i := range n {
		name := fmt.Sprintf("n%d", i+1)
		nodes = append(nodes, stream.Node{Name: name, Host: "127.0.0.1",
			ClientPort: ports[2*i], RoutePort: ports[2*i+1], StoreDir: filepath.Join(dir, name)})
		c.nodes = append(c.nodes, new(node))
	}
	var err error
	if c.plan, err = stream.NewCluster("todoke", nodes, rand.Reader); err != nil {
		c.tb.Fatal(err)
	}
}

// join puts a proxy into every connection from one server to another.
func (c *Cluster) join() {
	c.tb.Helper()
	for i := range c.nodes {
		c.proxies = append(c.proxies, make([]*fault.Proxy, len(c.nodes)))
		for j, to := range c.plan.Nodes {
			if i != j {
				c.proxies[i][j] = fault.NewProxy(c.tb, net.JoinHostPort(to.Host, strconv.Itoa(to.RoutePort)))
			}
		}
	}
}

// configure writes the configuration of server i, as the product does for a
// cluster in which the others are where their proxies are.
func (c *Cluster) configure(i int) {
	c.tb.Helper()
	seen := c.plan
	seen.Nodes = slices.Clone(seen.Nodes)
	file := seen.Nodes[i].StoreDir + ".conf"
	c.nodes[i].arguments = []string{"-c", file}
	if c.proxies != nil {
		c.nodes[i].arguments = append(c.nodes[i].arguments, "--cluster_advertise", "127.0.0.1:1")
		for j, p := range c.proxies[i] {
			if p != nil {
				seen.Nodes[j].RoutePort = portOf(c.tb, p.Address())
			}
		}
	}
	config := seen.Config(i)
	if c.adapt != nil {
		config = c.adapt(i, config)
	}
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		c.tb.Fatalf("write the configuration of a server: %v", err)
	}
}

// freePorts returns ports that nobody listens on, below those that the kernel
// gives to outgoing connections, so that they are free again after a kill.
func freePorts(tb testing.TB, n int) []int {
	tb.Helper()
	var ports []int
	for range 100 * n {
		port := 10000 + mathrand.IntN(20000)
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil || slices.Contains(ports, port) {
			continue
		}
		listener.Close()
		if ports = append(ports, port); len(ports) == n {
			return ports
		}
	}
	tb.Fatalf("find %d free ports: only %d", n, len(ports))
	return nil
}

func portOf(tb testing.TB, address string) int {
	tb.Helper()
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		tb.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		tb.Fatal(err)
	}
	return port
}

// URL returns the addresses of all servers, with the ledger's password.
func (c *Cluster) URL() string { return c.plan.URL() }

// SystemURL returns the addresses of all servers, with the system's password.
func (c *Cluster) SystemURL() string { return c.plan.SystemURL() }

// NodeURL is URL for server i alone.
func (c *Cluster) NodeURL(i int) string { return c.only(i).URL() }

// Name returns what server i is called.
func (c *Cluster) Name(i int) string { return c.plan.Nodes[i].Name }

// StoreDir returns the folder of server i.
func (c *Cluster) StoreDir(i int) string { return c.plan.Nodes[i].StoreDir }

func (c *Cluster) only(i int) stream.Cluster {
	one := c.plan
	one.Nodes = c.plan.Nodes[i : i+1]
	return one
}

// Kill9 kills server i. What it had in its own memory is lost.
func (c *Cluster) Kill9(i int) {
	c.tb.Helper()
	c.nodes[i].process.Kill9()
	c.nodes[i].up = false
}

// Restart starts server i on the folder that it had. It does not wait until it
// is ready.
func (c *Cluster) Restart(i int) {
	c.tb.Helper()
	n := c.nodes[i]
	n.process = fault.Start(c.tb, exec.Command(c.program, n.arguments...))
	n.up = true
}

// Stop pauses server i: it keeps its connections and says nothing.
func (c *Cluster) Stop(i int) {
	c.tb.Helper()
	c.nodes[i].process.Stop()
	c.nodes[i].up = false
}

// Continue takes back Stop.
func (c *Cluster) Continue(i int) {
	c.tb.Helper()
	c.nodes[i].process.Continue()
	c.nodes[i].up = true
}

// Partition holds back whatever servers of different groups say to each other,
// from now on. Servers that are in no group form one together. It takes back
// what was cut off before.
func (c *Cluster) Partition(groups ...[]int) {
	c.tb.Helper()
	group := make([]int, len(c.nodes))
	for g, members := range groups {
		for _, i := range members {
			group[i] = g + 1
		}
	}
	for i := range c.nodes {
		for j := range c.nodes {
			c.set(i, j, group[i] == group[j])
		}
	}
}

// OneWay holds back what one server says to another; the answers pass.
func (c *Cluster) OneWay(from, to int) {
	c.tb.Helper()
	c.set(from, to, false)
}

// Heal lets everything pass, what was held back first.
func (c *Cluster) Heal() {
	c.tb.Helper()
	c.Partition()
}

// set lets what server i says to server j pass, or holds it back.
func (c *Cluster) set(i, j int, passes bool) {
	c.tb.Helper()
	switch {
	case i == j:
	case c.proxies == nil:
		c.tb.Fatal("the servers of this cluster cannot be cut off: start it with Config.Proxied")
	case passes:
		c.proxies[i][j].Pass(fault.ToServer)
		c.proxies[j][i].Pass(fault.ToClient)
	default:
		c.proxies[i][j].Hold(fault.ToServer)
		c.proxies[j][i].Hold(fault.ToClient)
	}
}
