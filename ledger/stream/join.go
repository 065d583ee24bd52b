package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"todoke/ledger"
)

// An Address says where the servers of a cluster are.
type Address struct {
	// URL holds a user of the ledger's account and one or more servers:
	// nats://user:password@a:4222,nats://b:4222. See [Cluster.URL].
	URL string
	// SystemURL holds a user of the system account; see [Cluster.SystemURL].
	// Without one nobody checks that the servers sync what they acknowledge.
	SystemURL string
	Replicas  int // of the ledger's stream
}

// Join opens a ledger on a cluster of nats-server processes, and makes one where
// there is none and cfg has an Opening. cfg.Dir holds the name of the ledger, so
// that another one is not taken for it.
//
// When another process commits to the ledger, Join reads it and waits as a
// standby, until that one gives up its lease or has not renewed it for 10
// seconds. The errors are those of [Open], and
//
//   - [ledger.ErrUnavailable] when the cluster does not answer;
//   - [ledger.ErrDrift] when a server does not sync what it acknowledges.
func Join(ctx context.Context, cfg Config, at Address) (*Ledger, error) {
	if cfg.Now == nil || cfg.Rand == nil || cfg.Dir == "" || cfg.Key == nil || at.URL == "" || at.Replicas < 1 {
		return nil, errors.New("join ledger: Dir, Now, Rand, Party, Key, URL and Replicas are required")
	}
	lock, alive, err := lockFolder(cfg.Dir)
	if err != nil {
		return nil, err
	}
	l := &Ledger{cfg: cfg, lock: lock, alive: alive, at: at}
	l.close = sync.OnceValue(l.shut)
	if err := l.join(ctx); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// join goes through the start in order. A crash at any step leaves what the next
// start goes on with, and a lease that ends by itself.
func (l *Ledger) join(ctx context.Context) (err error) {
	if l.inside, err = l.connect(); err != nil {
		return err
	}
	if err := l.openStream(ctx); err != nil && !l.mayMake(err) {
		return err
	}
	holder, err := l.holder()
	if err != nil {
		return err
	}
	lease, err := newLease(ctx, l.inside, l.at.Replicas, holder)
	if err != nil {
		return err
	}
	if err := l.stand(ctx, lease); err != nil {
		return err
	}
	if l.committer == nil {
		if err := l.makeStream(ctx); err != nil {
			return err
		}
		if err := l.openStream(ctx); err != nil {
			return err
		}
	}
	if lease.seen.After(l.alive) {
		l.alive = lease.seen
	}
	l.keep(lease)
	// The lease and the stream have leaders of their own: that of the stream may
	// still be missing.
	for err := l.catchUp(ctx); err != nil; err = l.catchUp(ctx) {
		if !errors.Is(err, ledger.ErrUnavailable) || !wait(ctx, leaseRenew) {
			return err
		}
	}
	return l.begin(ctx)
}

// holder is how this process names itself in the lease.
func (l *Ledger) holder() (Holder, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	token, err := newToken(l.cfg.Rand)
	return Holder{Host: host, PID: os.Getpid(), Token: token, Unchecked: l.at.SystemURL == ""}, err
}

// mayMake reports whether what openStream did not find may be made.
func (l *Ledger) mayMake(err error) bool {
	return errors.Is(err, ledger.ErrNoLedger) && l.cfg.Opening.Pack != nil
}

// stand waits for the lease, and follows what the other process commits.
func (l *Ledger) stand(ctx context.Context, lease *lease) error {
	tick := time.NewTicker(leaseRenew)
	defer tick.Stop()
	said := ""
	for {
		taken, holder, err := lease.take(ctx)
		if taken {
			return nil
		}
		if err == nil && holder != "" && holder != said {
			said = holder
			var h Holder
			_ = json.Unmarshal([]byte(holder), &h) // of another version it may be without
			l.cfg.Logger.Info().Str("host", h.Host).Int("pid", h.PID).Msg("standby: another process commits to this ledger")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if l.committer == nil {
			err = l.openStream(ctx)
		} else {
			err = l.catchUp(ctx)
		}
		if err != nil && !l.mayMake(err) && !errors.Is(err, ledger.ErrUnavailable) {
			return err
		}
	}
}

// keep renews the lease until the ledger is closed, and gives it up then. When
// another process has it, this committer is lost.
func (l *Ledger) keep(lease *lease) {
	held, release := context.WithCancel(context.Background())
	ended := make(chan struct{})
	l.release = func() { release(); <-ended }
	lose := l.lose
	go func() {
		defer close(ended)
		if err := lease.hold(held); err != nil {
			lose(err)
		}
	}()
}

// checkPeers asks the servers that hold the stream how they run, as far as there
// is a credential to ask with.
func (l *Ledger) checkPeers(ctx context.Context, r *Reader) error {
	if l.at.SystemURL == "" {
		return nil
	}
	info, err := r.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("ask which servers hold the stream: %w", r.why(ctx, err))
	}
	var hosts []string
	if c := info.Cluster; c != nil {
		if c.Leader != "" { // none for a moment, while they elect one
			hosts = append(hosts, c.Leader)
		}
		for _, replica := range c.Replicas {
			hosts = append(hosts, replica.Name)
		}
	}
	peers, err := Peers(ctx, l.at.SystemURL)
	if err != nil {
		return err
	}
	if len(hosts) == 0 {
		return nil
	}
	found := CheckPeers(peers, hosts)
	if errors.Is(found, ledger.ErrDrift) {
		return found
	}
	// A server that is down acknowledges nothing. Run asks it when it is back.
	said := ""
	if found != nil {
		said = found.Error()
	}
	if said != "" && said != l.missing {
		l.cfg.Logger.Warn().Err(found).Msg("the ledger has fewer servers than it should")
	}
	l.missing = said
	return nil
}

// connectOutside connects to a cluster. It goes on trying for as long as the
// connection is open, and refuses to keep what it cannot send. Two lost answers
// to a question every second mean that a server hangs.
func connectOutside(address string) (*nats.Conn, error) {
	nc, err := nats.Connect(address, nats.Name("todoke"), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond),
		nats.ReconnectBufSize(-1), nats.PingInterval(time.Second), nats.MaxPingsOutstanding(2), nats.ErrorHandler(quiet))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w: %w", withoutSecrets(address), ledger.ErrUnavailable, err)
	}
	return nc, nil
}

// withoutSecrets returns the servers of a URL.
func withoutSecrets(address string) string {
	var hosts []string
	for _, one := range strings.Split(address, ",") {
		if u, err := url.Parse(strings.TrimSpace(one)); err == nil {
			hosts = append(hosts, u.Host)
		}
	}
	return strings.Join(hosts, ",")
}
