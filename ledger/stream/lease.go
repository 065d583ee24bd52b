package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"todoke/ledger"
)

// Where the lease stands, and for how long.
const (
	leaseBucket = "TODOKE"
	leaseKey    = "committer"
	leaseTime   = 10 * time.Second
	leaseRenew  = time.Second
	// makeTimeout bounds the making of a stream on a cluster, which may have to
	// elect a leader first.
	makeTimeout = 20 * time.Second
)

// A lease says which of several processes on a cluster is the committer. It
// decides who tries, and nothing else: whoever believes to have it and has not is
// thrown out by the fence. So it is never too late to renew it, as long as nobody
// else has it.
type lease struct {
	kv       jetstream.KeyValue
	create   func(context.Context) (jetstream.KeyValue, error) // the bucket, when there is none
	holder   []byte
	revision uint64
	// seen is when the holder before us renewed it last, as far as we saw.
	seen time.Time
}

// A Holder is who has the lease, as it says itself.
type Holder struct {
	Host string `json:"host"`
	PID  int    `json:"pid"`
	// Token tells it from another process of the same name and pid.
	Token string `json:"token"`
	// Unchecked is set when nobody has asked the servers whether they sync what
	// they acknowledge.
	Unchecked bool `json:"unchecked,omitempty"`
}

// Holder returns who commits to the ledger on a cluster. The error is an
// [ledger.ErrUnavailable] when nobody does.
func (r *Reader) Holder(ctx context.Context) (h Holder, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.patience)
	defer cancel()
	kv, err := r.js.KeyValue(ctx, leaseBucket)
	if err != nil {
		return h, fmt.Errorf("ask who has the lease: %w: %w", ledger.ErrUnavailable, err)
	}
	entry, err := kv.Get(ctx, leaseKey)
	if err != nil {
		return h, fmt.Errorf("ask who has the lease: %w: %w", ledger.ErrUnavailable, err)
	}
	if err := json.Unmarshal(entry.Value(), &h); err != nil {
		return h, fmt.Errorf("read who has the lease: %w", err)
	}
	return h, nil
}

// newLease finds the bucket of the lease and makes it on first use.
func newLease(ctx context.Context, nc *nats.Conn, replicas int, h Holder) (*lease, error) {
	ctx, cancel := context.WithTimeout(ctx, makeTimeout)
	defer cancel()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	create := func(ctx context.Context) (jetstream.KeyValue, error) {
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		return js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: leaseBucket, Description: "which process commits to the ledger", TTL: leaseTime, Replicas: replicas,
		})
	}
	kv, err := create(ctx)
	for err != nil && wait(ctx, leaseRenew) {
		// No leader yet; or another process makes it in the same moment, which a
		// cluster may answer to neither.
		kv, err = create(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("make the lease: %w: %w", ledger.ErrUnavailable, err)
	}
	holder, err := json.Marshal(h)
	return &lease{kv: kv, create: create, holder: holder}, err
}

// take takes the lease when nobody has it. Otherwise it returns who does.
func (l *lease) take(ctx context.Context) (taken bool, holder string, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	l.revision, err = l.kv.Create(ctx, leaseKey, l.holder)
	if err == nil {
		return true, "", nil
	}
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		_, _ = l.create(ctx) // somebody has deleted the bucket: the next try finds a new one
	}
	if !errors.Is(err, jetstream.ErrKeyExists) {
		return false, "", fmt.Errorf("take the lease: %w: %w", ledger.ErrUnavailable, err)
	}
	entry, err := l.kv.Get(ctx, leaseKey)
	if err != nil {
		return false, "", nil // it has just gone: the next try gets it
	}
	l.seen = entry.Created()
	return false, string(entry.Value()), nil
}

// hold renews the lease until ctx is done, and gives it up then. It returns
// [ledger.ErrFenced] when somebody else has taken it. A cluster that does not
// answer is no reason to stop.
func (l *lease) hold(ctx context.Context) error {
	tick := time.NewTicker(leaseRenew)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			l.giveUp()
			return nil
		case <-tick.C:
		}
		if err := l.renew(ctx); err != nil {
			return err
		}
	}
}

func (l *lease) renew(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	revision, err := l.kv.Update(short, leaseKey, l.holder, l.revision)
	switch {
	case err == nil:
		l.revision = revision
		return nil
	case codeOf(err) != codeWrongLastSequence && codeOf(err) != codeWrongLastSequenceConstant:
		return nil
	}
	// It expired, or an answer to us was lost, or another process has it.
	entry, err := l.kv.Get(short, leaseKey)
	switch {
	case err == nil && string(entry.Value()) == string(l.holder):
		l.revision = entry.Revision()
		return nil
	case err == nil:
		return fmt.Errorf("%s has the lease: %w", entry.Value(), ledger.ErrFenced)
	case errors.Is(err, jetstream.ErrKeyNotFound):
		if revision, err := l.kv.Create(short, leaseKey, l.holder); err == nil {
			l.revision = revision
		}
	}
	return nil
}

// giveUp lets a standby take the lease without waiting for its end. A crash
// instead means that it waits.
func (l *lease) giveUp() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = l.kv.Delete(ctx, leaseKey, jetstream.LastRevision(l.revision))
}
