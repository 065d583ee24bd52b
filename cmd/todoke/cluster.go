package main

import (
	"crypto/rand"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"todoke/ledger/stream"
)

// clusterFlags say how the servers that --nats names keep a ledger.
type clusterFlags struct {
	Replicas      int    `help:"With --nats: how many servers keep the ledger." default:"3"`
	NatsSystem    string `help:"With --nats: the same servers with a user of the system account, to check that they sync what they acknowledge." env:"TODOKE_NATS_SYSTEM" placeholder:"URL"`
	UncheckedSync bool   `help:"With --nats: go without that check; every command says so."`
}

// address returns where the servers are. That nobody checks them has to be said.
func (c *clusterFlags) address(a *app) (stream.Address, error) {
	if (c.NatsSystem == "") != c.UncheckedSync {
		return stream.Address{}, usagef("--nats wants one of --nats-system, to check that the servers sync what they acknowledge, and --unchecked-sync")
	}
	return stream.Address{URL: a.Nats, SystemURL: c.NatsSystem, Replicas: c.Replicas}, nil
}

// Of the servers that printCluster configures.
const (
	natsPort    = 4222
	routeOffset = 2000 // 6222 for the other servers, where clients have 4222
	natsStore   = "/var/lib/todoke-nats"
)

// printCluster prints a configuration file for each server that --nats names, one
// behind the other, and what to call todoke with.
func (c *serveCommand) printCluster(a *app) error {
	nodes, err := clusterNodes(a.Nats)
	if err != nil {
		return err
	}
	cluster, err := stream.NewCluster("todoke", nodes, rand.Reader)
	if err != nil {
		return usagef("--nats: %v", err)
	}
	for i, n := range nodes {
		fmt.Fprintf(a.out, "##### %s.conf: on %s, readable by its user alone: nats-server -c %s.conf\n%s\n", n.Name, n.Host, n.Name, cluster.Config(i))
	}
	_, err = fmt.Fprintf(a.out, "##### todoke.env: for todoke serve --replicas %d\nTODOKE_NATS=%s\nTODOKE_NATS_SYSTEM=%s\n", len(nodes), cluster.URL(), cluster.SystemURL())
	return err
}

// clusterNodes returns the servers of a URL, named in their order.
func clusterNodes(text string) (nodes []stream.Node, err error) {
	if text == "" {
		return nil, usagef("--print-cluster-config: name the servers, as in --nats nats://a,nats://b,nats://c")
	}
	for i, one := range strings.Split(text, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil || u.Scheme != "nats" || u.Hostname() == "" {
			return nil, usagef("--nats: %q is not nats://host:port", one)
		}
		port := natsPort
		if p := u.Port(); p != "" {
			if port, err = strconv.Atoi(p); err != nil {
				return nil, usagef("--nats: port %q", p)
			}
		}
		name := "todoke-" + strconv.Itoa(i+1)
		nodes = append(nodes, stream.Node{Name: name, Host: u.Hostname(), ClientPort: port, RoutePort: port + routeOffset, StoreDir: natsStore + "/" + name})
	}
	return nodes, nil
}
