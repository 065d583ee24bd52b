package stream

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"todoke/ledger"
)

func TestCheckPeers(t *testing.T) {
	good := func(name string) Peer { return Peer{Name: name, Version: "2.15.2", SyncAlways: true} }
	for name, c := range map[string]struct {
		peers []Peer
		want  error
		says  []string
	}{
		"all as they should be":    {[]Peer{good("a"), good("b"), good("c")}, nil, nil},
		"a newer one":              {[]Peer{good("a"), {"b", "2.16.0-RC.1", true}, {"c", "3.0.1", true}}, nil, nil},
		"another that holds none":  {[]Peer{good("a"), good("b"), good("c"), {"gateway", "2.9.0", false}}, nil, nil},
		"one does not sync":        {[]Peer{good("a"), {"b", "2.15.2", false}, good("c")}, ledger.ErrDrift, []string{"b acknowledges", "sync_interval: always"}},
		"one is too old":           {[]Peer{good("a"), good("b"), {"c", "2.14.9", true}}, ledger.ErrDrift, []string{"c runs nats-server 2.14.9", "2.15"}},
		"one is much too old":      {[]Peer{good("a"), good("b"), {"c", "1.99.0", true}}, ledger.ErrDrift, []string{"c runs"}},
		"a version of no number":   {[]Peer{good("a"), good("b"), {"c", "dev", true}}, ledger.ErrDrift, []string{"c runs"}},
		"each is wrong in its way": {[]Peer{{"a", "2.11.0", false}, {"b", "2.15.2", false}}, ledger.ErrDrift, []string{"a runs", "a acknowledges", "b acknowledges", "do not answer: c"}},
		"two are down":             {[]Peer{good("b")}, ledger.ErrUnavailable, []string{"a, c"}},
		"nobody":                   {nil, ledger.ErrUnavailable, []string{"a, b, c"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := CheckPeers(c.peers, []string{"a", "b", "c"})
			if !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			for _, word := range c.says {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q does not say %q", err, word)
				}
			}
		})
	}
	if err := CheckPeers([]Peer{good("a")}, nil); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("a stream that nobody holds: %v", err)
	}
}

// TestPeers asks a real server, alone, that syncs and one that does not.
func TestPeers(t *testing.T) {
	for _, always := range []bool{true, false} {
		t.Run(fmt.Sprint("sync always ", always), func(t *testing.T) {
			c := alone(t, always)
			peers, err := Peers(t.Context(), c.SystemURL())
			if want := []Peer{{"n-a", server.VERSION, always}}; err != nil || !slices.Equal(peers, want) {
				t.Errorf("%v, %v, want %v", peers, err, want)
			}
			if peers, err := Peers(t.Context(), c.URL()); !errors.Is(err, ledger.ErrUnavailable) {
				t.Errorf("as the ledger's user: %v, %v", peers, err)
			}
			c.SystemPassword = "wrong"
			if peers, err := Peers(t.Context(), c.SystemURL()); !errors.Is(err, ledger.ErrUnavailable) {
				t.Errorf("with a wrong password: %v, %v", peers, err)
			}
		})
	}
	if peers, err := Peers(t.Context(), "nats://127.0.0.1:1"); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("where nobody is: %v, %v", peers, err)
	}
}

// alone starts the first server of a cluster without the cluster.
func alone(t *testing.T, always bool) Cluster {
	t.Helper()
	c := threeOf(t)
	o := parse(t, c.Config(0))
	o.Cluster, o.Routes = server.ClusterOpts{}, nil
	o.Host, o.Port, o.StoreDir, o.SyncAlways = "127.0.0.1", server.RANDOM_PORT, t.TempDir(), always
	o.NoSigs, o.NoLog = true, true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(startTimeout) {
		t.Fatal("the server is not ready")
	}
	c.Nodes = []Node{{Host: "127.0.0.1", ClientPort: o.Port}}
	return c
}
