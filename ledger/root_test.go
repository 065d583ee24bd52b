package ledger_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"todoke/ledger"
)

// treeHash is MTH of RFC 6962, section 2.1, word for word.
func treeHash(leaves [][]byte) []byte {
	hash := func(parts ...[]byte) []byte {
		h := sha256.New()
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	if len(leaves) == 1 {
		return hash([]byte{0}, leaves[0])
	}
	k := 1 // the largest power of two smaller than n
	for 2*k < len(leaves) {
		k *= 2
	}
	return hash([]byte{1}, treeHash(leaves[:k]), treeHash(leaves[k:]))
}

func TestRootIsThatOfRFC6962(t *testing.T) {
	var b ledger.RootBuilder
	if !b.Root().IsZero() {
		t.Errorf("nothing has the root %s", b.Root())
	}
	var leaves [][]byte
	for n := 1; n <= 300; n++ {
		c := ledger.Commit([32]byte{7}, uint32(n), fmt.Append(nil, "row ", n))
		leaves = append(leaves, c[:])
		b.Add(c)
		if have, want := b.Root(), ledger.Root(treeHash(leaves)); have != want {
			t.Fatalf("%d leaves: %s, want %s", n, have, want)
		}
		if again := b.Root(); again != b.Root() {
			t.Fatalf("%d leaves: asking twice gives another root", n)
		}
	}
}

// TestGoldenRoot: roots that were signed must be recomputed for ever.
func TestGoldenRoot(t *testing.T) {
	for n, want := range map[int]string{
		1:    "03887435f7b41527d2c693cd80082b03778662200a36bf5a39b9e42ea37afb29",
		8:    "004c2a366867b46a3d0a7919ba2fd9dcf52f873e72dadcd54e9caf7a797884b8",
		5228: "b7b895e372bea31931dc598e1e1eabe57cab2671d57a3d475d9c9ad2f8c8d5a9",
	} {
		committer := ledger.NewCommitter([32]byte{1, 2, 3})
		var b ledger.RootBuilder
		for i := range n {
			b.Add(committer.Commit(uint32(i+1), fmt.Append(nil, "行", i+1)))
		}
		if have := b.Root().String(); have != want {
			t.Errorf("%d rows: %s, want %s", n, have, want)
		}
	}
}

func TestCommit(t *testing.T) {
	key := [32]byte{1, 31: 2}
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte("todoke/item/v1\x00\x00\x14\x6c" + "row\xfb\xfc"))
	if have := ledger.Commit(key, 5228, []byte("row\xfb\xfc")); hex.EncodeToString(have[:]) != hex.EncodeToString(mac.Sum(nil)) {
		t.Errorf("%x, by the format %x", have, mac.Sum(nil))
	}
	rapid.Check(t, func(t *rapid.T) {
		row := rapid.SliceOf(rapid.Byte()).Draw(t, "row")
		item := rapid.Uint32().Draw(t, "item")
		committer := ledger.NewCommitter(key)
		committer.Commit(item+1, row) // what was committed before leaves no trace
		have := committer.Commit(item, row)
		if have != ledger.Commit(key, item, row) {
			t.Fatal("a reused committer gives another commitment")
		}
		for name, other := range map[string]ledger.Commitment{
			"key":  ledger.Commit([32]byte{9}, item, row),
			"item": ledger.Commit(key, item+1, row),
			"row":  ledger.Commit(key, item, append(row, 0)),
		} {
			if other == have {
				t.Fatalf("another %s gives the same commitment", name)
			}
		}
	})
}

func TestRootText(t *testing.T) {
	var back ledger.Root
	if err := back.UnmarshalText([]byte(testRoot.String())); err != nil || back != testRoot {
		t.Errorf("%s, %v", back, err)
	}
	if err := back.UnmarshalText(nil); err != nil || !back.IsZero() || back.String() != "" {
		t.Errorf("no root: %q, %v", back, err)
	}
	for _, text := range []string{"0", testRoot.String()[1:], testRoot.String() + "00", "zz" + testRoot.String()[2:]} {
		if err := back.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read as a root", text)
		}
	}
}
