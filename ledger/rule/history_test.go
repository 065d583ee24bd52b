package rule

import (
	"strings"
	"testing"

	"todoke/ledger"
)

func rulesPublished(seq ledger.Seq, text string) ledger.Event {
	return ledger.Event{
		Record:  ledger.Record{Seq: seq},
		Subject: ledger.Subject{Municipality: ledger.National, Aggregate: "rules", Kind: ledger.RulesPublished},
		Content: ledger.Body{Pack: []byte(text)},
	}
}

func TestHistory(t *testing.T) {
	var h History
	second := strings.Replace(string(Default().Text()), "default/1", "default/2", 1)
	third := strings.NewReplacer("default/1", "default/3", "within: 24h", "within: 3s").Replace(string(Default().Text()))
	for _, e := range []ledger.Event{
		rulesPublished(10, second),
		{Record: ledger.Record{Seq: 15}, Subject: ledger.Subject{Kind: ledger.UploadCompleted}},
		rulesPublished(20, third),
		rulesPublished(30, second),
	} {
		if err := h.Apply(e); err != nil {
			t.Fatal(err)
		}
	}
	for seq, want := range map[ledger.Seq]string{
		0: "default/1", 1: "default/1", 9: "default/1",
		10: "default/2", 15: "default/2", 19: "default/2",
		20: "default/3", 29: "default/3",
		30: "default/2", 1 << 62: "default/2",
	} {
		if got := h.At(seq).Version(); got != want {
			t.Errorf("at %d: %s, want %s", seq, got, want)
		}
	}
}

func TestHistoryKeepsThePackBefore(t *testing.T) {
	second := strings.Replace(string(Default().Text()), "default/1", "default/2", 1)
	for _, c := range []struct{ name, text, want string }{
		{"unreadable", "version: [", "rules published at 20: read rule pack: line 1: "},
		{"empty", "", "rules published at 20: read rule pack: "},
		{"without its own table", strings.Replace(fullText(t), "default/1", "default/3", 1), "default/3 has no table of holidays"},
		{"one version for two texts", strings.Replace(second, "grade: 2", "grade: 3", 1), "another text was published as default/2 at 10"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var h History
			if err := h.Apply(rulesPublished(10, second)); err != nil {
				t.Fatal(err)
			}
			if err := h.Apply(rulesPublished(20, c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if got := h.At(20).Version(); got != "default/2" {
				t.Errorf("%s is in force", got)
			}
		})
	}
}
