package testenv

import (
	"crypto/sha256"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"todoke/ledger"
)

// Start is when the clocks of tests begin: 2015-10-05 09:00 in Japan, the
// first office hour of the card law.
var Start = time.Date(2015, 10, 5, 0, 0, 0, 0, time.UTC)

// A Clock stands still until it is told to move. It is safe for use by several
// goroutines.
type Clock struct {
	mu sync.Mutex
	at time.Time
}

// NewClock returns a clock that stands at [Start].
func NewClock() *Clock { return &Clock{at: Start} }

// Now returns where the clock stands.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// Advance moves the clock, back when d is negative.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// Key returns the signing key that belongs to a name, the same in every run.
func Key(tb testing.TB, name string) nkeys.KeyPair {
	tb.Helper()
	seed := sha256.Sum256([]byte("todoke/testenv/" + name))
	raw, err := nkeys.EncodeSeed(nkeys.PrefixByteUser, seed[:])
	if err != nil {
		tb.Fatalf("make key of %s: %v", name, err)
	}
	key, err := nkeys.FromSeed(raw)
	if err != nil {
		tb.Fatalf("make key of %s: %v", name, err)
	}
	return key
}

// Sign returns the record of a draft, signed with the author's [Key]. A draft
// without them gets a salt of its document key, and [Start] as the time it was
// sent.
func Sign(tb testing.TB, id ledger.LedgerID, d ledger.Draft) ledger.Record {
	tb.Helper()
	if d.Salt == [16]byte{} {
		salt := sha256.Sum256([]byte(d.DocumentKey))
		d.Salt = [16]byte(salt[:16])
	}
	if d.Sent.IsZero() {
		d.Sent = Start
	}
	r, err := ledger.New(id, d, Key(tb, string(d.Author)))
	if err != nil {
		tb.Fatalf("make %s of %s: %v", d.Subject.Kind, d.Author, err)
	}
	return r
}

// Claim returns upload.completed: the municipality that the batch is named
// after says that it sent items.
func Claim(tb testing.TB, id ledger.LedgerID, batch, slip string, items ledger.Items) ledger.Record {
	tb.Helper()
	return Sign(tb, id, ledger.Draft{
		Author:      ledger.Party("municipality:" + batch[:6]),
		Subject:     ledger.Subject{Municipality: batch[:6], Aggregate: batch, Kind: ledger.UploadCompleted},
		DocumentKey: slip,
		Body: ledger.Body{
			Flow: ledger.NotificationCard.Name, Items: items, Count: uint32(items.Count()), Root: rootOf(items),
			Document: ledger.Document{Kind: "file", Digest: sha256.Sum256([]byte(slip))},
		},
	})
}

// Acknowledgement returns upload.received: relay:1 says that it holds items,
// which it recomputed.
func Acknowledgement(tb testing.TB, id ledger.LedgerID, batch, slip string, items ledger.Items) ledger.Record {
	tb.Helper()
	return Sign(tb, id, ledger.Draft{
		Author:      "relay:1",
		Subject:     ledger.Subject{Municipality: batch[:6], Aggregate: batch, Kind: ledger.UploadReceived},
		DocumentKey: slip,
		Body: ledger.Body{
			Flow: ledger.NotificationCard.Name, Items: items, Count: uint32(items.Count()),
			Root: rootOf(items), Basis: ledger.BasisRoot,
		},
	})
}

// Alert returns alert.raised: the watchdog has missed the acknowledgement of
// items since [Start]. The slip stands for the alert's identity.
func Alert(tb testing.TB, id ledger.LedgerID, batch, slip string, items ledger.Items) ledger.Record {
	tb.Helper()
	return Sign(tb, id, ledger.Draft{
		Author:      "watchdog",
		Subject:     ledger.Subject{Municipality: batch[:6], Aggregate: batch, Kind: ledger.AlertRaised},
		DocumentKey: slip,
		Body: ledger.Body{
			Hop: "upload", Side: ledger.AcknowledgementSide, Due: Start, Cause: ledger.Absence,
			Items: items, Count: uint32(items.Count()), OwedBy: "relay:1",
		},
	})
}

// rootOf returns a root that stands for the content of items.
func rootOf(items ledger.Items) ledger.Root {
	return ledger.Root(sha256.Sum256([]byte(items.String())))
}
