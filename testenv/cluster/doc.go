// Package cluster runs a real cluster: nats-server processes of the version that
// the module requires, on the loopback interface, with the configuration that
// the product itself writes (stream.Cluster). They are killed, paused and cut off
// from each other as processes of three machines would be.
//
// # How servers are cut off
//
// With [Config].Proxied each server finds each other one through a
// [fault.Proxy] of its own:
//
//	n1 ── proxy 1→2 ──▶ n2      made by n1; carries what both say
//	n1 ◀── proxy 2→1 ── n2      made by n2
//
// Which of the two connections a pair keeps is theirs to settle, so that what n1
// says to n2 is held on both. Servers also tell each other of third ones; the
// address that they are made to give away (--cluster_advertise) leads nowhere,
// so that no connection passes the proxies by. A partition keeps back and loses
// nothing: connections stay, nobody is told, and what was said arrives when it
// heals. That is what a network does that comes back; a server notices by
// silence alone.
//
// Clients connect without proxies. A client of a server that is cut off is cut
// off with it.
//
// # Time
//
// Every wait is a poll of a condition and ends after half a minute with a test
// that has failed. On two cores a cluster is ready after 0.3 to 1.5 s. A stream
// whose leader was killed or paused stores again after 4 to 8 s: the servers wait
// at least 4 s before they elect another, which cannot be configured. After a kill
// of all of them it takes 5 to 9 s.
//
// # Worked example
//
//	c := cluster.Start(t, cluster.Config{Proxied: true})
//	// open a ledger with c.URL()
//	old := c.Leader(stream.Name)
//	c.Partition([]int{old})                // alone, against the others
//	c.Leader(stream.Name, old)             // waits until they have one of their own
//	c.Heal()
//	c.WaitReady()
package cluster
