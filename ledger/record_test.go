package ledger_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"todoke/ledger"
)

// The ledger, place and moment of every event in these tests.
var (
	testLedger = ledger.LedgerID{0xa0, 0xa1, 0xa2, 0xa3, 15: 0xaf}
	testSalt   = [16]byte{0x51, 15: 0x5f}
	testSent   = time.Date(2015, 10, 5, 1, 30, 0, 123456789, time.UTC)
	testRoot   = ledger.Root(sha256.Sum256([]byte("root")))
)

// signer returns the key that signs in these tests.
func signer(t testing.TB) nkeys.KeyPair { return keyOf(t, "todoke test key") }

// keyOf returns a key whose seed all the world can compute.
func keyOf(t testing.TB, name string) nkeys.KeyPair {
	t.Helper()
	seed := sha256.Sum256([]byte(name))
	key, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, seed[:])
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// drafts are one event of every kind that the program speaks, each with about
// as many fields as it can have. Golden files hold their bytes for ever: add to
// these, never change one.
func drafts() map[ledger.Kind]ledger.Draft {
	of := func(author ledger.Party, b ledger.Body) ledger.Draft { return ledger.Draft{Author: author, Body: b} }
	about := func(b ledger.Body) ledger.Body {
		b.Flow = "notification-card/1"
		if b.Count == 0 {
			b.Count = uint32(b.Items.Count())
		}
		return b
	}
	digest := sha256.Sum256([]byte("document"))
	due := time.Date(2015, 10, 7, 8, 30, 0, 0, time.UTC)
	alert := about(ledger.Body{
		Hop: "import", Side: ledger.AcknowledgementSide, Due: due, Items: ledger.Items{{First: 17, Last: 17}, {First: 3000, Last: 3004}},
		Cause: ledger.Absence, OwedBy: "registry", ClaimedBy: "relay:2", ClaimedAt: due.Add(-24 * time.Hour), Holder: "relay:2",
		Towns: []ledger.Town{{Name: "白鳥二丁目", Count: 1}, {Name: "白鳥三丁目", Items: ledger.Items{{First: 3000, Last: 3004}}, Count: 5}}, Evidence: []ledger.Seq{3, 300},
	})
	closed := alert
	closed.Reopen, closed.Cause, closed.Reason, closed.Evidence = 2, ledger.Contradict, "40 minutes late", []ledger.Seq{1 << 40}
	all := map[ledger.Kind]ledger.Draft{
		ledger.UploadCompleted: of("municipality:131229", about(ledger.Body{
			Items: ledger.AllItems(5228), Root: testRoot, Document: ledger.Document{Kind: "file", Digest: digest},
			Towns: []ledger.Town{{Name: "白鳥一丁目", Items: ledger.AllItems(551), Count: 551}, {Name: "その他", Count: 4677}},
		})),
		ledger.UploadReceived:   of("relay:2", about(ledger.Body{Items: ledger.AllItems(5228), Root: testRoot, Basis: ledger.BasisRoot})),
		ledger.ImportCompleted:  of("relay:2", about(ledger.Body{Items: ledger.AllItems(5228)})),
		ledger.ImportRegistered: of("municipality:131229", about(ledger.Body{Speaker: "registry:jlis", Count: 5228, Basis: ledger.BasisCount, Grade: ledger.CounterpartyAsserted, Document: ledger.Document{Kind: "notice", Date: "2015-10-05"}})),
		ledger.ImportConfirmed:  of("municipality:131229", about(ledger.Body{Items: ledger.AllItems(5228), Root: testRoot, Basis: ledger.BasisRoot})),
		ledger.ImportDisputed:   of("municipality:131229", about(ledger.Body{Items: ledger.AllItems(5228), Root: testRoot, Basis: ledger.BasisRoot, Reason: "another root: 内容が違う"})),
		ledger.OrderSent:        of("registry:jlis", about(ledger.Body{Items: ledger.Items{{First: 1, Last: 551}, {First: 560, Last: 5228}}})),
		ledger.OrderAccepted:    of("printer:npb", about(ledger.Body{Count: 5220, Basis: ledger.BasisCount})),
		ledger.PrintCompleted:   of("printer:npb", about(ledger.Body{Items: ledger.Items{{First: 10_000_000, Last: 10_000_000}}})),
		ledger.PrintCounted:     of("inspector:npb", about(ledger.Body{Items: ledger.Items{{First: 5, Last: 5}, {First: 7, Last: 260}}, Basis: ledger.BasisItems, Grade: ledger.PhysicalCount})),
		ledger.MailHandedOver:   of("inspector:npb", about(ledger.Body{Items: ledger.AllItems(300), Posting: "20151020-7"})),
		ledger.MailAccepted:     of("operator:demo", about(ledger.Body{Speaker: "post:jp", Count: 300, Basis: ledger.BasisCount, Posting: "20151020-7", Document: ledger.Document{Kind: "stamped-receipt", Date: "2015-10-20", Digest: digest}})),
		ledger.RulesPublished:   of("operator:demo", ledger.Body{Pack: []byte("name: default\nversion: 1\n"), Reason: "first pack"}),
		ledger.AlertRaised:      of("watchdog", alert),
		ledger.AlertClosed:      of("watchdog", closed),
		ledger.LedgerOpened:     of("operator:demo", ledger.Body{Ledger: testLedger, Story: "katsushika-2015"}),
		ledger.LedgerStarted: of("operator:demo", ledger.Body{Incarnation: 3, Previous: 2, Head: 17,
			Root: ledger.Root{1, 2, 3}, Since: time.Date(2015, 10, 6, 9, 0, 0, 0, time.UTC)}),
		ledger.AccessRecorded: of("operator:demo", ledger.Body{Who: "municipality:131229",
			Since: time.Date(2015, 10, 6, 9, 0, 0, 0, time.UTC), Reason: "id-reused"}),
	}
	for kind, d := range all {
		d.Subject = ledger.Subject{Municipality: "131229", Aggregate: batchID, Kind: kind}
		if stage := kind.Stage(); stage == "rules" || stage == "ledger" {
			d.Subject.Municipality, d.Subject.Aggregate = ledger.National, stage
		}
		switch kind {
		case ledger.LedgerStarted:
			d.Subject.Aggregate = ledger.StartAggregate(d.Body.Incarnation)
		case ledger.AccessRecorded:
			d.Subject.Aggregate = ledger.AccessAggregate(d.Body.Since)
		}
		d.DocumentKey, d.Salt, d.Sent = "key", testSalt, testSent
		d.Body.Municipality, d.Body.Aggregate = d.Subject.Municipality, d.Subject.Aggregate
		all[kind] = d
	}
	return all
}

// record returns the record of a draft, with a record time, as a log stores it.
func record(t testing.TB, d ledger.Draft) ledger.Record {
	t.Helper()
	r, err := ledger.New(testLedger, d, signer(t))
	if err != nil {
		t.Fatalf("%s: %v", d.Subject.Kind, err)
	}
	return r
}

// stored returns r as it is in a log.
func stored(r ledger.Record) ledger.Record {
	r.Seq, r.Header = 1, maps.Clone(r.Header)
	r.Header[ledger.HeaderTime] = []string{testSent.Add(time.Second).Format(ledger.TimeFormat)}
	return r
}

// sign replaces the signature of r, whatever it holds, by one that verifies. It
// knows nothing of the package: what it does is what the format says.
func sign(t testing.TB, r ledger.Record) ledger.Record {
	t.Helper()
	sig, err := signer(t).Sign(digestOf(r))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = maps.Clone(r.Header)
	r.Header[ledger.HeaderSig] = []string{base64.RawStdEncoding.EncodeToString(sig)}
	return r
}

// digestOf returns what an author signs.
func digestOf(r ledger.Record) []byte {
	var text []byte
	part := func(p string) { text = append(binary.BigEndian.AppendUint64(text, uint64(len(p))), p...) }
	part("todoke/event/v1")
	part(string(testLedger[:]))
	part(r.Subject)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		if name != "Todoke-Sig" && name != "Todoke-Time" {
			part(name)
			part(r.Header.Get(name))
		}
	}
	body := sha256.Sum256(r.Body)
	part("")
	part(string(body[:]))
	digest := sha256.Sum256(text)
	return digest[:]
}

// publicKey returns the Ed25519 key of the signer.
func publicKey(t testing.TB) ed25519.PublicKey {
	t.Helper()
	seed := sha256.Sum256([]byte("todoke test key"))
	return ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
}
