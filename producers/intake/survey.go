package intake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"todoke/ledger"
)

// A Config says whose gateway it is and where it keeps what it takes.
type Config struct {
	Dir          string // the gateway's folder; Check needs none
	Municipality string // 131229
	Towns        *Towns // nil: the built-in table for 131229, none for others
	// Harmless names columns whose long numbers are no personal numbers, so
	// that they are not searched. 住所, 方書 and 世帯主氏名 cannot be named.
	Harmless []string
	Now      func() time.Time
	Rand     io.Reader // for keys: crypto/rand.Reader
}

// Validate returns what is wrong with the configuration, nil when nothing is.
func (c Config) Validate() error {
	_, err := c.ready()
	return err
}

// ready returns c with its defaults, or what is wrong with it.
func (c Config) ready() (Config, error) {
	if !ledger.ValidMunicipality(c.Municipality) {
		return c, fmt.Errorf("%.12q is not a municipality code of six digits with a right check digit", c.Municipality)
	}
	if c.Now == nil || c.Rand == nil {
		return c, errors.New("clock and randomness must be given")
	}
	for _, never := range []column{colAddress, colBuilding, colHolder} {
		if slices.Contains(c.Harmless, never.name()) {
			return c, fmt.Errorf("column %s can hold personal numbers and is never harmless", never.name())
		}
	}
	if c.Towns == nil {
		c.Towns = new(Towns)
		if strings.Contains(katsushika, "\n"+c.Municipality+",") {
			towns, err := ReadTowns(strings.NewReader(katsushika), c.Municipality)
			if err != nil {
				return c, err
			}
			c.Towns = towns
		}
	}
	return c, nil
}

// Check reads a file as [Gateway.Take] does and keeps nothing. The manifest it
// returns has no batch, root or digest. The error is a [Refusal], or the
// reader's or the context's.
func Check(ctx context.Context, c Config, r io.Reader) (Manifest, error) {
	c, err := c.ready()
	if err != nil {
		return Manifest{}, fmt.Errorf("check file: %w", err)
	}
	return survey(ctx, c, r, func(uint32, []byte) error { return nil })
}

// survey reads and judges a file in one pass, and hands the raw bytes of every
// good row to take. What it has handed over counts for nothing when it returns
// an error.
func survey(ctx context.Context, c Config, r io.Reader, take func(number uint32, raw []byte) error) (Manifest, error) {
	var seed [16]byte
	if _, err := io.ReadFull(c.Rand, seed[:]); err != nil {
		return Manifest{}, fmt.Errorf("draw seed: %w", err)
	}
	s, err := openSheet(r)
	if err != nil {
		return Manifest{}, err
	}
	j, g := newJudge(s, c, seed), newGroups(c.Towns)
	for {
		it, err := s.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return Manifest{}, err
		}
		j.row(it)
		number := uint32(s.refusal.Rows)
		g.add(number, j.field(it, colAddress), j.field(it, colPostcode))
		if err := take(number, it.raw); err != nil {
			return Manifest{}, err
		}
		if number%1024 == 0 && ctx.Err() != nil {
			return Manifest{}, context.Cause(ctx)
		}
	}
	m := Manifest{
		Format: manifestFormat, Count: uint32(s.refusal.Rows), Encoding: s.text.encoding,
		Columns: s.header, Towns: g.list(), UnknownTowns: g.unknown,
	}
	for i, name := range s.header {
		if j.harmless[i] {
			m.Harmless = append(m.Harmless, name)
		}
	}
	return m, nil
}
