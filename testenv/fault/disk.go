package fault

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A Disk is a file system of its own, in memory, that a test can fill up. It is
// there until the test ends.
type Disk struct {
	tb      testing.TB
	dir     string // where it is mounted
	ballast string // a file that takes up room
}

// NewDisk mounts a file system of size bytes. Without the right to mount, the
// test is skipped.
func NewDisk(tb testing.TB, size int64) *Disk {
	tb.Helper()
	dir := tb.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		skip(tb, "mount a small disk: %v: run the test as root", err)
	}
	tb.Cleanup(func() {
		// Detached, it goes as soon as the last process has let go of it.
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			tb.Errorf("unmount the small disk: %v", err)
		}
	})
	return &Disk{tb: tb, dir: dir, ballast: filepath.Join(dir, "ballast")}
}

// Dir returns a folder on the disk, which holds nothing else.
func (d *Disk) Dir() string {
	d.tb.Helper()
	dir := filepath.Join(d.dir, "data")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		d.tb.Fatalf("make a folder on the small disk: %v", err)
	}
	return dir
}

// Fill takes up room until left bytes are free, less than a page more or less.
// It may be called again to take up more.
func (d *Disk) Fill(left int64) {
	d.tb.Helper()
	f, err := os.OpenFile(d.ballast, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		d.tb.Fatalf("fill the small disk: %v", err)
	}
	defer f.Close()
	page := make([]byte, os.Getpagesize())
	for d.Room() >= left+int64(len(page)) {
		if _, err := f.Write(page); err != nil {
			d.tb.Fatalf("fill the small disk: %v", err)
		}
	}
}

// Free gives back the room that Fill has taken.
func (d *Disk) Free() {
	d.tb.Helper()
	if err := os.Remove(d.ballast); err != nil && !os.IsNotExist(err) {
		d.tb.Fatalf("free the small disk: %v", err)
	}
}

// Room returns how many bytes are free.
func (d *Disk) Room() int64 {
	d.tb.Helper()
	var s syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &s); err != nil {
		d.tb.Fatalf("look at the small disk: %v", err)
	}
	return int64(s.Bavail) * s.Bsize
}
