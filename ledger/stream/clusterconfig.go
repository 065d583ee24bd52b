package stream

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"text/template"

	"todoke/ledger"
)

// A Cluster is a group of nats-server processes that keep one ledger together.
// Each acknowledges an event when more than half of them have it on the disk.
// It holds the secrets of all of them.
type Cluster struct {
	Name  string
	Nodes []Node
	// Password is that of the user todoke, who may do everything in the
	// account of the ledger and nothing outside it.
	Password string
	// SystemPassword is that of the user system, who sees how each server
	// runs, and no event.
	SystemPassword string
	RoutePassword  string // with which the servers know each other
}

// A Node is one server of a [Cluster].
type Node struct {
	Name       string // its own within the cluster, for ever
	Host       string // under which the others and the clients find it
	ClientPort int
	RoutePort  int    // for the other servers
	StoreDir   string // on its own machine
}

// Users of a cluster's configuration.
const (
	ledgerUser = "todoke"
	systemUser = "system"
	routeUser  = "route"
)

// NewCluster returns a cluster with passwords drawn from random. It needs an odd
// number of nodes, at least three: of four no more may fail than of three.
func NewCluster(name string, nodes []Node, random io.Reader) (Cluster, error) {
	c := Cluster{Name: name, Nodes: nodes}
	if err := c.check(); err != nil {
		return Cluster{}, fmt.Errorf("configure cluster %q: %w", name, err)
	}
	for _, password := range []*string{&c.Password, &c.SystemPassword, &c.RoutePassword} {
		var err error
		if *password, err = newToken(random); err != nil {
			return Cluster{}, err
		}
	}
	return c, nil
}

// check refuses what would give files that no server reads, or servers that
// never find each other.
func (c Cluster) check() error {
	if len(c.Nodes) < 3 || len(c.Nodes)%2 == 0 {
		return fmt.Errorf("%d nodes: want 3 or 5", len(c.Nodes))
	}
	if err := checkWord(c.Name); err != nil {
		return err
	}
	seen := make(map[string]bool)
	for _, n := range c.Nodes {
		for _, word := range []string{n.Name, n.Host, n.StoreDir} {
			if err := checkWord(word); err != nil {
				return fmt.Errorf("node %q: %w", n.Name, err)
			}
		}
		for _, unique := range []string{n.Name, address(n.Host, n.ClientPort), address(n.Host, n.RoutePort)} {
			if seen[unique] {
				return fmt.Errorf("node %q: %s is used twice", n.Name, unique)
			}
			seen[unique] = true
		}
		if min(n.ClientPort, n.RoutePort) < 1 || max(n.ClientPort, n.RoutePort) > 65535 {
			return fmt.Errorf("node %q: ports %d and %d: want 1 to 65535", n.Name, n.ClientPort, n.RoutePort)
		}
	}
	return nil
}

// checkWord refuses what cannot stand between quotation marks in the file, or
// would not be one word.
func checkWord(word string) error {
	if word == "" || strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`"\*>`, r) }) {
		return fmt.Errorf("%q: want a word without spaces, quotation marks, backslashes, * and >", word)
	}
	return nil
}

//go:embed cluster.conf.tmpl
var clusterFile string

// Config returns the configuration file of node i, with comments that say what
// each part is for. It holds passwords.
func (c Cluster) Config(i int) string {
	var routes []string
	for _, n := range c.Nodes {
		routes = append(routes, link("nats-route", routeUser, c.RoutePassword, n.Host, n.RoutePort))
	}
	node := c.Nodes[i]
	var text bytes.Buffer
	// A template and its values are both of this file: it cannot fail.
	_ = template.Must(template.New("").Parse(clusterFile)).Execute(&text, map[string]any{
		"Cluster": c, "Node": node, "Routes": routes, "MaxPayload": 2 * ledger.MaxBody,
		"Client": address(node.Host, node.ClientPort), "Route": address(node.Host, node.RoutePort),
		"LedgerUser": ledgerUser, "SystemUser": systemUser, "RouteUser": routeUser,
	})
	return text.String()
}

// URL returns the addresses of all nodes, separated by commas, for the service
// that keeps the ledger. It holds a password.
func (c Cluster) URL() string { return c.urls(ledgerUser, c.Password) }

// SystemURL returns the addresses of all nodes for [Peers]. It holds a password.
func (c Cluster) SystemURL() string { return c.urls(systemUser, c.SystemPassword) }

func (c Cluster) urls(user, password string) string {
	var all []string
	for _, n := range c.Nodes {
		all = append(all, link("nats", user, password, n.Host, n.ClientPort))
	}
	return strings.Join(all, ",")
}

func link(scheme, user, password, host string, port int) string {
	u := url.URL{Scheme: scheme, User: url.UserPassword(user, password), Host: address(host, port)}
	return u.String()
}

func address(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
