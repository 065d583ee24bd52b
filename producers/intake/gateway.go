package intake

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"todoke/ledger"
	"todoke/producers"
)

// A Gateway takes a municipality's files and remembers what was sent. One
// process at a time has its folder; within it, a Gateway is safe for use by
// several goroutines.
type Gateway struct {
	config  Config
	folder  folder
	fileKey [32]byte

	mu       sync.Mutex        // guards what follows, and the moment at which a batch appears
	byDigest map[string]string // batch by the digest of its file
	batches  map[string]bool
	doubtful *Manifest // a batch that has appeared, and the disk failed to say that it will stay
}

// Open opens the gateway in c.Dir and makes it on first use. It removes what an
// interrupted Take left, and checks every batch that is there. It returns
// [ledger.ErrLocked] while another process has the folder and [ErrDamaged]
// when the folder contradicts itself.
func Open(c Config) (*Gateway, error) {
	c, err := c.ready()
	if err != nil {
		return nil, fmt.Errorf("open gateway: %w", err)
	}
	f, err := openFolder(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("open gateway: %w", err)
	}
	g := &Gateway{config: c, folder: f, byDigest: map[string]string{}, batches: map[string]bool{}}
	if err := g.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open gateway: %w", err), f.close())
	}
	return g, nil
}

// load reads the file key and the index of batches.
func (g *Gateway) load() error {
	names, err := g.folder.batches()
	if err != nil {
		return err
	}
	if g.fileKey, err = g.folder.key(g.config.Rand, len(names) == 0); err != nil {
		return err
	}
	for _, name := range names {
		m, err := g.folder.manifest(name)
		if err != nil {
			return err
		}
		if b, _ := producers.ParseBatch(name); b.Municipality != g.config.Municipality {
			return fmt.Errorf("batch %s is of another municipality than %s", name, g.config.Municipality)
		}
		if other, twice := g.byDigest[m.Digest]; twice {
			return fmt.Errorf("batches %s and %s are of one file: %w", other, name, ErrDamaged)
		}
		g.byDigest[m.Digest], g.batches[name] = name, true
	}
	return nil
}

// Close gives the folder up.
func (g *Gateway) Close() error { return g.folder.close() }

// Party returns who the gateway speaks as.
func (g *Gateway) Party() ledger.Party {
	return ledger.Party(string(ledger.Municipality) + ":" + g.config.Municipality)
}

// Batches returns the names of all batches that were taken, in order.
func (g *Gateway) Batches() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Sorted(maps.Keys(g.batches))
}

// Manifest returns what is remembered of a batch. The error is [ErrNoBatch],
// [ErrDamaged] or the disk's.
func (g *Gateway) Manifest(batch string) (Manifest, error) {
	if !g.has(batch) {
		return Manifest{}, fmt.Errorf("batch %.24q: %w", batch, ErrNoBatch)
	}
	return g.folder.manifest(batch)
}

// BatchKey returns the key under which the items of a batch were committed to.
// It travels with the file on the dedicated line and never through the ledger.
// The error is as of [Gateway.Manifest].
func (g *Gateway) BatchKey(batch string) ([32]byte, error) {
	if !g.has(batch) {
		return [32]byte{}, fmt.Errorf("batch %.24q: %w", batch, ErrNoBatch)
	}
	return g.folder.batchKey(batch)
}

func (g *Gateway) has(batch string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.batches[batch]
}

// Take reads a municipal file in one pass and makes a batch of it, all or
// nothing. When it returns nil the batch is on the disk, whole; nothing is in
// the ledger yet, see [Manifest.Report]. A file that was taken before gives the
// same batch again with Known set. The error is a [Refusal] when the file has a
// fault, [ErrTooManyBatches], or the reader's, the disk's or the context's; the
// gateway then remembers nothing of the file.
func (g *Gateway) Take(ctx context.Context, r io.Reader) (Manifest, error) {
	d, err := g.folder.draft(g.config.Rand)
	if err != nil {
		return Manifest{}, fmt.Errorf("take file: %w", err)
	}
	defer d.discard()
	digest := hmac.New(sha256.New, g.fileKey[:])
	io.WriteString(digest, "todoke/file/v1")

	m, err := survey(ctx, g.config, io.TeeReader(r, digest), d.add)
	if errors.Is(err, ErrRefused) {
		return Manifest{}, err
	}
	if err != nil {
		return Manifest{}, fmt.Errorf("take file: %w", err)
	}
	m.Root, m.Digest = d.root.Root(), hex.EncodeToString(digest.Sum(nil))
	if m, err = g.keep(d, m); err != nil {
		return Manifest{}, fmt.Errorf("take file: %w", err)
	}
	return m, nil
}

// keep makes a batch of a draft, unless its file is known.
func (g *Gateway) keep(d *draft, m Manifest) (Manifest, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.resolve(); err != nil {
		return Manifest{}, err
	}
	if batch, ok := g.byDigest[m.Digest]; ok {
		known, err := g.folder.manifest(batch)
		known.Known = true
		return known, err
	}
	m.Created = g.config.Now().UTC()
	b, err := g.nextBatch(m.Created)
	if err != nil {
		return Manifest{}, err
	}
	m.Batch = b.String()
	if err := d.commit(m); err != nil {
		if _, missing := os.Lstat(g.folder.path(m.Batch)); missing == nil {
			g.doubtful = &m
		}
		return Manifest{}, err
	}
	g.byDigest[m.Digest], g.batches[m.Batch] = m.Batch, true
	return m, nil
}

// resolve makes a batch durable that a failing disk left open, as the next Open
// would. Until then nothing is said about any batch.
func (g *Gateway) resolve() error {
	if g.doubtful == nil {
		return nil
	}
	if err := syncDir(g.folder.path()); err != nil {
		return err
	}
	g.byDigest[g.doubtful.Digest], g.batches[g.doubtful.Batch] = g.doubtful.Batch, true
	g.doubtful = nil
	return nil
}

// nextBatch returns the name of the next batch of the day, as it is in Japan.
func (g *Gateway) nextBatch(now time.Time) (producers.Batch, error) {
	next := producers.Batch{Municipality: g.config.Municipality, Date: now.In(ledger.JST).Format("20060102"), Number: 1}
	for name := range g.batches {
		if b, _ := producers.ParseBatch(name); b.Date == next.Date {
			next.Number = max(next.Number, b.Number+1)
		}
	}
	if next.Number > producers.MaxBatchNumber {
		return next, ErrTooManyBatches
	}
	return next, nil
}
