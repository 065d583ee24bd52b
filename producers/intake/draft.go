package intake

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"todoke/ledger"
)

// draft is a batch while its file is read: a folder beside the batches, under
// a name that Open removes.
type draft struct {
	folder    folder
	dir       string
	key       [32]byte
	committer *ledger.Committer
	root      ledger.RootBuilder
	file      *os.File // commitments
	out       *bufio.Writer
}

func (f folder) draft(rand io.Reader) (*draft, error) {
	d := &draft{folder: f}
	if _, err := io.ReadFull(rand, d.key[:]); err != nil {
		return nil, fmt.Errorf("draw batch key: %w", err)
	}
	d.committer = ledger.NewCommitter(d.key)
	var err error
	if d.dir, err = os.MkdirTemp(f.path(), newPrefix); err != nil { // with mode 0700
		return nil, err
	}
	d.file, err = os.OpenFile(filepath.Join(d.dir, commitmentsFile), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(d.dir))
	}
	d.out = bufio.NewWriterSize(d.file, chunk)
	return d, nil
}

// add commits to the next row.
func (d *draft) add(number uint32, raw []byte) error {
	c := d.committer.Commit(number, raw)
	d.root.Add(c)
	_, err := d.out.Write(c[:])
	return err
}

// commit makes the draft the batch of m. The rename is the moment at which the
// batch exists: a crash before it leaves a draft, and the same file is taken
// anew; a crash after it leaves a whole batch, and the same file is known.
func (d *draft) commit(m Manifest) error {
	manifest, err := m.encode()
	if err != nil {
		return err
	}
	if err := errors.Join(
		d.out.Flush(),
		d.file.Sync(),
		writePrivate(filepath.Join(d.dir, batchKeyFile), d.key[:]),
		writePrivate(filepath.Join(d.dir, manifestFile), manifest),
		syncDir(d.dir),
	); err != nil {
		return err
	}
	if err := os.Rename(d.dir, d.folder.path(m.Batch)); err != nil {
		return err
	}
	return syncDir(d.folder.path())
}

// discard gives the draft up. After commit it only closes: the folder is not
// there any more under the draft's name. What cannot be removed now is removed
// by the next Open.
func (d *draft) discard() {
	d.file.Close()
	os.RemoveAll(d.dir)
}
