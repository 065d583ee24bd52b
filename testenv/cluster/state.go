package cluster

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"todoke/ledger/stream"
)

// poll is the time between two looks at a condition.
const poll = 20 * time.Millisecond

// await polls until a condition holds. It fails the test with what the
// condition last complained of.
func (c *Cluster) await(what string, condition func() error) {
	c.tb.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(poll) {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			c.tb.Fatalf("wait %s until %s: %v", patience, what, err)
		}
	}
}

// WaitReady waits until all servers that run, which must be more than half of
// the cluster, have found each other and follow one leader, and each of them
// answers the ledger's user.
func (c *Cluster) WaitReady() {
	c.tb.Helper()
	c.await("the cluster is ready", func() error {
		leaders := make(map[string]bool)
		for i, n := range c.nodes {
			if !n.up {
				continue
			}
			s, err := c.look(i)
			if err != nil {
				return err
			}
			if s.Meta.Size != len(c.nodes) || s.Meta.Leader == "" {
				return fmt.Errorf("%s knows %d servers and the leader %q", c.Name(i), s.Meta.Size, s.Meta.Leader)
			}
			if err := ask(c.NodeURL(i), "$JS.API.INFO", "", new(struct{})); err != nil {
				return fmt.Errorf("%s: %w", c.Name(i), err)
			}
			leaders[s.Meta.Leader] = true
		}
		for name := range leaders {
			if len(leaders) > 1 || !c.runs(name) {
				return fmt.Errorf("leaders %v", leaders)
			}
		}
		return nil
	})
}

func (c *Cluster) runs(name string) bool {
	i := c.index(name)
	return i >= 0 && c.nodes[i].up
}

func (c *Cluster) index(name string) int {
	return slices.IndexFunc(c.plan.Nodes, func(n stream.Node) bool { return n.Name == name })
}

// Leader waits until more than half of all servers follow one leader of a
// stream of the ledger's account, and returns it. Servers in except, the leader
// before a fault for one, are not waited for.
func (c *Cluster) Leader(name string, except ...int) (leader int) {
	c.tb.Helper()
	c.await("stream "+name+" has a leader", func() error {
		votes := make(map[string]int)
		for i, n := range c.nodes {
			if !n.up {
				continue
			}
			s, err := c.look(i)
			if err != nil {
				continue
			}
			votes[s.leader(name)]++
		}
		for server, n := range votes {
			if leader = c.index(server); c.runs(server) && n > len(c.nodes)/2 && !slices.Contains(except, leader) {
				return nil
			}
		}
		return fmt.Errorf("votes %v", votes)
	})
	return leader
}

// A state is what a server says of itself and its streams.
type state struct {
	Meta struct {
		Leader string
		Size   int `json:"cluster_size"`
	} `json:"meta_cluster"`
	Accounts []struct {
		Streams []struct {
			Name    string
			Cluster struct{ Leader string }
		} `json:"stream_detail"`
	} `json:"account_details"`
}

func (s state) leader(name string) string {
	for _, account := range s.Accounts {
		for _, detail := range account.Streams {
			if detail.Name == name {
				return detail.Cluster.Leader
			}
		}
	}
	return ""
}

// look asks server i for its state.
func (c *Cluster) look(i int) (s state, err error) {
	answer := struct{ Data *state }{&s}
	err = ask(c.only(i).SystemURL(), "$SYS.REQ.SERVER.%s.JSZ", `{"accounts":true,"streams":true}`, &answer)
	if err != nil {
		return s, fmt.Errorf("%s: %w", c.Name(i), err)
	}
	return s, nil
}

// quiet keeps the library from writing to standard error.
func quiet(*nats.Conn, *nats.Subscription, error) {}

// ask sends one question over a connection of its own, since one that is kept
// would be as old as the server before it was killed. The id of the server
// stands for %s.
func ask(url, subject, question string, answer any) error {
	nc, err := nats.Connect(url, nats.NoReconnect(), nats.Timeout(time.Second), nats.ErrorHandler(quiet))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer nc.Close()
	if strings.Contains(subject, "%s") {
		subject = fmt.Sprintf(subject, nc.ConnectedServerId())
	}
	m, err := nc.Request(subject, []byte(question), time.Second)
	if err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	return json.Unmarshal(m.Data, answer)
}
