package rule

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// fullText returns the pack of the profile full as an operator sees it.
func fullText(t testing.TB) string {
	t.Helper()
	text, err := packFiles.ReadFile("packs/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestParseNamesLineAndField(t *testing.T) {
	const table = "  post_closes: \"24:00\"\n  official_until: 2016-12-31\n  holidays:\n    2015-01-01: 元日\n    2015-11-23: 勤労感謝の日\n    2016-01-01: 元日\n    2016-11-23: 勤労感謝の日\n"
	_, hops, _ := strings.Cut(fullText(t), "\nhops:")
	hops, _, _ = strings.Cut("hops:"+hops, "\n#")
	const post = "  post_closes: \"24:00\"\n"
	for _, c := range []struct{ name, old, new, want string }{
		{"unknown field", "version:", "flavour: x\nversion:", "line 3: flavour: is not a field here; the fields are version, "},
		{"field twice", "profile: full", "profile: full\nprofile: full", `line 5: mapping key "profile" already defined`},
		{"field missing", "profile: full\n", "", "line 1: the field profile is missing"},
		{"field without value", "profile: full", "profile:", "line 4: profile: has no value"},
		{"value is a list", "profile: full", "profile: [full]", "line 4: profile: is a YAML sequence"},
		{"value is an anchor", "profile: full", "profile: &p full", "line 4: profile: is a YAML anchor"},
		{"value is an alias", "profile: full", "profile: *p", "line 4: profile: is a YAML alias"},
		{"value is a tag", "profile: full", "profile: !!str full", "line 4: profile: is a YAML tag"},
		{"value is a block", "profile: full", "profile: |\n  full", "line 4: profile: is a YAML literal"},
		{"value has fields", "profile: full", "profile: {full: full}", `line 4: profile: "" is not a word`},
		{"name is no word", "profile: full", "Profile: full", `line 4: "Profile" is not the name of a field`},
		{"merge", "profile: full", "<<: {profile: full}", `line 4: "<<" is not the name of a field`},
		{"indentation", "  registry: jlis", " registry: jlis", "line 10: "},
		{"quote left open", "profile: full", "profile: 'full", "line 4: could not find end character"},
		{"second document", "hops:", "---\nhops:", "want one YAML document, have 2"},

		{"version without number", "default/1", "default", `line 3: version: "default" is not a name, a slash and a number`},
		{"version zero", "default/1", "default/0", `line 3: version: "default/0"`},
		{"version in capitals", "default/1", "Default/1", `line 3: version: "Default/1"`},
		{"version with a zero before it", "default/1", "default/01", `line 3: version: "default/01"`},
		{"profile with a space", "profile: full", "profile: f ull", `line 4: profile: "f ull" is not a word`},
		{"flow unknown", "notification-card/1", "notification-card/2", `line 5: flow: "notification-card/2" is not a flow`},

		{"organisation missing", "  printer: npb\n", "", "line 8: organisations: the field printer is missing"},
		{"organisation of a municipality", "  post: jp", "  post: jp\n  municipality:131229: jlis", "line 14: organisations.municipality:131229: a municipality is always"},
		{"organisation of municipalities", "  post: jp", "  post: jp\n  municipality: jlis", "line 14: organisations.municipality: a municipality is always"},
		{"organisation of nobody", "  post: jp", "  post: jp\n  baker: jp", "line 14: organisations.baker: is neither a role"},
		{"organisation of a bad party", "  post: jp", "  post: jp\n  relay:a:b: jp", "line 14: organisations.relay:a:b: is neither a role"},
		{"organisation of no word", "  post: jp", "  post: 日本郵便", `line 13: organisations.post: "日本郵便" is not a word`},

		{"hop unknown", "  mail:", "  male:", "line 32: hops.male: notification-card/1 has no such hop"},
		{"hop not watched by this program", "  mail:", "  delivery:", "line 32: hops.delivery: notification-card/1 has no such hop"},
		{"hops out of order", "  print:\n    claim: {within: 5 office days}\n    acknowledgement: {within: 1 office day, basis: count, grade: 3}\n  mail:", "  mail:\n    acknowledgement: {within: 1 post day, basis: count, grade: 3}\n  print:", "line 31: hops.print: stands after mail, but comes before it"},
		{"no hop", "hops:\n", "hops: {}\nhips:\n", "line 18: hops: nothing stands below it"},
		{"hops as a word", hops, "hops: none\n", "line 18: hops: a pack must observe at least one hop"},
		{"side unknown", "    confirmation: {within: 24h}", "    affirmation: {within: 24h}", "line 25: hops.import.affirmation: is not a field here; the fields are claim, acknowledgement, confirmation"},
		{"side that the flow has not", "{within: 1 post day, basis: count, grade: 3}", "{within: 1 post day, basis: count, grade: 3}\n    confirmation: {within: 24h}", "line 35: hops.mail.confirmation: the flow has no such side"},
		{"side without fields", "claim: {within: 2 office days}", "claim: 2 office days", "line 33: hops.mail.claim: want the fields within"},
		{"claim with a grade", "claim: {within: 2 office days}", "claim: {within: 2 office days, grade: 2}", "line 33: hops.mail.claim.grade: is not a field here"},
		{"within missing", "{within: 1 post day, basis: count, grade: 3}", "{basis: count, grade: 3}", "line 34: hops.mail.acknowledgement: the field within is missing"},
		{"basis missing", "{within: 1 post day, basis: count, grade: 3}", "{within: 1 post day, grade: 3}", "line 34: hops.mail.acknowledgement: the field basis is missing"},
		{"grade missing", "{within: 1 post day, basis: count, grade: 3}", "{within: 1 post day, basis: count}", "line 34: hops.mail.acknowledgement: the field grade is missing"},
		{"within in weeks", "2 office days", "2 weeks", `line 33: hops.mail.claim.within: "2 weeks" is not a time such as`},
		{"within without unit", "2 office days", "2", `line 33: hops.mail.claim.within: "2" is not a time such as`},
		{"within zero", "2 office days", "0h", `line 33: hops.mail.claim.within: "0h" is not above zero`},
		{"within no days", "2 office days", "0 office days", `line 33: hops.mail.claim.within: "0 office days" is not a time such as`},
		{"within negative", "2 office days", "-24h", `line 33: hops.mail.claim.within: "-24h" is not above zero`},
		{"within too long", "2 office days", "9601h", `line 33: hops.mail.claim.within: "9601h" is longer than 400 days`},
		{"within too many days", "2 office days", "401 office days", `line 33: hops.mail.claim.within: "401 office days" is longer than 400 days`},
		{"basis unknown", "basis: count, grade: 2", "basis: hope, grade: 2", `line 28: hops.order.acknowledgement.basis: "hope" is not count, items or root`},
		{"grade too low", "basis: count, grade: 2", "basis: count, grade: 1", `line 28: hops.order.acknowledgement.grade: "1" is not a grade from 2 to 4`},
		{"grade too high", "basis: count, grade: 2", "basis: count, grade: 5", `line 28: hops.order.acknowledgement.grade: "5" is not a grade from 2 to 4`},
		{"grade above a byte", "basis: count, grade: 2", "basis: count, grade: 258", `line 28: hops.order.acknowledgement.grade: "258" is not a grade from 2 to 4`},
		{"grade in words", "basis: count, grade: 2", "basis: count, grade: two", `line 28: hops.order.acknowledgement.grade: "two" is not a grade from 2 to 4`},
		{"claim alone", "    acknowledgement: {within: 1 post day, basis: count, grade: 3}\n", "", "hops: the last hop is mail: its acknowledgement must be observed"},
		{"confirmation alone", "    claim: {within: 24h}\n    acknowledgement: {within: 24h, basis: root, grade: 2}\n    confirmation", "    confirmation", "line 22: hops.import: the confirmation is observed, but not the acknowledgement"},
		{"one house without confirmation", "    confirmation: {within: 24h}\n", "", "line 22: hops.import: relay and registry are of one organisation: the acknowledgement must have grade 3, or the confirmation must be observed"},
		{"one house where nobody can confirm", "{within: 1 office day, basis: count, grade: 3}", "{within: 1 office day, basis: count, grade: 2}", "line 29: hops.print: printer and inspector are of one organisation: the acknowledgement must have grade 3"},
		{"one house by a single party", "  post: jp", "  post: jp\n  printer:9: jlis", "line 27: hops.order: registry and printer are of one organisation"},

		{"calendar field unknown", post, "  post_opens: \"09:00\"\n", "line 39: calendar.post_opens: is not a field here"},
		{"closing hour missing", post, "", "line 37: calendar: the field post_closes is missing"},
		{"closing hour at midnight", `"17:15"`, `"00:00"`, `line 38: calendar.office_closes: "00:00" is not from 00:01 to 24:00`},
		{"closing hour in words", `"17:15"`, "noon", `line 38: calendar.office_closes: "noon" is not a time of day`},
		{"table without its end", post, post + "  holidays: {2015-01-01: 元日, 2015-11-23: 勤労感謝の日}\n", "line 37: calendar: official_until and holidays belong together"},
		{"end without a table", post, post + "  official_until: 2030-12-31\n", "line 37: calendar: official_until and holidays belong together"},
		{"end beyond the table", post, strings.Replace(table, "2016-12-31", "2017-01-01", 1), "line 40: calendar.official_until: 2017-01-01 is later than the table, which ends with 2016"},
		{"end is no date", post, strings.Replace(table, "2016-12-31", "2016-02-30", 1), `line 40: calendar.official_until: "2016-02-30" is not a date`},
		{"table is a word", post, post + "  official_until: 2016-12-31\n  holidays: none\n", "line 41: calendar.holidays: want dates and names"},
		{"holiday is no date", post, strings.Replace(table, "2015-11-23", "2015-11-31", 1), `line 43: calendar.holidays.2015-11-31: "2015-11-31" is not a date`},
		{"holidays out of order", post, strings.Replace(table, "2016-01-01", "2015-11-03", 1), "line 44: calendar.holidays.2015-11-03: 2015-11-03 is not after"},
		{"holiday twice", post, strings.Replace(table, "2016-01-01", "2015-11-23", 1), `line 44: mapping key "2015-11-23" already defined`},
		{"holiday without a Japanese name", post, strings.Replace(table, "元日", "New Year", 1), "line 42: calendar.holidays.2015-01-01: the name of the holiday"},
		{"year breaks off", post, strings.Replace(table, "2015-11-23", "2015-09-23", 1), "line 44: calendar.holidays.2016-01-01: the year 2015 breaks off after 2015-09-23"},
		{"last year breaks off", post, strings.Replace(table, "2016-11-23", "2016-09-22", 1), "line 41: calendar.holidays: the year 2016 breaks off after 2016-09-22"},
		{"year begins late", post, strings.Replace(table, "2016-01-01", "2016-01-11", 1), "line 44: calendar.holidays.2016-01-11: the year 2016 does not begin"},
		{"year missing", post, strings.ReplaceAll(table, "2016-", "2017-"), "line 44: calendar.holidays.2017-01-01: the year 2016 is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			whole := fullText(t)
			if !strings.Contains(whole, c.old) {
				t.Fatalf("the pack does not hold %q", c.old)
			}
			p, err := Parse([]byte(strings.Replace(whole, c.old, c.new, 1)))
			switch {
			case err == nil:
				t.Fatalf("read as %s", p.Text())
			case p != nil:
				t.Error("a pack beside the error")
			case !strings.Contains(err.Error(), c.want):
				t.Errorf("error %q\n     want %q", err, c.want)
			case strings.Contains(err.Error(), "\n"):
				t.Errorf("the error has several lines: %q", err)
			}
		})
	}
}

func TestParseRefusesForeignBytes(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":         "",
		"a comment":       "# nothing\n",
		"a word":          "full",
		"a list":          "- full\n",
		"NUL":             "version: default/1\x00\n",
		"not UTF-8":       "version: \xff\n",
		"UTF-16":          "v\x00e\x00r\x00s\x00i\x00o\x00n\x00",
		"too large":       strings.Repeat("#", MaxText+1),
		"nested lists":    strings.Repeat("[", MaxText),
		"nested maps":     strings.Repeat("{", MaxText),
		"nested entries":  strings.Repeat("- ", MaxText/2),
		"nested in lines": strings.Repeat("-\n", MaxText/2),
	} {
		t.Run(name, func(t *testing.T) {
			if p, err := Parse([]byte(text)); err == nil {
				t.Errorf("read as %s", p.Text())
			} else if len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

// A pack that Parse took can always be published.
func TestParseRefusesWhatBecomesTooLarge(t *testing.T) {
	var parties strings.Builder
	for n := 0; parties.Len() < MaxText-6000; n++ {
		fmt.Fprintf(&parties, "  relay:%d-%s: a\n", n, strings.Repeat("x", 40))
	}
	text := strings.Replace(fullText(t), "  post: jp\n", "  post: jp\n"+parties.String(), 1)
	if len(text) > MaxText {
		t.Fatalf("the text has %d bytes already", len(text))
	}
	if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), "with its table of holidays") {
		t.Errorf("error %v", err)
	}
}

func TestParseTakesFilesOfOtherEditors(t *testing.T) {
	want := Default().Text()
	full := fullText(t)
	for name, text := range map[string]string{
		"byte order mark":      "\ufeff" + full,
		"CRLF":                 strings.ReplaceAll(full, "\n", "\r\n"),
		"both":                 "\ufeff" + strings.ReplaceAll(full, "\n", "\r\n"),
		"no line end at end":   strings.TrimSuffix(full, "\n"),
		"quoted values":        strings.ReplaceAll(strings.Replace(full, "default/1", `"default/1"`, 1), "grade: 2", `grade: "2"`),
		"clock in other units": strings.ReplaceAll(full, "24h", "1440m"),
		"times without quotes": strings.ReplaceAll(full, `"`, ""),
	} {
		p, err := Parse([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !bytes.Equal(p.Text(), want) {
			t.Errorf("%s: another pack: %s", name, p.Text())
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(fullText(f)))
	f.Add([]byte("version: a/1\nprofile: b\nflow: notification-card/1\norganisations: {relay: a, registry: b, printer: c, inspector: d, post: e, relay:2: f}\nhops: {mail: {acknowledgement: {within: 3s, basis: items, grade: 4}}}\ncalendar: {office_closes: 24:00, post_closes: 00:01}\n"))
	f.Add([]byte("version: a/1\nprofile: b\nflow: notification-card/1\norganisations: {relay: a, registry: a, printer: c, inspector: d, post: e}\nhops:\n  import:\n    acknowledgement: {within: 1 post day, basis: count, grade: 2}\n    confirmation: {within: 2 office days}\ncalendar:\n  office_closes: \"17:15\"\n  post_closes: '24:00'\n  official_until: 2015-12-31\n  holidays:\n    2015-01-01: 元日 # x\n    2015-11-23: 勤労感謝の日\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(text)
		if err != nil {
			if p != nil || strings.Contains(err.Error(), "\n") {
				t.Fatalf("pack %v, error %q", p, err)
			}
			return
		}
		canonical := p.Text()
		q, err := Parse(canonical)
		if err != nil {
			t.Fatalf("the canonical text is refused: %v\n%s", err, canonical)
		}
		if !reflect.DeepEqual(p, q) || !bytes.Equal(canonical, q.Text()) {
			t.Fatalf("not the same pack again:\n%s\n%s", canonical, q.Text())
		}
	})
}

func BenchmarkParse(b *testing.B) {
	text := Default().Text()
	for b.Loop() {
		if _, err := Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}
