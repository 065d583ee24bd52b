package producers

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nkeys"

	"todoke/ledger"
)

func publicKey(t *testing.T, dir string, party ledger.Party) string {
	t.Helper()
	pair, err := LocalKey(dir, party, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}

func TestLocalKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	first := publicKey(t, dir, "municipality:131229")

	t.Run("is a user's", func(t *testing.T) {
		if !nkeys.IsValidPublicUserKey(first) {
			t.Errorf("public key %s is not a user's", first)
		}
	})
	t.Run("is the same the next time", func(t *testing.T) {
		if again := publicKey(t, dir, "municipality:131229"); again != first {
			t.Errorf("public key %s, then %s", first, again)
		}
	})
	t.Run("is each party's own", func(t *testing.T) {
		if other := publicKey(t, dir, "relay:2"); other == first {
			t.Error("two parties have one key")
		}
	})
	t.Run("is for its owner's eyes", func(t *testing.T) {
		for path, want := range map[string]fs.FileMode{
			dir: fs.ModeDir | 0o700,
			filepath.Join(dir, "municipality_131229.seed"): 0o600,
		} {
			if info, err := os.Stat(path); err != nil || info.Mode() != want {
				t.Errorf("%s: mode %v, %v; want %v", path, info.Mode(), err, want)
			}
		}
	})
	t.Run("leaves nothing else in the folder", func(t *testing.T) {
		if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

func TestLocalKeyIsOneForAllThatStartTogether(t *testing.T) {
	dir := t.TempDir()
	keys := make([]string, 16)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			if pair, err := LocalKey(dir, "relay:2", rand.Reader); err == nil {
				keys[i], _ = pair.PublicKey()
			}
		})
	}
	all.Wait()
	for _, k := range keys {
		if k == "" || k != keys[0] {
			t.Fatalf("keys %v", keys)
		}
	}
}

func TestLocalKeyIgnoresWhatACrashLeft(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{".new-1.seed": "", ".new-2.seed": "SU"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if first := publicKey(t, dir, "relay:2"); first != publicKey(t, dir, "relay:2") {
		t.Error("the key changed")
	}
}

func TestLocalKeyRefuses(t *testing.T) {
	user, _ := nkeys.CreateUser()
	account, _ := nkeys.CreateAccount()
	userSeed, _ := user.Seed()
	accountSeed, _ := account.Seed()

	for name, c := range map[string]struct {
		party   ledger.Party
		content []byte
		mode    fs.FileMode
	}{
		"a file that the group can read":  {"relay:2", userSeed, 0o640},
		"a file that others can read":     {"relay:2", userSeed, 0o604},
		"a seed that is not a user's":     {"relay:2", accountSeed, 0o600},
		"a torn seed":                     {"relay:2", userSeed[:30], 0o600},
		"a seed with a wrong letter":      {"relay:2", bytes.Replace(userSeed, userSeed[20:21], []byte("1"), 1), 0o600},
		"an empty file":                   {"relay:2", nil, 0o600},
		"an endless file":                 {"relay:2", bytes.Repeat([]byte("A"), 1<<16), 0o600},
		"a party that is a way out":       {"relay:../2", nil, 0},
		"a party whose role is not known": {"nobody:2", nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if c.mode != 0 {
				path := filepath.Join(dir, "relay_2.seed")
				if err := errors.Join(os.WriteFile(path, c.content, 0o600), os.Chmod(path, c.mode)); err != nil {
					t.Fatal(err)
				}
			}
			_, err := LocalKey(dir, c.party, rand.Reader)
			if err == nil {
				t.Fatal("no error")
			}
			for _, seed := range [][]byte{userSeed, accountSeed} {
				if strings.Contains(err.Error(), string(seed[:12])) {
					t.Errorf("the error holds the seed: %v", err)
				}
			}
		})
	}
}
