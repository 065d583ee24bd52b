package sim

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"todoke/ledger"
	"todoke/producers"
	"todoke/testenv"
)

// A Word is what a party says about a batch.
type Word struct {
	Party  ledger.Party
	Report producers.Report
}

// Parties returns who speaks about a batch, in the order of the flow.
func Parties(batch string) []ledger.Party {
	return []ledger.Party{municipality(batch), "relay:2", "registry:jlis", "printer:npb"}
}

func municipality(batch string) ledger.Party { return ledger.Party("municipality:" + batch[:6]) }

// Draw draws a word of a party about a batch of twelve items. It is sometimes
// partial, sometimes early, sometimes wrong. The slip is the caller's.
func Draw(random *rand.Rand, party ledger.Party, batch, slip string) Word {
	r := producers.Report{Batch: batch, Slip: slip, Items: drawItems(random)}
	kinds := map[ledger.Role][]ledger.Kind{
		ledger.Municipality: {ledger.UploadCompleted, ledger.ImportConfirmed, ledger.ImportConfirmed},
		ledger.Relay:        {ledger.UploadReceived, ledger.ImportCompleted},
		ledger.Registry:     {ledger.ImportRegistered, ledger.OrderSent},
		ledger.Printer:      {ledger.OrderAccepted},
	}[party.Role()]
	r.Kind = kinds[random.IntN(len(kinds))]
	whole := ledger.AllItems(perBatch)
	switch r.Kind {
	case ledger.UploadCompleted:
		r.Items, r.Root, r.Document = whole, rootOf(batch), ledger.Document{Kind: "file"}
	case ledger.UploadReceived:
		switch random.IntN(8) {
		case 0: // seen and not recomputed
		case 1:
			r.Items, r.Root = whole, ledger.Root{0xff}
		default:
			r.Items, r.Root = whole, rootOf(batch)
		}
	case ledger.ImportRegistered:
		if random.IntN(2) == 0 {
			r.Items, r.Root = whole, rootOf(batch)
		}
	case ledger.ImportConfirmed:
		if r.Root = rootOf(batch); !r.Items.Equal(whole) {
			r.Root = ledger.Root{byte(r.Items.Count()), 1}
		}
	}
	return Word{party, r}
}

// another returns a word under the same id that says something else, false for a
// word that cannot: its root has to be right.
func (w Word) another() (Word, bool) {
	if !w.Report.Root.IsZero() {
		return w, false
	}
	items := ledger.Items{{First: 3, Last: 5}}
	if w.Report.Items.Equal(items) {
		items = ledger.Items{{First: 6, Last: 7}}
	}
	w.Report.Items = items
	return w, true
}

// Sign returns the record of a word. Its salt is made of its slip, and its author's
// clock stands at [testenv.Start]: the same word gives the same bytes.
func (w Word) Sign(tb testing.TB, id ledger.LedgerID, v *Voice) ledger.Record {
	tb.Helper()
	salt := sha256.Sum256([]byte(w.Report.Batch + w.Report.Slip))
	reporter, err := producers.New(producers.Config{
		Log: addressee(id), Party: w.Party, Key: v, Rand: bytes.NewReader(salt[:]), Now: func() time.Time { return testenv.Start },
	})
	if err != nil {
		tb.Fatalf("speak as %s: %v", w.Party, err)
	}
	r, err := reporter.Record(w.Report)
	if err != nil {
		tb.Fatalf("sign a word of %s: %v", w.Party, err)
	}
	return r
}

// An addressee is the ledger that a word is signed for. It takes none.
type addressee ledger.LedgerID

// ID implements [producers.Appender].
func (a addressee) ID() ledger.LedgerID { return ledger.LedgerID(a) }

// Append implements [producers.Appender].
func (addressee) Append(context.Context, ledger.Record) (ledger.Receipt, error) {
	return ledger.Receipt{}, ledger.ErrUnavailable
}

// Unverified reads a record that was not stored yet and whose signature somebody
// else has verified.
func Unverified(r ledger.Record) (ledger.Event, error) {
	author := r.Header
	r.Header = withTime(author, testenv.Start)
	e, err := ledger.Decode(r)
	e.Record.Header = author
	return e, err
}

// rootOf stands for the content of a batch.
func rootOf(batch string) ledger.Root { return sha256.Sum256([]byte(batch)) }

// drawItems draws all items, or a range of them.
func drawItems(random *rand.Rand) ledger.Items {
	if random.IntN(2) == 0 {
		return ledger.AllItems(perBatch)
	}
	first := 1 + random.Uint32N(perBatch)
	return ledger.Items{{First: first, Last: first + random.Uint32N(perBatch-first+1)}}
}

// A Voice is the key of a party, as [testenv.Key] has it, made ready to sign often:
// an nkey derives its halves from the seed each time.
type Voice struct {
	public  string
	private ed25519.PrivateKey
}

// NewVoice returns the voice of a party.
func NewVoice(tb testing.TB, party ledger.Party) *Voice {
	tb.Helper()
	key := testenv.Key(tb, string(party))
	public, err := key.PublicKey()
	if err != nil {
		tb.Fatalf("read key of %s: %v", party, err)
	}
	seed, err := key.Seed()
	if err != nil {
		tb.Fatalf("read key of %s: %v", party, err)
	}
	_, raw, err := nkeys.DecodeSeed(seed)
	if err != nil {
		tb.Fatalf("read key of %s: %v", party, err)
	}
	return &Voice{public, ed25519.NewKeyFromSeed(raw)}
}

// PublicKey implements [ledger.Signer].
func (v *Voice) PublicKey() (string, error) { return v.public, nil }

// Sign implements [ledger.Signer].
func (v *Voice) Sign(input []byte) ([]byte, error) { return ed25519.Sign(v.private, input), nil }
