package intake

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"todoke/ledger"
)

// The names in a gateway's folder; see the package comment.
const (
	lockFile        = "lock"
	fileKeyFile     = "file.key"
	batchesDir      = "batches"
	manifestFile    = "manifest.json"
	commitmentsFile = "commitments"
	batchKeyFile    = "batch.key"
	newPrefix       = ".new-" // of what is not whole yet
)

const commitmentSize = len(ledger.Commitment{})

// folder is a gateway's folder, locked.
type folder struct {
	dir  string
	lock *os.File
}

// openFolder makes the folder on first use, locks it, and removes what an
// interrupted program left half done.
func openFolder(dir string) (folder, error) {
	if err := os.MkdirAll(filepath.Join(dir, batchesDir), 0o700); err != nil {
		return folder{}, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return folder{}, err
	}
	f := folder{dir, lock}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("%s: %w%s", dir, ledger.ErrLocked, holder(lock))
	}
	if err == nil {
		f.sign()
		err = errors.Join(clean(dir), clean(f.path()))
	}
	if err != nil {
		return folder{}, errors.Join(err, lock.Close())
	}
	return f, nil
}

// sign writes into the lock which process has it, for whoever meets it. Where
// there is no room for that the lock holds all the same.
func (f folder) sign() {
	if f.lock.Truncate(0) == nil {
		_, _ = fmt.Fprintf(f.lock, "%d\n", os.Getpid())
	}
}

// holder returns who has a lock, as far as its file says.
func holder(lock *os.File) string {
	text := make([]byte, 20)
	n, _ := lock.ReadAt(text, 0)
	if pid := strings.TrimSpace(string(text[:n])); pid != "" {
		return fmt.Sprintf(" (pid %s)", pid)
	}
	return ""
}

// clean removes what is not whole, and makes durable the names that are there:
// a batch may have appeared in a run that did not live to see its name on the
// disk.
func clean(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), newPrefix) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return syncDir(dir)
}

func (f folder) close() error { return f.lock.Close() }

// path returns the path of something under batches/.
func (f folder) path(names ...string) string {
	return filepath.Join(append([]string{f.dir, batchesDir}, names...)...)
}

// batches returns the names of the batch folders, in order.
func (f folder) batches() ([]string, error) {
	entries, err := os.ReadDir(f.path())
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// manifest reads the manifest of a batch and checks that the batch is whole.
func (f folder) manifest(batch string) (Manifest, error) {
	b, err := os.ReadFile(f.path(batch, manifestFile))
	if err != nil {
		return Manifest{}, damaged(batch, err)
	}
	m, err := decodeManifest(b)
	if err != nil {
		return Manifest{}, damaged(batch, err)
	}
	if m.Batch != batch {
		return Manifest{}, damaged(batch, errors.New("the manifest names another batch"))
	}
	info, err := os.Stat(f.path(batch, commitmentsFile))
	if err != nil {
		return Manifest{}, damaged(batch, err)
	}
	if info.Size() != int64(commitmentSize)*int64(m.Count) {
		return Manifest{}, damaged(batch, errors.New("there is not one commitment for each item"))
	}
	_, err = f.batchKey(batch)
	return m, err
}

func (f folder) batchKey(batch string) ([32]byte, error) {
	key, err := readKey(f.path(batch, batchKeyFile))
	if err != nil {
		return key, damaged(batch, err)
	}
	return key, nil
}

func damaged(batch string, err error) error {
	return fmt.Errorf("read batch %s: %w (%w)", batch, err, ErrDamaged)
}

// key returns the key for digests of whole files. It is made together with the
// folder: were a new one made beside old batches, every file that was taken
// before would be taken for a new one.
func (f folder) key(rand io.Reader, first bool) ([32]byte, error) {
	path := filepath.Join(f.dir, fileKeyFile)
	key, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if !first {
		return key, fmt.Errorf("%s is missing, but there are batches: %w", path, ErrDamaged)
	}
	if _, err := io.ReadFull(rand, key[:]); err != nil {
		return key, fmt.Errorf("draw file key: %w", err)
	}
	temp := filepath.Join(f.dir, newPrefix+fileKeyFile)
	if err := writePrivate(temp, key[:]); err != nil {
		return key, err
	}
	if err := os.Rename(temp, path); err != nil {
		return key, err
	}
	return key, syncDir(f.dir)
}

// readKey reads a key of 32 bytes that nobody else can read.
func readKey(path string) (key [32]byte, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return key, err
	}
	if mode := info.Mode(); mode.Perm()&0o077 != 0 || info.Size() != int64(len(key)) {
		return key, fmt.Errorf("%s is not 32 bytes that only its owner can read", path)
	}
	b, err := os.ReadFile(path)
	copy(key[:], b)
	return key, err
}

// writePrivate writes a new file that only its owner can read, and returns
// when it is on the disk. Its name is not durable yet.
func writePrivate(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

// syncDir makes the names in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
