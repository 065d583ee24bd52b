package ledger_test

import (
	"bufio"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"todoke/ledger"
)

func TestNewID(t *testing.T) {
	subject := ledger.Subject{Municipality: "131229", Aggregate: batchID, Kind: ledger.UploadCompleted}
	id := ledger.NewID(testLedger, "municipality:131229", subject, "key")
	if want := "280100931817088536b1218e316983f0"; id.String() != want {
		t.Errorf("%s, want %s", id, want)
	}
	var text []byte
	for _, part := range []string{"todoke/id/v1", string(testLedger[:]), "municipality:131229", "131229." + batchID, "upload.completed", "key"} {
		text = append(binary.BigEndian.AppendUint64(text, uint64(len(part))), part...)
	}
	if sum := sha256.Sum256(text); ledger.ID(sum[:16]) != id {
		t.Errorf("%s, by the format %x", id, sum[:16])
	}

	other := func(ledgerID ledger.LedgerID, author ledger.Party, municipality, aggregate string, kind ledger.Kind, key string) ledger.ID {
		return ledger.NewID(ledgerID, author, ledger.Subject{Municipality: municipality, Aggregate: aggregate, Kind: kind}, key)
	}
	for name, have := range map[string]ledger.ID{
		"ledger":                        other(ledger.LedgerID{1}, "municipality:131229", "131229", batchID, ledger.UploadCompleted, "key"),
		"author":                        other(testLedger, "relay:2", "131229", batchID, ledger.UploadCompleted, "key"),
		"municipality":                  other(testLedger, "municipality:131229", "011002", batchID, ledger.UploadCompleted, "key"),
		"aggregate":                     other(testLedger, "municipality:131229", "131229", "b", ledger.UploadCompleted, "key"),
		"kind":                          other(testLedger, "municipality:131229", "131229", batchID, ledger.UploadReceived, "key"),
		"document key":                  other(testLedger, "municipality:131229", "131229", batchID, ledger.UploadCompleted, "key2"),
		"a byte moved to the next part": other(testLedger, "municipality:13122", "9131229", batchID, ledger.UploadCompleted, "key"),
	} {
		if have == id {
			t.Errorf("another %s gives the same id", name)
		}
	}
}

// TestSameWordTwice: time and salt are not part of what is said.
func TestSameWordTwice(t *testing.T) {
	d := drafts()[ledger.OrderSent]
	first := record(t, d)
	d.Sent, d.Salt = d.Sent.Add(time.Hour), [16]byte{9}
	again := record(t, d)
	if first.Header.Get(ledger.HeaderID) != again.Header.Get(ledger.HeaderID) || string(first.Body) != string(again.Body) {
		t.Errorf("an hour later it is another event: %s, %s", first.Header.Get(ledger.HeaderID), again.Header.Get(ledger.HeaderID))
	}
}

// TestSignature checks a signature with nothing but Ed25519 and the format.
func TestSignature(t *testing.T) {
	for kind, d := range drafts() {
		r := record(t, d)
		sig, err := base64.RawStdEncoding.DecodeString(r.Header.Get(ledger.HeaderSig))
		if err != nil || !ed25519.Verify(publicKey(t), digestOf(r), sig) {
			t.Errorf("%s: the signature does not verify by the format, %v", kind, err)
		}
	}
}

// TestForgery changes one thing at a time in a signed record.
func TestForgery(t *testing.T) {
	d := drafts()[ledger.ImportCompleted]
	twin := d
	twin.Subject.Aggregate, twin.Body.Items = "131229-20151005-0043", ledger.AllItems(5229)
	twin.Body.Count, twin.DocumentKey, twin.Salt, twin.Sent = 5229, "other", [16]byte{1}, d.Sent.Add(1)
	good, other := record(t, d), record(t, twin)
	if _, err := ledger.Admit(testLedger, good); err != nil {
		t.Fatal(err)
	}

	for _, name := range []string{ledger.HeaderID, ledger.HeaderSalt, ledger.HeaderSent, ledger.HeaderSig} {
		t.Run(name, func(t *testing.T) {
			r := good
			r.Header = maps.Clone(good.Header)
			r.Header[name] = other.Header[name]
			refused(t, r, ledger.ErrSignature)
		})
	}
	t.Run(ledger.HeaderParty, func(t *testing.T) {
		r := good
		r.Header = maps.Clone(good.Header)
		r.Header[ledger.HeaderParty] = []string{"relay:3"}
		refused(t, r, ledger.ErrSignature)
	})
	t.Run(ledger.HeaderKey, func(t *testing.T) {
		r := good
		r.Header = maps.Clone(good.Header)
		public, err := keyOf(t, "another key").PublicKey()
		if err != nil {
			t.Fatal(err)
		}
		r.Header[ledger.HeaderKey] = []string{public}
		refused(t, r, ledger.ErrSignature)
	})
	t.Run("body", func(t *testing.T) {
		r := good
		b := d.Body
		b.Items, b.Count = ledger.AllItems(5227), 5227
		r.Body, _ = ledger.Encode(&b)
		refused(t, r, ledger.ErrSignature)
	})
	t.Run("subject and body of another batch", func(t *testing.T) {
		r := good
		r.Subject, r.Body = other.Subject, other.Body
		refused(t, r, ledger.ErrSignature)
	})
	t.Run("ledger", func(t *testing.T) {
		if _, err := ledger.Admit(ledger.LedgerID{1}, good); !errors.Is(err, ledger.ErrSignature) {
			t.Errorf("%v, want ErrSignature", err)
		}
	})
	t.Run("another spelling of the signature", func(t *testing.T) {
		sig := good.Header.Get(ledger.HeaderSig) // the last letter has four idle bits
		const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
		last := strings.IndexByte(letters, sig[len(sig)-1])
		for _, spelling := range []string{sig[:len(sig)-1] + letters[last^1:last^1+1], sig + "==", sig[:40] + "\n" + sig[40:]} {
			r := good
			r.Header = maps.Clone(good.Header)
			r.Header[ledger.HeaderSig] = []string{spelling}
			refused(t, r, ledger.ErrMalformed)
		}
	})
}

// refused asserts that r is refused for that reason, and never stored.
func refused(t *testing.T, r ledger.Record, want error) {
	t.Helper()
	if _, err := ledger.Admit(testLedger, r); !errors.Is(err, want) || !errors.Is(err, ledger.ErrRefused) {
		t.Errorf("%v, want: %v", err, want)
	}
}

// TestNewRefuses: what Admit would refuse is not signed and sent first.
func TestNewRefuses(t *testing.T) {
	d := drafts()[ledger.ImportCompleted]
	d.Body.Count = 5
	if _, err := ledger.New(testLedger, d, signer(t)); !errors.Is(err, ledger.ErrMalformed) {
		t.Errorf("%v, want ErrMalformed", err)
	}
	d = drafts()[ledger.ImportCompleted]
	want := errors.New("no key in the drawer")
	if _, err := ledger.New(testLedger, d, brokenSigner{want}); !errors.Is(err, want) {
		t.Errorf("%v, want the signer's error", err)
	}
}

// A brokenSigner cannot sign.
type brokenSigner struct{ err error }

func (s brokenSigner) PublicKey() (string, error)  { return "", s.err }
func (s brokenSigner) Sign([]byte) ([]byte, error) { return nil, s.err }

func TestDecodeOfWhatIsNotKnown(t *testing.T) {
	r := stored(record(t, drafts()[ledger.OrderSent]))
	for name, c := range map[string]struct{ subject, kind string }{
		"a kind of the future":    {"ledger.v1.131229." + batchID + ".order.teleported", "order.teleported/1"},
		"a reserved kind":         {"ledger.v1.131229." + batchID + ".order.refused", "order.refused/1"},
		"a version of the future": {r.Subject, "order.sent/2"},
		"no version":              {r.Subject, "order.sent"},
	} {
		t.Run(name, func(t *testing.T) {
			future := r
			future.Subject, future.Header = c.subject, maps.Clone(r.Header)
			future.Header[ledger.HeaderKind] = []string{c.kind}
			future.Body = []byte("whatever it will be")
			e, err := ledger.Decode(future)
			if !errors.Is(err, ledger.ErrUnknownKind) {
				t.Fatalf("%v, want ErrUnknownKind", err)
			}
			if e.Subject.AggregateKey() != "131229."+batchID || e.Author != "registry:jlis" || e.Time.IsZero() {
				t.Errorf("it is about %q by %q at %v", e.Subject.AggregateKey(), e.Author, e.Time)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := stored(record(t, drafts()[ledger.OrderSent]))
	for name, c := range map[string]struct {
		header, value string
		want          error
	}{
		"no record time":                {ledger.HeaderTime, "", ledger.ErrMalformed},
		"a record time in another form": {ledger.HeaderTime, "2015-10-05T01:30:01Z", ledger.ErrMalformed},
		"no author":                     {ledger.HeaderParty, "", ledger.ErrMalformed},
		"the kind of another subject":   {ledger.HeaderKind, "order.accepted/1", ledger.ErrMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			r := good
			r.Header = maps.Clone(good.Header)
			r.Header[c.header] = []string{c.value}
			if _, err := ledger.Decode(r); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
	for name, subject := range map[string]string{
		"another municipality": "ledger.v1.011002." + batchID + ".order.sent",
		"another batch":        "ledger.v1.131229.131229-20151005-0043.order.sent",
	} {
		t.Run(name, func(t *testing.T) {
			r := good
			r.Subject = subject
			if _, err := ledger.Decode(r); !errors.Is(err, ledger.ErrMismatch) {
				t.Errorf("%v, want ErrMismatch", err)
			}
		})
	}
}

func TestSubjects(t *testing.T) {
	s := ledger.Subject{Municipality: "131229", Aggregate: batchID, Kind: ledger.MailHandedOver}
	text := "ledger.v1.131229." + batchID + ".mail.handed-over"
	if s.String() != text || s.AggregateKey() != "131229."+batchID {
		t.Errorf("%s, %s", s, s.AggregateKey())
	}
	if back, err := ledger.ParseSubject(text); err != nil || back != s {
		t.Errorf("%v, %v", back, err)
	}
	for subject, want := range map[string]error{
		"":                              ledger.ErrMalformed,
		"ledger.v1":                     ledger.ErrMalformed,
		"ledger.v2.131229.b.order.sent": ledger.ErrMalformed,
		"ledger.v1.131228.b.order.sent": ledger.ErrMalformed, // check digit
		"ledger.v1.13122.b.order.sent":  ledger.ErrMalformed,
		"ledger.v1.１３１２２９.b.order.sent":                               ledger.ErrMalformed,
		"ledger.v1.131229..order.sent":                                ledger.ErrMalformed,
		"ledger.v1.131229.*.order.sent":                               ledger.ErrMalformed,
		"ledger.v1.131229.>":                                          ledger.ErrMalformed,
		"ledger.v1.131229.B.order.sent":                               ledger.ErrMalformed,
		"ledger.v1.131229.a b.order.sent":                             ledger.ErrMalformed,
		"ledger.v1.131229.b\x00.order.sent":                           ledger.ErrMalformed,
		"ledger.v1.131229.b.order":                                    ledger.ErrUnknownKind,
		"ledger.v1.131229.b.order.sent.more":                          ledger.ErrUnknownKind,
		"ledger.v1.131229.b.order.vanished":                           ledger.ErrUnknownKind,
		"ledger.v1.131229." + strings.Repeat("b", 49) + ".order.sent": ledger.ErrMalformed,
	} {
		if s, err := ledger.ParseSubject(subject); !errors.Is(err, want) {
			t.Errorf("%q: %v, %v, want %v", subject, s, err, want)
		}
	}
}

func TestIDsRoundTrip(t *testing.T) {
	id := ledger.ID{1, 15: 0xfe}
	if back, err := ledger.ParseID(id.String()); err != nil || back != id {
		t.Errorf("%s, %v", back, err)
	}
	if back, err := ledger.ParseLedgerID(testLedger.String()); err != nil || back != testLedger {
		t.Errorf("%s, %v", back, err)
	}
	for _, text := range []string{"", "0", id.String()[1:], id.String() + "0", strings.ToUpper(id.String()), strings.Repeat("g", 32)} {
		if _, err := ledger.ParseID(text); err == nil {
			t.Errorf("%q is read as an id", text)
		}
		if _, err := ledger.ParseLedgerID(text); err == nil {
			t.Errorf("%q is read as a ledger id", text)
		}
	}
}

// TestMunicipalityCodes checks codes as the ministry gives them out, and that
// each five digits have one check digit.
func TestMunicipalityCodes(t *testing.T) {
	file, err := os.Open("testdata/municipalities.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	seen := 0
	for lines := bufio.NewScanner(file); lines.Scan(); seen++ {
		code, name, _ := strings.Cut(lines.Text(), ",")
		for digit := range 10 {
			other := code[:5] + fmt.Sprint(digit)
			if ledger.ValidMunicipality(other) != (other == code) {
				t.Errorf("%s %s: %s is valid: %v", code, name, other, other != code)
			}
		}
	}
	if seen < 40 {
		t.Errorf("%d codes", seen)
	}
	for _, code := range []string{"", "13122", "1312290", "13122x", "１３１２２９", "-13122", ledger.National} {
		if ledger.ValidMunicipality(code) {
			t.Errorf("%q is valid", code)
		}
	}
}
