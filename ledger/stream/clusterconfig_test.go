package stream

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"todoke/ledger"
)

var update = flag.Bool("update", false, "write the golden files anew")

// threeNodes returns nodes on three machines.
func threeNodes() (nodes []Node) {
	for _, name := range []string{"a", "b", "c"} {
		nodes = append(nodes, Node{Name: "n-" + name, Host: name + ".example", ClientPort: 4222, RoutePort: 6222, StoreDir: "/var/lib/todoke-nats"})
	}
	return nodes
}

// threeOf returns the cluster of threeNodes with the same passwords every time.
func threeOf(t *testing.T) Cluster {
	t.Helper()
	c, err := NewCluster("katsushika", threeNodes(), bytes.NewReader([]byte(strings.Repeat("\xaa", 16)+strings.Repeat("\xbb", 16)+strings.Repeat("\xcc", 16))))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClusterConfigIsWhatTheServerReads(t *testing.T) {
	c := threeOf(t)
	for i, node := range c.Nodes {
		o := parse(t, c.Config(i))
		if o.ServerName != node.Name || o.Host != node.Host || o.Port != 4222 {
			t.Errorf("server %s listens at %s:%d", o.ServerName, o.Host, o.Port)
		}
		if !o.JetStream || !o.SyncAlways || o.StoreDir != node.StoreDir || o.MaxPayload != 2*ledger.MaxBody {
			t.Errorf("JetStream %t, sync always %t in %s, payload %d", o.JetStream, o.SyncAlways, o.StoreDir, o.MaxPayload)
		}
		if o.Cluster.Name != c.Name || o.Cluster.Port != 6222 || o.Cluster.Username != "route" || o.Cluster.Password != c.RoutePassword || !o.Cluster.NoAdvertise {
			t.Errorf("cluster %+v", o.Cluster)
		}
		for i, r := range o.Routes {
			if password, _ := r.User.Password(); r.Host != c.Nodes[i].Host+":6222" || password != c.RoutePassword {
				t.Errorf("route %s", r)
			}
		}
		if len(o.Routes) != len(c.Nodes) {
			t.Errorf("%d routes", len(o.Routes))
		}
	}
}

func TestClusterConfigHasNoWayInWithoutPassword(t *testing.T) {
	c := threeOf(t)
	o := parse(t, c.Config(0))
	var users []string
	for _, u := range o.Users {
		users = append(users, fmt.Sprintf("%s of %s: %s", u.Username, u.Account.Name, u.Password))
	}
	slices.Sort(users)
	want := []string{"system of SYS: " + c.SystemPassword, "todoke of LEDGER: " + c.Password}
	if !slices.Equal(users, want) || len(o.Nkeys) > 0 || o.NoAuthUser != "" || o.SystemAccount != "SYS" {
		t.Errorf("users %q, want %q; no_auth_user %q, system account %q", users, want, o.NoAuthUser, o.SystemAccount)
	}
	if c.Password == c.SystemPassword || c.Password == c.RoutePassword || len(c.Password) < 32 {
		t.Errorf("passwords %q, %q, %q", c.Password, c.SystemPassword, c.RoutePassword)
	}
}

func TestClusterConfigGolden(t *testing.T) {
	text := threeOf(t).Config(1)
	name := filepath.Join("testdata", "cluster.conf")
	if *update {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(golden) {
		t.Errorf("the file is now:\n%s", text)
	}
}

func TestClusterURLs(t *testing.T) {
	c := threeOf(t)
	p, s := strings.Repeat("aa", 16), strings.Repeat("bb", 16)
	if want := "nats://todoke:" + p + "@a.example:4222,nats://todoke:" + p + "@b.example:4222,nats://todoke:" + p + "@c.example:4222"; c.URL() != want {
		t.Errorf("%s, want %s", c.URL(), want)
	}
	if want := "nats://system:" + s + "@a.example:4222,nats://system:" + s + "@b.example:4222,nats://system:" + s + "@c.example:4222"; c.SystemURL() != want {
		t.Errorf("%s, want %s", c.SystemURL(), want)
	}
}

func TestNewClusterRefuses(t *testing.T) {
	for name, change := range map[string]func([]Node) []Node{
		"two nodes": func(n []Node) []Node { return n[:2] },
		"four nodes": func(n []Node) []Node {
			return append(n, Node{Name: "d", Host: "d", ClientPort: 1, RoutePort: 2, StoreDir: "/d"})
		},
		"a name twice":           func(n []Node) []Node { n[1].Name = n[0].Name; return n },
		"an address twice":       func(n []Node) []Node { n[1].Host = n[0].Host; return n },
		"both ports the same":    func(n []Node) []Node { n[1].RoutePort = n[1].ClientPort; return n },
		"no name":                func(n []Node) []Node { n[0].Name = ""; return n },
		"a name with a space":    func(n []Node) []Node { n[0].Name = "n a"; return n },
		"a quotation mark":       func(n []Node) []Node { n[0].StoreDir = `/a" } }`; return n },
		"a line break":           func(n []Node) []Node { n[0].Host = "a\nhttp_port: 1"; return n },
		"no folder":              func(n []Node) []Node { n[2].StoreDir = ""; return n },
		"no port":                func(n []Node) []Node { n[2].ClientPort = 0; return n },
		"a port that is not one": func(n []Node) []Node { n[2].RoutePort = 65536; return n },
	} {
		t.Run(name, func(t *testing.T) {
			if c, err := NewCluster("katsushika", change(threeNodes()), strings.NewReader(strings.Repeat("x", 48))); err == nil {
				t.Errorf("it was taken: %+v", c)
			}
		})
	}
	if _, err := NewCluster("", threeNodes(), strings.NewReader(strings.Repeat("x", 48))); err == nil {
		t.Error("a cluster without a name was taken")
	}
	if _, err := NewCluster("katsushika", threeNodes(), strings.NewReader("short")); err == nil {
		t.Error("a cluster without passwords was made")
	}
}

func parse(t *testing.T, text string) *server.Options {
	t.Helper()
	name := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := server.ProcessConfigFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return o
}
