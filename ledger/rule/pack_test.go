package rule

import (
	"bytes"
	"flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"todoke/ledger"
)

var update = flag.Bool("update", false, "write the golden file of a pack that was never released")

func mustParse(t *testing.T, text string) *Pack {
	t.Helper()
	p, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustProfile(t *testing.T, name string) *Pack {
	t.Helper()
	p, err := Profile(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEmbeddedPacks(t *testing.T) {
	for _, name := range Profiles() {
		t.Run(name, func(t *testing.T) {
			p := mustProfile(t, name)
			if p.Profile() != name {
				t.Errorf("profile %q", p.Profile())
			}
			if p.Flow() != ledger.NotificationCard {
				t.Errorf("flow %q", p.Flow().Name)
			}
			text := p.Text()
			if len(text) >= MaxText {
				t.Errorf("the text has %d bytes", len(text))
			}
			if q := mustParse(t, string(text)); !reflect.DeepEqual(p, q) {
				t.Errorf("the text gives another pack: %s", q.Text())
			}
		})
	}
	if Default().Version() != "default/1" {
		t.Errorf("the default is %s", Default().Version())
	}
	if _, err := Profile("half"); err == nil {
		t.Error("there is a profile half")
	}
}

// Ledgers hold these bytes for ever.
func TestPublishedTextIsGolden(t *testing.T) {
	const golden = "testdata/default-1.yaml"
	text := Default().Text()
	if *update {
		if err := os.WriteFile(golden, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, want) {
		t.Errorf("default/1 is no longer %s: a changed pack needs a new version", golden)
	}
}

func TestObserved(t *testing.T) {
	const c, a, k = ledger.ClaimSide, ledger.AcknowledgementSide, ledger.ConfirmationSide
	for profile, want := range map[string]map[string][]ledger.Side{
		"full":      {"upload": {c, a}, "import": {c, a, k}, "order": {c, a}, "print": {c, a}, "mail": {c, a}},
		"centre":    {"upload": {c, a}, "import": {c, a, k}, "order": {c, a}},
		"ward-only": {"upload": {c}, "import": {a, k}},
	} {
		p := mustProfile(t, profile)
		for _, stage := range []string{"upload", "import", "order", "print", "mail", "delivery", "return", ""} {
			for side := ledger.Side(0); side < 10; side++ {
				expect := slices.Contains(want[stage], side)
				if got := p.Observed(stage, side); got != expect {
					t.Errorf("%s: %s %d is observed: %v", profile, stage, side, got)
				}
				if due, got := p.Deadline(stage, side, time.Unix(1444000000, 0)); got != expect || due.Due.IsZero() == expect {
					t.Errorf("%s: %s %d has the deadline %v, %v", profile, stage, side, due, got)
				}
			}
		}
	}
}

func TestRequired(t *testing.T) {
	for _, c := range []struct {
		profile, stage string
		basis          ledger.Basis
		grade          ledger.Grade
	}{
		{"full", "upload", ledger.BasisRoot, 2},
		{"full", "import", ledger.BasisRoot, 2},
		{"full", "order", ledger.BasisCount, 2},
		{"full", "print", ledger.BasisCount, 3},
		{"full", "mail", ledger.BasisCount, 3},
		{"full", "delivery", ledger.BasisCount, 2},
		{"ward-only", "import", ledger.BasisCount, 2},
		{"ward-only", "mail", ledger.BasisCount, 2},
	} {
		if basis, grade := mustProfile(t, c.profile).Required(c.stage); basis != c.basis || grade != c.grade {
			t.Errorf("%s %s requires %s, %d", c.profile, c.stage, basis, grade)
		}
	}
}

func TestOrganisation(t *testing.T) {
	p := mustParse(t, strings.Replace(fullText(t), "  post: jp", "  post: jp\n  relay:2: kansai\n  counter: town", 1))
	for party, want := range map[ledger.Party]string{
		"relay:1":             "jlis",
		"relay:2":             "kansai",
		"registry:jlis":       "jlis",
		"printer:npb":         "npb",
		"inspector:npb":       "npb",
		"post:jp":             "jp",
		"counter:131229":      "town",
		"municipality:131229": "municipality:131229",
		"municipality:011002": "municipality:011002",
		"bureau:1":            "bureau:1",
		"watchdog":            "watchdog",
	} {
		if got := p.Organisation(party); got != want {
			t.Errorf("%s is of %q, want %q", party, got, want)
		}
	}
	if again := mustParse(t, string(p.Text())); !reflect.DeepEqual(p, again) {
		t.Errorf("another pack: %s", again.Text())
	}
}

// A hop within one house stays allowed where the count is physical, and where a
// single party has left the house the role still has to be confirmed.
func TestOneHouseNeedsAnIndependentCheck(t *testing.T) {
	apart := strings.Replace(fullText(t), "registry: jlis", "registry: moj", 1)
	mustParse(t, strings.Replace(apart, "    confirmation: {within: 24h}\n", "", 1))

	scanned := strings.Replace(fullText(t), "basis: root, grade: 2}\n    confirmation: {within: 24h}\n", "basis: root, grade: 3}\n", 1)
	mustParse(t, scanned)

	partly := strings.Replace(fullText(t), "    confirmation: {within: 24h}\n", "", 1)
	partly = strings.Replace(partly, "  post: jp", "  post: jp\n  relay:2: kansai", 1)
	if _, err := Parse([]byte(partly)); err == nil {
		t.Error("relay:1 and the registry may vouch for each other")
	}
}

func TestOfficialUntil(t *testing.T) {
	if got, want := Default().OfficialUntil(), moment(t, "2027-01-01T00:00"); !got.Equal(want) {
		t.Errorf("official until %s, want %s", got, want)
	}
}
