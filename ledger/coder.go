package ledger

import (
	"fmt"
	"io"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// A coder writes or reads the values of one body with low-level msgpack calls
// only. Short strings, numbers and arrays, which most values are, have their
// length or value in the code byte and are written and read right here.
type coder struct {
	enc *msgpack.Encoder
	dec *msgpack.Decoder
	out sink
	in  source
	err error // the first one; later calls do nothing

	likely Subject // what a body repeats of its subject, so that it is not copied
}

// coders are reused: a msgpack coder is some kilobytes, an event a few hundred
// bytes.
var coders = sync.Pool{New: func() any {
	c := new(coder)
	c.enc, c.dec = msgpack.NewEncoder(&c.out), msgpack.NewDecoder(&c.in)
	return c
}}

// What fits in the code byte, and in the length byte of binary.
const (
	shortString = 31
	shortUint   = 127
	shortArray  = 15
	shortBytes  = 255
)

// A sink collects what is written.
type sink struct{ bytes []byte }

func (s *sink) Write(p []byte) (int, error) { s.bytes = append(s.bytes, p...); return len(p), nil }
func (s *sink) WriteByte(b byte) error      { s.bytes = append(s.bytes, b); return nil }

// A source is what is read. It is a slice, so that strings are taken from it
// without a copy in between.
type source struct {
	bytes []byte
	next  int
}

func (s *source) left() int { return len(s.bytes) - s.next }

// peek returns the next byte; at the end msgpack's never used code, which no
// value begins with.
func (s *source) peek() byte {
	if s.next == len(s.bytes) {
		return 0xc1
	}
	return s.bytes[s.next]
}

// take returns the next n bytes, of which there must be so many.
func (s *source) take(n int) []byte {
	s.next += n
	return s.bytes[s.next-n : s.next]
}

func (s *source) Read(p []byte) (int, error) {
	if s.left() == 0 {
		return 0, io.EOF
	}
	return copy(p, s.take(min(len(p), s.left()))), nil
}

func (s *source) ReadByte() (byte, error) {
	if s.left() == 0 {
		return 0, io.EOF
	}
	s.next++
	return s.bytes[s.next-1], nil
}

func (s *source) UnreadByte() error { s.next--; return nil }

func (c *coder) keep(err error) {
	if c.err == nil {
		c.err = err
	}
}

func (c *coder) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

func (c *coder) putString(s string) {
	if len(s) > shortString {
		c.keep(c.enc.EncodeString(s))
		return
	}
	c.out.bytes = append(append(c.out.bytes, msgpcode.FixedStrLow|byte(len(s))), s...)
}

func (c *coder) putBytes(p []byte) {
	if len(p) > shortBytes {
		c.keep(c.enc.EncodeBytes(p))
		return
	}
	c.out.bytes = append(append(c.out.bytes, msgpcode.Bin8, byte(len(p))), p...)
}

func (c *coder) putUint(n uint64) {
	if n > shortUint {
		c.keep(c.enc.EncodeUint(n))
		return
	}
	c.out.bytes = append(c.out.bytes, byte(n))
}

func (c *coder) putArrayLen(n int) {
	if n > shortArray {
		c.keep(c.enc.EncodeArrayLen(n))
		return
	}
	c.out.bytes = append(c.out.bytes, msgpcode.FixedArrayLow|byte(n))
}

// putTime writes nanoseconds since 1970, which reach from 1677 to 2262.
func (c *coder) putTime(t time.Time) {
	n := t.UnixNano()
	if !time.Unix(0, n).Equal(t) {
		c.fail("the year %d is too far away: %w", t.Year(), ErrMalformed)
	}
	c.keep(c.enc.EncodeInt(n))
}

func (c *coder) mapLen() int {
	if c.err != nil {
		return 0
	}
	if msgpcode.IsExt(c.in.peek()) { // the decoder would pass over its head
		c.fail("a map is wrapped in an extension")
		return 0
	}
	n, err := c.dec.DecodeMapLen()
	c.keep(err)
	if n < 0 || n > c.in.left()/2 {
		c.fail("a map of %d does not fit in %d bytes", n, c.in.left())
		return 0
	}
	return n
}

// arrayLen reads the length of an array that may have up to most elements of
// at least one byte each.
func (c *coder) arrayLen(most int) int {
	if c.err != nil {
		return 0
	}
	n := 0
	if code := c.in.peek(); msgpcode.IsFixedArray(code) {
		c.in.next++
		n = int(code & msgpcode.FixedArrayMask)
	} else {
		var err error
		n, err = c.dec.DecodeArrayLen()
		c.keep(err)
	}
	if n < 0 || n > most || n > c.in.left() {
		c.fail("an array of %d is too long", n)
		return 0
	}
	return n
}

// bytes reads a string or binary of up to most bytes. The result is part of the
// body that is being read.
func (c *coder) bytes(most int) []byte {
	if c.err != nil {
		return nil
	}
	n := 0
	if code := c.in.peek(); msgpcode.IsFixedString(code) {
		c.in.next++
		n = int(code & msgpcode.FixedStrMask)
	} else {
		var err error
		n, err = c.dec.DecodeBytesLen()
		c.keep(err)
	}
	if n < 0 || n > most || n > c.in.left() {
		c.fail("a string of %d bytes is too long", n)
		return nil
	}
	return c.in.take(n)
}

func (c *coder) str(most int) string {
	p := c.bytes(most)
	if !utf8.Valid(p) {
		c.fail("a string is not UTF-8")
	}
	return string(p)
}

// likelyStr is str for what is usually the same as a string that is there
// already, and then is that string.
func (c *coder) likelyStr(most int, likely string) string {
	if p := c.bytes(most); string(p) != likely {
		if !utf8.Valid(p) {
			c.fail("a string is not UTF-8")
		}
		return string(p)
	}
	return likely
}

// fixed reads binary of exactly len(dst) bytes.
func (c *coder) fixed(dst []byte) {
	if p := c.bytes(len(dst)); len(p) != len(dst) {
		c.fail("binary of %d bytes, want %d", len(p), len(dst))
	} else {
		copy(dst, p)
	}
}

func (c *coder) uint(most uint64) uint64 {
	if c.err != nil {
		return 0
	}
	n := uint64(0)
	switch code := c.in.peek(); {
	case code <= shortUint:
		c.in.next++
		n = uint64(code)
	case code < msgpcode.Uint8 || code > msgpcode.Uint64: // the decoder would take nil for 0
		c.fail("a value has type %#x, want a number that is not negative", code)
	default:
		var err error
		n, err = c.dec.DecodeUint64()
		c.keep(err)
	}
	if n > most {
		c.fail("number %d is above %d", n, most)
		return 0
	}
	return n
}

func (c *coder) time() time.Time {
	if c.err != nil {
		return time.Time{}
	}
	if c.in.peek() == msgpcode.Nil { // the decoder would take it for 1970
		c.fail("a time is nil")
	}
	n, err := c.dec.DecodeInt64()
	c.keep(err)
	return time.Unix(0, n).UTC()
}

// maxDepth is how deep a value under an unknown key may nest.
const maxDepth = 8

// skip passes over one value of any type.
func (c *coder) skip(depth int) {
	if c.err != nil {
		return
	}
	n := 0
	switch code := c.in.peek(); {
	case depth > maxDepth:
		c.fail("a value nests deeper than %d", maxDepth)
	case msgpcode.IsFixedMap(code), code == msgpcode.Map16, code == msgpcode.Map32:
		n = 2 * c.mapLen()
	case msgpcode.IsFixedArray(code), code == msgpcode.Array16, code == msgpcode.Array32:
		n = c.arrayLen(MaxBody)
	case msgpcode.IsString(code), msgpcode.IsBin(code):
		c.bytes(MaxBody)
	case msgpcode.IsExt(code), code == msgpcode.Float, code == msgpcode.Double:
		c.fail("a value has type %#x, which no event uses", code)
	default:
		c.keep(c.dec.Skip())
	}
	for range n {
		c.skip(depth + 1)
	}
}
