package intake

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"todoke/ledger"
	"todoke/producers"
)

// manifestFormat is the first field of every manifest.
const manifestFormat = "todoke/manifest/v1"

// maxTownBytes is the most bytes that town groups with their items may take in
// an event. Above it the groups are told by name and count alone.
const maxTownBytes = 256 << 10

// A Manifest is what a gateway remembers of a file that it took. It stays at
// the gateway; its [Manifest.Report] is what the ledger learns.
type Manifest struct {
	Format  string      `json:"format"` // todoke/manifest/v1
	Batch   string      `json:"batch"`
	Created time.Time   `json:"created"`
	Count   uint32      `json:"count"`
	Root    ledger.Root `json:"root"`
	Digest  string      `json:"digest"` // of the whole file, keyed; 64 hex digits

	Encoding     string   `json:"encoding"`
	Columns      []string `json:"columns"`            // the header
	Harmless     []string `json:"harmless,omitempty"` // columns that were not searched for My Numbers
	Towns        []Town   `json:"towns"`              // they partition 1-Count
	UnknownTowns int      `json:"unknown_towns"`      // items with neither town nor postcode

	// Known is set by Take when the file had been taken before. It is not
	// stored.
	Known bool `json:"-"`
}

// A Town is a group of items by town, as in [ledger.Town].
type Town struct {
	Name  string       `json:"name"`
	Items ledger.Items `json:"items"`
	Count uint32       `json:"count"`
}

func (t Town) first() uint32 { return t.Items[0].First }

// Report returns upload.completed for the batch. It depends on nothing but the
// manifest, and its slip is the file's digest: reporting again, after a crash
// for instance, is the same event with the same body.
func (m Manifest) Report() producers.Report {
	r := producers.Report{
		Kind: ledger.UploadCompleted, Batch: m.Batch, Slip: m.Digest,
		Items: ledger.AllItems(int(m.Count)), Count: m.Count, Root: m.Root,
		Document: ledger.Document{Kind: "file"},
	}
	digest, _ := hex.DecodeString(m.Digest) // checked when it was made or read
	copy(r.Document.Digest[:], digest)
	for _, t := range m.Towns {
		r.Towns = append(r.Towns, ledger.Town(t))
	}
	if b, err := ledger.Encode(&ledger.Body{Towns: r.Towns}); err != nil || len(b) > maxTownBytes {
		for i := range r.Towns {
			r.Towns[i].Items = nil
		}
	}
	return r
}

// encode returns the bytes of manifest.json.
func (m Manifest) encode() ([]byte, error) {
	b, err := json.MarshalIndent(m, "", "  ")
	return append(b, '\n'), err
}

// decodeManifest is the inverse of encode. It refuses what contradicts itself.
func decodeManifest(b []byte) (Manifest, error) {
	var m Manifest
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return Manifest{}, err
	}
	return m, m.validate()
}

func (m Manifest) validate() error {
	if m.Format != manifestFormat {
		return fmt.Errorf("the format is not %s", manifestFormat)
	}
	if _, err := producers.ParseBatch(m.Batch); err != nil {
		return err
	}
	if digest, err := hex.DecodeString(m.Digest); err != nil || len(digest) != 32 {
		return errors.New("the digest is not 64 hex digits")
	}
	count := 0
	for _, t := range m.Towns {
		if t.Items.Count() != int(t.Count) || t.Count == 0 {
			return errors.New("a town does not count its items")
		}
		count += int(t.Count)
	}
	if m.Root.IsZero() || m.Count == 0 || count != int(m.Count) {
		return errors.New("root, count and towns do not belong together")
	}
	return nil
}
