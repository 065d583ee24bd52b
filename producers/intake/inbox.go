package intake

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"time"

	"todoke/ledger"
)

// The names in a watched folder; see the package comment.
const (
	doneDir      = "done"
	refusedDir   = "refused"
	doneMarker   = ".done"
	reportSuffix = ".report.json"
	reportDraft  = newPrefix + "report"
)

var (
	// errChanged means that a file is being written to. It is looked at anew.
	errChanged = errors.New("the file has changed while it was read")

	errNotRegular = errors.New("it is no regular file (a folder, or a symbolic link, which is never followed)")
)

// A FileReport says what became of a file. It lies beside it in done or refused,
// under the file's name and .report.json, and holds nothing that stands in the
// file.
type FileReport struct {
	File         string      `json:"file"` // its name when it was put there
	Time         time.Time   `json:"time"` // when it was moved
	Batch        string      `json:"batch,omitempty"`
	Event        string      `json:"event,omitempty"` // id of upload.completed
	Known        bool        `json:"known"`           // the same file was taken before
	Items        uint32      `json:"items"`
	Root         ledger.Root `json:"root"`
	Towns        []Town      `json:"towns"`
	UnknownTowns int         `json:"unknown_towns"`
	Refused      *Refusal    `json:"refused,omitempty"`
}

// reportOf returns the report on a file that was taken.
func reportOf(m Manifest, event ledger.ID) FileReport {
	return FileReport{Batch: m.Batch, Event: event.String(), Known: m.Known, Items: m.Count, Root: m.Root, Towns: m.Towns, UnknownTowns: m.UnknownTowns}
}

// sameFile reports whether both can be about one file: then one of them was
// written by a run that did not live to move it.
func (r FileReport) sameFile(other FileReport) bool {
	return r.File == other.File && r.Batch == other.Batch && reflect.DeepEqual(r.Refused, other.Refused)
}

// An inbox is a watched folder, locked.
type inbox struct {
	dir  string
	lock *os.File
}

// openInbox locks the folder, makes what is missing in it, and removes what an
// interrupted program left half done.
func openInbox(dir string) (inbox, error) {
	lock, err := os.Open(dir)
	if err != nil {
		return inbox{}, err
	}
	b := inbox{dir, lock}
	// A share of another machine may have no locks: the gateway's own still holds.
	if errors.Is(syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), syscall.EWOULDBLOCK) {
		err = fmt.Errorf("%s: %w", dir, ledger.ErrLocked)
	}
	for _, folder := range []string{doneDir, refusedDir} {
		if err == nil {
			err = b.ready(folder)
		}
		if err == nil {
			err = clean(b.path(folder))
		}
	}
	if err != nil {
		return inbox{}, errors.Join(err, lock.Close())
	}
	return b, nil
}

func (b inbox) close() error { return b.lock.Close() }

func (b inbox) path(names ...string) string {
	return filepath.Join(append([]string{b.dir}, names...)...)
}

// ready makes done or refused, and refuses a symbolic link to somewhere else.
func (b inbox) ready(folder string) error {
	err := os.Mkdir(b.path(folder), 0o700)
	if err == nil {
		return syncDir(b.dir)
	}
	if info, statErr := os.Lstat(b.path(folder)); statErr == nil && info.IsDir() {
		return nil
	}
	return err
}

// list returns the files of the folder that are named *.csv, by name. What
// begins with a dot is being written.
func (b inbox) list() (found []sighting, err error) {
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		return nil, err
	}
	names := make(map[string]bool, len(entries))
	for _, e := range entries {
		names[e.Name()] = true
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") || !strings.EqualFold(filepath.Ext(name), ".csv") {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		found = append(found, sighting{name, stampOf(info), names[name+doneMarker]})
	}
	return found, nil
}

func stampOf(info fs.FileInfo) stamp {
	if !info.Mode().IsRegular() {
		return stamp{}
	}
	s := stamp{regular: true, size: info.Size(), modified: info.ModTime().UnixNano()}
	if system, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = uint64(system.Ino)
	}
	return s
}

// An opened is a file of an inbox while it is read. Reading ends with errChanged
// when it is written to meanwhile, so that no batch is made of half a file.
type opened struct {
	*os.File
	inbox inbox
	seen  sighting
}

// open opens a file that is still as it was seen. What is put in its place
// meanwhile, a link or a pipe, is neither followed nor waited for.
func (b inbox) open(s sighting) (*opened, error) {
	if !s.stamp.regular {
		return nil, errNotRegular
	}
	file, err := os.OpenFile(b.path(s.name), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ELOOP) {
		return nil, errChanged
	}
	if err != nil {
		return nil, err
	}
	f := &opened{file, b, s}
	if err := f.unchanged(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return f, nil
}

// Read implements [io.Reader].
func (f *opened) Read(b []byte) (int, error) {
	n, err := f.File.Read(b)
	if err == io.EOF {
		if changed := f.unchanged(); changed != nil {
			return n, changed
		}
	}
	return n, err
}

// unchanged returns errChanged unless the file is as it was seen, and still
// under its name.
func (f *opened) unchanged() error {
	open, err := f.Stat()
	if err != nil {
		return err
	}
	named, err := os.Lstat(f.inbox.path(f.seen.name))
	if errors.Is(err, fs.ErrNotExist) {
		return errChanged
	}
	if err != nil {
		return err
	}
	if stampOf(open) != f.seen.stamp || !os.SameFile(open, named) {
		return errChanged
	}
	return nil
}

// put moves a file to done or refused, with its report; a report on this very
// file that an interrupted run left is taken for it. The report is on the disk
// before, so that no file lies there without one. The marker goes first: one that
// stayed behind would call the next file of that name complete before it is.
func (b inbox) put(f *opened, folder string, report *FileReport) (moved string, err error) {
	if err := b.ready(folder); err != nil {
		return "", err
	}
	name, written, err := b.place(folder, *report)
	if err != nil {
		return "", err
	}
	if written != nil {
		*report = *written
	} else if err := b.write(folder, name+reportSuffix, *report); err != nil {
		return "", err
	}
	if err := os.Remove(b.path(f.seen.name + doneMarker)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := f.unchanged(); err != nil {
		return "", err
	}
	moved = filepath.Join(folder, name)
	// The moment at which the file is dealt with. A crash before it takes the
	// file again and finds everything there.
	if err := os.Rename(b.path(f.seen.name), b.path(moved)); err != nil {
		return "", err
	}
	if err := b.undo(f, moved); err != nil {
		return "", err
	}
	// Should the power fail before this is on the disk, the file is back, and taken again.
	_, _ = syncDir(b.path(folder)), syncDir(b.dir)
	return moved, nil
}

// undo puts a file back that took the place of f between the last look at it and
// the move: nobody has read it. It comes under a name of its own, since the sender
// may have put a third one in place.
func (b inbox) undo(f *opened, moved string) error {
	read, err := f.Stat()
	if err != nil {
		return err
	}
	there, err := os.Lstat(b.path(moved))
	if err != nil {
		return err
	}
	if os.SameFile(read, there) {
		return nil
	}
	ext := filepath.Ext(f.seen.name)
	for n := 1; ; n++ {
		name := fmt.Sprintf("%s-new-%d%s", strings.TrimSuffix(f.seen.name, ext), n, ext)
		err := os.Link(b.path(moved), b.path(name))
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("put %s back, which nobody has read: %w", moved, err)
		}
		return errors.Join(os.Remove(b.path(moved)), errChanged)
	}
}

// place returns under which name a file can be put into a folder: its own, or
// with a number when that is taken. It returns the report on this very file when
// it is there already.
func (b inbox) place(folder string, report FileReport) (name string, written *FileReport, err error) {
	ext := filepath.Ext(report.File)
	stem := strings.TrimSuffix(report.File, ext)
	for n := 1; ; n++ {
		name = report.File
		if n > 1 {
			name = fmt.Sprintf("%s-%d%s", stem, n, ext)
		}
		if _, err := os.Lstat(b.path(folder, name)); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", nil, err
		}
		text, err := os.ReadFile(b.path(folder, name+reportSuffix))
		if errors.Is(err, fs.ErrNotExist) {
			return name, nil, nil
		}
		var other FileReport
		if err == nil && json.Unmarshal(text, &other) == nil && other.sameFile(report) {
			return name, &other, nil
		}
	}
}

// write makes a report that is there whole or not at all.
func (b inbox) write(folder, name string, report FileReport) error {
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	draft := b.path(folder, reportDraft)
	if err := os.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writePrivate(draft, append(text, '\n')); err != nil {
		return err
	}
	if err := os.Rename(draft, b.path(folder, name)); err != nil {
		return err
	}
	return syncDir(b.path(folder))
}
