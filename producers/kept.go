package producers

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"todoke/ledger"
)

// lockWait is how long opening waits for another process to let go.
const lockWait = 100 * time.Millisecond

// The names in the file; see the package comment.
const (
	stateBucket = "state"
	stateKey    = "outbox"
	entryBucket = "entries"
)

// A kept is the file of an outbox. Its methods may be used by several
// goroutines; the caller orders the writes.
type kept struct {
	db     *bbolt.DB
	opened keptState // as it was found; of this, only the tally changes

	// Belongs to whoever writes. It is set for good when a write failed and is
	// in the file all the same: memory and file then say different things.
	broken error
}

// makeKept makes the file of a new outbox. It appears whole, with its state, or
// not at all: a file that somebody else made in the meantime stays.
func makeKept(path string, s keptState) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, ".new-*.outbox") // with mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(temp.Name())) }()
	if err := temp.Close(); err != nil {
		return err
	}
	db, err := bbolt.Open(temp.Name(), 0o600, &bbolt.Options{Timeout: lockWait})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, entriesErr := tx.CreateBucket([]byte(entryBucket))
		states, stateErr := tx.CreateBucket([]byte(stateBucket))
		if err := errors.Join(entriesErr, stateErr); err != nil {
			return err
		}
		return states.Put([]byte(stateKey), encodeState(s))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	// The commit point. A crash after it and before the removal leaves a
	// second name of the same file, which nothing reads.
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

// openKept opens the file of an outbox, reads all of it, and calls each for
// every entry in order. It returns [ledger.ErrLocked], [ledger.ErrNewer],
// [ErrDamaged], or what the file system says.
func openKept(path string, each func(Entry)) (_ *kept, err error) {
	k := new(kept)
	var file *os.File
	defer func() {
		if err != nil && file != nil {
			// A mapping that was left behind would keep the lock.
			_ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN)
			_ = file.Close()
		}
	}()
	// bbolt believes its pages: what is wrong with one shows as a panic, or as a
	// read outside of the mapping (bbolt issues 105 and 447). Here is the one
	// place where a file that may be damaged is read for the first time, so here
	// both become errors. What passes is known to be sound, page by page.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if broken := recover(); broken != nil {
			err = fmt.Errorf("read %s: %v: %w", path, broken, ErrDamaged)
		}
	}()
	k.db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait, NoStatistics: true,
		OpenFile: func(name string, _ int, mode fs.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, os.O_RDWR, mode) // never made here
			if file = f; err != nil {
				return nil, err
			}
			return f, notEmpty(f)
		}})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, meaningOfOpen(err))
	}
	if err := k.examine(file, each); err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", path, err), k.db.Close())
	}
	return k, nil
}

// notEmpty keeps bbolt from making an outbox out of an empty file: a kept
// outbox that lost its content is not a new one.
func notEmpty(f *os.File) error {
	info, err := f.Stat()
	if err == nil && info.Size() == 0 {
		err = ErrDamaged
	}
	return err
}

// meaningOfOpen returns what an error of bbolt's Open is.
func meaningOfOpen(err error) error {
	var system syscall.Errno
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return ledger.ErrLocked
	case errors.As(err, &system), errors.Is(err, ErrDamaged):
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// examine reads the whole file: both of its heads, every entry by walking and
// by looking it up, the sums, and then every page.
func (k *kept) examine(file *os.File, each func(Entry)) error {
	return k.db.View(func(tx *bbolt.Tx) error {
		if err := examineHeads(file, k.db.Info().PageSize, tx.Size()); err != nil {
			return err
		}
		if err := k.examineEntries(tx, each); err != nil {
			return err
		}
		return examinePages(tx, k.db.Info().PageSize)
	})
}

// examineHeads checks both of bbolt's heads. A commit writes one of them in
// turn. When the newer one cannot be read bbolt takes the older one without a
// word, and what was kept last would be gone.
func examineHeads(file io.ReaderAt, pageSize int, used int64) error {
	var commits [2]uint64
	for i := range commits {
		// A page header of 16 bytes, 56 of a head that end with the number of
		// the commit, and their FNV-64a.
		var head [80]byte
		if _, err := file.ReadAt(head[:], int64(i*pageSize)); err != nil {
			return fmt.Errorf("read head %d: %v: %w", i, err, ErrDamaged)
		}
		sum := fnv.New64a()
		sum.Write(head[16:72])
		if sum.Sum64() != binary.NativeEndian.Uint64(head[72:]) {
			return fmt.Errorf("head %d has a wrong checksum, and what was kept last may be missing: %w", i, ErrDamaged)
		}
		commits[i] = binary.NativeEndian.Uint64(head[64:])
	}
	if commits[0]+1 != commits[1] && commits[1]+1 != commits[0] {
		return fmt.Errorf("the heads are of commits %d and %d: %w", commits[0], commits[1], ErrDamaged)
	}
	if _, err := file.ReadAt(make([]byte, 1), used-1); err != nil {
		return fmt.Errorf("it should have %d bytes: %v: %w", used, err, ErrDamaged)
	}
	return nil
}

// examineEntries reads every entry, and holds them against the tally.
func (k *kept) examineEntries(tx *bbolt.Tx, each func(Entry)) error {
	states, entries := tx.Bucket([]byte(stateBucket)), tx.Bucket([]byte(entryBucket))
	if states == nil || entries == nil {
		return fmt.Errorf("it holds no outbox: %w", ErrDamaged)
	}
	var err error
	if k.opened, err = decodeState(states.Get([]byte(stateKey))); err != nil {
		return err
	}
	found := tally{next: k.opened.tally.next, sealed: k.opened.tally.sealed}
	cursor := entries.Cursor()
	for name, value := cursor.First(); name != nil; name, value = cursor.Next() {
		if len(name) != 8 || !bytes.Equal(entries.Get(name), value) {
			return fmt.Errorf("an entry cannot be found under its number: %w", ErrDamaged)
		}
		e, err := decodeEntry(k.opened.ledger, binary.BigEndian.Uint64(name), value)
		if err != nil {
			return err
		}
		*found.of(e.State)++
		found.bytes += sizeOf(e.Record)
		each(e)
	}
	if found != k.opened.tally {
		return fmt.Errorf("entries are missing: it should hold %+v and holds %+v: %w", k.opened.tally, found, ErrDamaged)
	}
	return nil
}

// examinePages lets bbolt check that every page is used exactly once or free.
// First it looks at what bbolt's own check does not: that no page claims others
// beyond the end, or free ones.
func examinePages(tx *bbolt.Tx, pageSize int) error {
	pages := int(tx.Size() / int64(pageSize))
	for id := 0; id < pages; id++ {
		page, err := tx.Page(id)
		if err != nil {
			return err
		}
		for more := page.OverflowCount; more > 0 && page.Type != "free"; more-- {
			id++
			if next, err := tx.Page(id); err != nil || next == nil || next.Type == "free" {
				return fmt.Errorf("page %d claims page %d: %w", page.ID, id, errors.Join(ErrDamaged, err))
			}
		}
	}
	var first error
	for err := range tx.Check(bbolt.WithKVStringer(silent{})) { // to its end: it waits for whoever listens
		if first == nil {
			first = fmt.Errorf("%v: %w", err, ErrDamaged)
		}
	}
	return first
}

// silent keeps bbolt's check from printing keys. It runs on a goroutine of its
// own, where a fault cannot be caught, and a key may claim to be any length.
type silent struct{}

func (silent) KeyToString([]byte) string   { return "" }
func (silent) ValueToString([]byte) string { return "" }

// sizeOf returns how many bytes of the bound a record takes.
func sizeOf(r ledger.Record) uint64 {
	n := len(r.Subject) + len(r.Body)
	for name, values := range r.Header {
		n += len(name)
		for _, v := range values {
			n += len(v)
		}
	}
	return uint64(n)
}

// view reads the file. It returns [ledger.ErrClosed] behind a close.
func (k *kept) view(read func(*bbolt.Tx) error) error {
	err := k.db.View(read)
	if errors.Is(err, bbolterrors.ErrDatabaseNotOpen) {
		return ledger.ErrClosed
	}
	return err
}

// get returns the entry with a number.
func (k *kept) get(number uint64) (e Entry, err error) {
	err = k.view(func(tx *bbolt.Tx) error {
		value := tx.Bucket([]byte(entryBucket)).Get(key(number))
		if value == nil {
			return fmt.Errorf("entry %d is missing: %w", number, ErrDamaged)
		}
		e, err = decodeEntry(k.opened.ledger, number, value)
		return err
	})
	return e, err
}

// from returns up to most entries in order, from a number on.
func (k *kept) from(number uint64, most int) (entries []Entry, err error) {
	err = k.view(func(tx *bbolt.Tx) error {
		cursor := tx.Bucket([]byte(entryBucket)).Cursor()
		name, value := cursor.Seek(key(number))
		for ; name != nil && len(entries) < most; name, value = cursor.Next() {
			e, err := decodeEntry(k.opened.ledger, binary.BigEndian.Uint64(name), value)
			if err != nil {
				return err
			}
			entries = append(entries, e)
		}
		return nil
	})
	return entries, err
}

// write stores entries, forgets others and replaces the tally: all of it is on
// the disk when it returns nil, nothing of it is in the file when it returns an
// [ledger.ErrUnavailable].
func (k *kept) write(after tally, put []Entry, forget []uint64) error {
	if k.broken != nil {
		return k.broken
	}
	state := k.opened
	state.tally = after
	value := encodeState(state)
	err := k.db.Update(func(tx *bbolt.Tx) error {
		entries := tx.Bucket([]byte(entryBucket))
		for _, e := range put {
			if err := entries.Put(key(e.number), encodeEntry(e)); err != nil {
				return err
			}
		}
		for _, number := range forget {
			if err := entries.Delete(key(number)); err != nil {
				return err
			}
		}
		return tx.Bucket([]byte(stateBucket)).Put([]byte(stateKey), value)
	})
	if err == nil {
		return nil
	}
	if k.holds(value) {
		k.broken = fmt.Errorf("the disk failed while the outbox was written (%v); close it, open it again and look what it keeps: %w", err, ErrDamaged)
		return k.broken
	}
	return fmt.Errorf("write to the outbox on this machine: %w: %w", meaningOfWrite(err), err)
}

// holds reports whether the state in the file is value, or cannot be read.
func (k *kept) holds(value []byte) (same bool) {
	err := k.view(func(tx *bbolt.Tx) error {
		same = bytes.Equal(tx.Bucket([]byte(stateBucket)).Get([]byte(stateKey)), value)
		return nil
	})
	return same || err != nil
}

// meaningOfWrite returns which outcome a failed write is.
func meaningOfWrite(err error) error {
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, full) {
			return ledger.ErrStorageFull
		}
	}
	return ledger.ErrUnavailable
}

// close lets go of the file.
func (k *kept) close() error { return k.db.Close() }
