package producers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nkeys"

	"todoke/ledger"
)

// LocalKey returns the party's signing key from dir/<party>.seed, with the
// colon of the party as an underscore, and makes it on first use: an nkeys
// user seed in a file that only its owner can read, in a folder that only its
// owner can enter. It refuses a file that others can read, and a seed that is
// not a user's. No error holds the seed.
func LocalKey(dir string, party ledger.Party, rand io.Reader) (nkeys.KeyPair, error) {
	if _, err := ledger.ParseParty(string(party)); err != nil {
		return nil, fmt.Errorf("find key: %w", err)
	}
	path := filepath.Join(dir, strings.ReplaceAll(string(party), ":", "_")+".seed")
	seed, err := readSeed(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeSeed(path, rand); err != nil {
			return nil, fmt.Errorf("make key of %s: %w", party, err)
		}
		seed, err = readSeed(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read key of %s: %w", party, err)
	}
	key, err := userKey(seed)
	clear(seed)
	if err != nil {
		return nil, fmt.Errorf("read key of %s from %s: %w", party, path, err)
	}
	return key, nil
}

// userKey reads a seed. The library's own errors are left out: they are not
// ours to vouch for that they never hold a part of it.
func userKey(seed []byte) (nkeys.KeyPair, error) {
	prefix, _, err := nkeys.DecodeSeed(seed)
	if err != nil || prefix != nkeys.PrefixByteUser {
		return nil, errors.New("the file holds no user seed")
	}
	return nkeys.FromSeed(bytes.Clone(seed))
}

func readSeed(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others (%v): make it yours alone with chmod 600, and change the key if anybody did", path, mode)
	}
	const most = 256 // a seed has 58 bytes
	seed, err := io.ReadAll(io.LimitReader(f, most))
	return bytes.TrimSpace(seed), err
}

// makeSeed puts a new seed at path, or leaves the one that another program
// put there in the meantime.
func makeSeed(path string, rand io.Reader) error {
	pair, err := nkeys.CreatePairWithRand(nkeys.PrefixByteUser, rand)
	if err != nil {
		return fmt.Errorf("draw seed: %w", err)
	}
	seed, err := pair.Seed()
	if err != nil {
		return err
	}
	defer pair.Wipe()
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := writeTemp(dir, seed)
	if err != nil {
		return err
	}
	// The commit point. A crash after it and before the removal leaves a
	// second name of the same file, which nothing reads.
	linkErr := os.Link(temp, path)
	if err := os.Remove(temp); err != nil {
		return err
	}
	if linkErr != nil && !errors.Is(linkErr, fs.ErrExist) {
		return linkErr
	}
	return syncDir(dir)
}

// writeTemp writes content to a new file in dir that only its owner can read,
// and returns its path when it is on the disk.
func writeTemp(dir string, content []byte) (path string, err error) {
	f, err := os.CreateTemp(dir, ".new-*.seed") // with mode 0600
	if err != nil {
		return "", err
	}
	_, writeErr := f.Write(append(bytes.Clone(content), '\n'))
	if err := errors.Join(writeErr, f.Sync(), f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// syncDir makes the names in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
