package ledger

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// A Commitment hides one row and binds to it; see [Commit].
type Commitment [32]byte

// Root is the Merkle root over the commitments of a set of items.
type Root [32]byte

// IsZero reports whether there is no root.
func (r Root) IsZero() bool { return r == Root{} }

// String returns 64 hex digits, "" for no root.
func (r Root) String() string {
	if r.IsZero() {
		return ""
	}
	return hex.EncodeToString(r[:])
}

// MarshalText returns the same as [Root.String].
func (r Root) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (r *Root) UnmarshalText(text []byte) error {
	*r = Root{}
	if len(text) == 0 {
		return nil
	}
	if err := parseHex(r[:], string(text)); err != nil {
		return fmt.Errorf("parse root: %w", err)
	}
	return nil
}

// Commit returns the commitment of one row: HMAC-SHA-256 under the batch key
// over todoke/item/v1, the item number as four big-endian bytes, and the raw
// bytes of the row without its line ending. Raw, because re-encoding is not
// stable: 髙 comes back from CP932 as other bytes, and Unicode normalisation
// changes names.
func Commit(batchKey [32]byte, item uint32, row []byte) Commitment {
	return NewCommitter(batchKey).Commit(item, row)
}

// A Committer makes the commitments of one batch faster than [Commit].
type Committer struct {
	mac interface {
		Write(p []byte) (int, error)
		Sum(b []byte) []byte
		Reset()
	}
	head [len(commitDomain) + 4]byte
}

const commitDomain = "todoke/item/v1"

// NewCommitter returns a committer for the batch with this key. It is not safe
// for use by several goroutines.
func NewCommitter(batchKey [32]byte) *Committer {
	c := &Committer{mac: hmac.New(sha256.New, batchKey[:])}
	copy(c.head[:], commitDomain)
	return c
}

// Commit returns the commitment of one row; see the function [Commit].
func (c *Committer) Commit(item uint32, row []byte) Commitment {
	c.mac.Reset()
	binary.BigEndian.PutUint32(c.head[len(commitDomain):], item)
	c.mac.Write(c.head[:])
	c.mac.Write(row)
	var out Commitment
	c.mac.Sum(out[:0])
	return out
}

// A RootBuilder computes a [Root] from commitments in the order of item
// numbers, in constant memory. The tree is that of RFC 6962, section 2.1: a
// leaf is SHA-256(0x00 ‖ commitment), a node SHA-256(0x01 ‖ left ‖ right).
type RootBuilder struct {
	// peaks[i] is the root of a full subtree of 2^i leaves, when bit i of n
	// is set.
	peaks [64][32]byte
	n     uint64
}

// Add appends the commitment of the next item.
func (b *RootBuilder) Add(c Commitment) {
	node := leafHash(c)
	i := 0
	for ; b.n>>i&1 == 1; i++ {
		node = nodeHash(b.peaks[i], node)
	}
	b.peaks[i] = node
	b.n++
}

// Root returns the root of what was added, the zero root for nothing.
func (b *RootBuilder) Root() Root {
	var root [32]byte
	have := false
	for i := range b.peaks {
		switch {
		case b.n>>i&1 == 0:
		case have:
			root = nodeHash(b.peaks[i], root)
		default:
			root, have = b.peaks[i], true
		}
	}
	return root
}

func leafHash(c Commitment) [32]byte {
	var buf [33]byte
	copy(buf[1:], c[:])
	return sha256.Sum256(buf[:])
}

func nodeHash(left, right [32]byte) [32]byte {
	var buf [65]byte
	buf[0] = 1
	copy(buf[1:], left[:])
	copy(buf[33:], right[:])
	return sha256.Sum256(buf[:])
}
