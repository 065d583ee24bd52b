package stream

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/nats-io/nats-server/v2/server"

	"todoke/ledger"
)

// spare is how much of the disk is left free for what the broker writes beside
// events: its index, and the names of its files.
const spare = 1 << 20

// errDisk says that the disk failed to write although there is room on it.
var errDisk = errors.New("the disk failed to write; look after it, then start the ledger again")

// A disk is the disk below an embedded broker. A nil disk is another machine's,
// whose broker looks after it itself.
//
// The broker must never meet a full disk. It does not answer then, takes nothing
// more until its store is opened anew, and leaves the first part of an atomic
// batch behind (https://github.com/nats-io/nats-server, stream.go at 2.15.2: a
// failed write is latched, and the copying of a batch stops where it is). So
// there is a look at the disk before every write, and a cure for the case that
// somebody else takes the room in the moment between.
type disk struct {
	dir    string
	free   func(dir string) (bytes uint64, err error)
	server *server.Server
	said   *brokerLog
}

// room returns an [ledger.ErrStorageFull] unless so many bytes can be written. A
// batch is written twice.
func (d *disk) room(bytes int) error {
	if d == nil {
		return nil
	}
	free, err := d.free(d.dir)
	if err != nil {
		return fmt.Errorf("ask for room on the disk: %w: %w", ledger.ErrUnavailable, err)
	}
	if free < uint64(2*bytes+spare) {
		return fmt.Errorf("%d KiB are free in %s: %w", free>>10, d.dir, ledger.ErrStorageFull)
	}
	return nil
}

// free returns how much of the disk that holds dir anybody may use.
func free(dir string) (bytes uint64, err error) {
	var fs syscall.Statfs_t
	err = syscall.Statfs(dir, &fs)
	return fs.Bavail * uint64(fs.Bsize), err
}

// begin makes a store fit to be opened. It syncs what a broker wrote and may not
// have lived to sync, since events that are found there will be acknowledged. It
// refuses an unfinished batch without the room to finish it: the broker would try
// once, and forget the rest.
func (d *disk) begin() error {
	if err := d.sync(); err != nil {
		return err
	}
	staged := 0
	folders, err := filepath.Glob(filepath.Join(d.dir, storeName, "*", "streams", Name, "batches", "*", "msgs", "*"))
	if err != nil {
		return err
	}
	for _, name := range folders {
		if info, err := os.Stat(name); err == nil {
			staged += int(info.Size())
		}
	}
	if staged == 0 {
		return nil
	}
	return d.room(staged / 2)
}

// sync brings all blocks of the store to the disk, and their names.
func (d *disk) sync() error {
	names, err := filepath.Glob(filepath.Join(d.dir, storeName, "*", "streams", Name, "msgs", "*.blk"))
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := syncPath(name); err != nil {
			return fmt.Errorf("sync the store: %w", err)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return syncPath(filepath.Dir(names[0]))
}

// syncPath brings a file or the names in a folder to the disk.
func syncPath(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// heal looks whether the broker has stopped to write, and opens its store anew
// when the disk was full and is not any more. After that nothing is in doubt:
// what is stored is there, and nothing else will come. While the broker is sick
// what can be read from it need not be on the disk. The error is an
// [ledger.ErrStorageFull] while the disk is full, and errDisk when it failed: what
// a disk was asked to keep and did not, it is not asked for again, since what is
// read afterwards may only be in memory (https://lwn.net/Articles/752063/).
func (d *disk) heal(bytes int) error {
	if d == nil || d.server.Healthz(nil).Status == "ok" {
		return nil
	}
	if !d.said.wasFull() {
		return errDisk
	}
	if err := d.room(bytes); err != nil {
		return err
	}
	if err := d.server.ShutdownJetStream(); err != nil {
		return fmt.Errorf("open the store anew: %w", err)
	}
	if err := d.begin(); err != nil {
		return err
	}
	if err := d.server.EnableJetStream(storage(d.dir)); err != nil {
		return fmt.Errorf("open the store anew: %w", err)
	}
	return nil
}

// boundless is more than any disk holds. The broker's own default is a share of
// what was free when it started, and does not grow when room is made.
const boundless = 1 << 50

// storage is how the embedded broker stores: every message synced before it is
// acknowledged, and no limit but the disk's own, which room looks after.
func storage(dir string) *server.JetStreamConfig {
	return &server.JetStreamConfig{StoreDir: dir, SyncAlways: true, Strict: true, MaxMemory: -1, MaxStore: boundless}
}
