package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"todoke/ledger"
)

// A Peer is a server of a cluster, as it describes itself.
type Peer struct {
	Name       string
	Version    string // of nats-server
	SyncAlways bool   // it acknowledges what is on the disk
}

// The first version of nats-server that a ledger runs on. In those before it
// there are ways past sync_interval: always (blocks that were compacted were not
// synced), and none was tested with this program.
const (
	leastMajor = 2
	leastMinor = 15
)

// peersTimeout bounds the wait for an address where nobody answers, and for the
// answer of a server that the others know.
const peersTimeout = 2 * time.Second

// Peers asks every server that can be reached how it runs, over a connection to
// the system account (see [Cluster.SystemURL]), and returns them by name. A
// server of the cluster that is down is not among them. The error is an
// [ledger.ErrUnavailable] when nobody answers, or not to this credential.
func Peers(ctx context.Context, systemURL string) ([]Peer, error) {
	nc, err := nats.Connect(systemURL, nats.Name("todoke"), nats.Timeout(peersTimeout), nats.NoReconnect(), nats.ErrorHandler(quiet))
	if err != nil {
		return nil, fmt.Errorf("ask the servers how they run: %w: %w", ledger.ErrUnavailable, err)
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(ctx, peersTimeout)
	defer cancel()
	answers, err := nc.SubscribeSync(nc.NewRespInbox())
	if err != nil {
		return nil, fmt.Errorf("ask the servers how they run: %w: %w", ledger.ErrUnavailable, err)
	}
	if err := nc.PublishRequest("$SYS.REQ.SERVER.PING.JSZ", answers.Subject, nil); err != nil {
		return nil, fmt.Errorf("ask the servers how they run: %w: %w", ledger.ErrUnavailable, err)
	}
	return collect(ctx, answers)
}

// collect takes answers until the servers that know of each other have all
// given theirs.
func collect(ctx context.Context, answers *nats.Subscription) ([]Peer, error) {
	found := make(map[string]Peer)
	for size := 1; len(found) < size; {
		m, err := answers.NextMsgWithContext(ctx)
		if errors.Is(err, nats.ErrNoResponders) {
			return nil, fmt.Errorf("ask the servers how they run: this is not the system account: %w", ledger.ErrUnavailable)
		}
		if err != nil && len(found) == 0 {
			return nil, fmt.Errorf("ask the servers how they run: %w: %w", ledger.ErrUnavailable, err)
		}
		if err != nil {
			break // the others are down
		}
		peer, known, err := readPeer(m.Data)
		if err != nil {
			return nil, err
		}
		found[peer.Name] = peer
		size = max(size, known)
	}
	return slices.SortedFunc(maps.Values(found), func(a, b Peer) int { return strings.Compare(a.Name, b.Name) }), nil
}

// readPeer reads what a server says of itself, and how many servers it knows.
func readPeer(text []byte) (p Peer, known int, err error) {
	var answer struct {
		Server struct{ Name, Ver string }
		Data   struct {
			Config struct {
				SyncAlways bool `json:"sync_always"`
			}
			Meta struct {
				Size int `json:"cluster_size"`
			} `json:"meta_cluster"`
		}
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return p, 0, fmt.Errorf("read how a server runs: %w", err)
	}
	return Peer{Name: answer.Server.Name, Version: answer.Server.Ver, SyncAlways: answer.Data.Config.SyncAlways}, answer.Data.Meta.Size, nil
}

// CheckPeers judges the servers that hold the stream, by name. The error is an
// [ledger.ErrDrift] that names each one that is too old or does not sync, and
// what to do. When the others are as they should be and some did not answer, it
// is an [ledger.ErrUnavailable] that names them: a server that is down
// acknowledges nothing, but it has to be asked again when it is back.
func CheckPeers(peers []Peer, hosts []string) error {
	var wrong, silent []string
	for _, name := range hosts {
		i := slices.IndexFunc(peers, func(p Peer) bool { return p.Name == name })
		if i < 0 {
			silent = append(silent, name)
			continue
		}
		if old(peers[i].Version) {
			wrong = append(wrong, fmt.Sprintf("%s runs nats-server %s, which may lose what it acknowledged: update it to %d.%d or later",
				name, peers[i].Version, leastMajor, leastMinor))
		}
		if !peers[i].SyncAlways {
			wrong = append(wrong, name+" acknowledges before it syncs: start it with jetstream { sync_interval: always }")
		}
	}
	switch {
	case len(wrong) > 0 && len(silent) > 0:
		return fmt.Errorf("%w: %s; and unchecked, for they do not answer: %s", ledger.ErrDrift, strings.Join(wrong, "; "), strings.Join(silent, ", "))
	case len(wrong) > 0:
		return fmt.Errorf("%w: %s", ledger.ErrDrift, strings.Join(wrong, "; "))
	case len(silent) > 0:
		return fmt.Errorf("ask how they run: no answer from %s: %w", strings.Join(silent, ", "), ledger.ErrUnavailable)
	case len(hosts) == 0:
		return fmt.Errorf("ask which servers hold the stream: none does: %w", ledger.ErrUnavailable)
	}
	return nil
}

// old reports whether a version is before the first one, or cannot be read.
func old(version string) bool {
	var major, minor int
	if n, _ := fmt.Sscanf(version, "%d.%d", &major, &minor); n < 2 {
		return true
	}
	return major < leastMajor || major == leastMajor && minor < leastMinor
}
