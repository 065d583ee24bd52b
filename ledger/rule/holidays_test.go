package rule

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/encoding/japanese"

	"todoke/ledger"
)

// cabinetOfficeFile writes the days from first to last as the Cabinet Office
// does, in UTF-8 and LF.
func cabinetOfficeFile(first, last int) string {
	table, _ := builtIn()
	var b strings.Builder
	b.WriteString(cabinetOfficeHeader + "\n")
	for _, h := range table.between(first, last) {
		fmt.Fprintf(&b, "%s,%s\n", h.day.date().Format("2006/1/2"), h.name)
	}
	return b.String()
}

func cp932(t testing.TB, s string) []byte {
	t.Helper()
	b, err := japanese.ShiftJIS.NewEncoder().Bytes([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBuiltInTable(t *testing.T) {
	h, official := builtIn()
	if first, last := h.Years(); h.Len() != 290 || first != 2015 || last != 2030 {
		t.Errorf("%d days from %d to %d", h.Len(), first, last)
	}
	if official.String() != "2026-12-31" {
		t.Errorf("official until %s", official)
	}
}

func TestParseHolidays(t *testing.T) {
	utf8 := cabinetOfficeFile(2015, 2026)
	crlf := strings.ReplaceAll(utf8, "\n", "\r\n")
	for name, file := range map[string][]byte{
		"as published":       cp932(t, crlf),
		"CP932 with LF":      cp932(t, utf8),
		"UTF-8":              []byte(utf8),
		"UTF-8 with BOM":     []byte("\ufeff" + crlf),
		"no line end at end": []byte(strings.TrimSuffix(utf8, "\n")),
		"two digits":         []byte(strings.Replace(utf8, "2015/1/1,", "2015/01/01,", 1)),
	} {
		h, err := ParseHolidays(file)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if first, last := h.Years(); h.Len() != 219 || first != 2015 || last != 2026 {
			t.Errorf("%s: %d days from %d to %d", name, h.Len(), first, last)
		}
	}
}

func TestParseHolidaysRefuses(t *testing.T) {
	whole := cabinetOfficeFile(2015, 2016)
	replace := func(old, new string) string { return strings.Replace(whole, old, new, 1) }
	for _, c := range []struct{ name, file, want string }{
		{"nothing", "", "no holidays"},
		{"header alone", cabinetOfficeHeader + "\n", "no holidays"},
		{"another header", "氏名,住所\n", "line 1: the header is not"},
		{"no header", strings.TrimPrefix(whole, cabinetOfficeHeader+"\n"), "line 1: the header is not"},
		{"no comma", replace("2015/1/12,", "2015/1/12"), "line 3: want a date"},
		{"no date", replace("2015/1/12,", "成人の日,"), "line 3: want a date"},
		{"date that is not", replace("2015/2/11,", "2015/2/30,"), "line 4: want a date"},
		{"era", replace("2015/1/12,", "平成27/1/12,"), "line 3: want a date"},
		{"no name", replace("成人の日", ""), "line 3: the name"},
		{"third column", replace("成人の日", "成人の日,休"), "line 3: the name"},
		{"quoted name", replace("成人の日", `"成人の日"`), "line 3: the name"},
		{"unreadable name", replace("成人の日", "成人\ufffdの日"), "line 3: the name"},
		{"blank line", replace("成人の日\n", "成人の日\n\n"), "line 4: want a date"},
		{"order", replace("2015/1/12,", "2014/1/13,"), "line 3: 2014-01-13 is not after"},
		{"twice", replace("2015/1/12,", "2015/1/1,"), "line 3: 2015-01-01 is not after"},
		{"cut short", whole[:strings.Index(whole, "2016/8/11")], "breaks off after 2016-07-18"},
		{"year left out", cabinetOfficeFile(2015, 2015) + strings.TrimPrefix(cabinetOfficeFile(2017, 2017), cabinetOfficeHeader+"\n"), "the year 2016 is missing"},
		{"year begins late", replace("2016/1/1,元日\n", ""), "the year 2016 does not begin"},
		{"too large", cabinetOfficeHeader + strings.Repeat("\n", maxHolidayFile), "more than"},
		{"UTF-16", "\xff\xfe" + strings.Join(strings.Split(whole, ""), "\x00"), "line 1: the header is not"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := ParseHolidays([]byte(c.file))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if h.Len() != 0 {
				t.Error("holidays beside the error")
			}
		})
	}
}

// A file of people given by mistake is refused without their names.
func TestParseHolidaysRepeatsNothingOfTheFile(t *testing.T) {
	const secret = "秘密"
	for _, file := range []string{
		secret + "," + secret + "\n",
		cabinetOfficeHeader + "\n" + secret + ",2015/1/1\n",
		cabinetOfficeHeader + "\n2015/1/1," + secret + "<>\n",
	} {
		if _, err := ParseHolidays(cp932(t, file)); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("error %v", err)
		}
	}
}

func TestWithHolidays(t *testing.T) {
	// The Cabinet Office declares 2027, and a day that no projection knew.
	file := strings.Replace(cabinetOfficeFile(2015, 2027), "2027/1/1,元日\n", "2027/1/1,元日\n2027/1/4,休日（祝日扱い）\n", 1)
	h, err := ParseHolidays([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	before := Default()
	after, err := before.WithHolidays(h)
	if err != nil {
		t.Fatal(err)
	}
	if after.Version() != "default/2" || before.Version() != "default/1" {
		t.Errorf("version %s after %s", after.Version(), before.Version())
	}
	if first, last := after.calendar.holidays.Years(); first != 2015 || last != 2030 {
		t.Errorf("the table has %d to %d", first, last)
	}
	from := moment(t, "2026-12-28T09:00")
	for _, c := range []struct {
		pack *Pack
		due  string
		want bool
	}{{before, "2027-01-04T17:15", true}, {after, "2027-01-05T17:15", false}} {
		got, _ := c.pack.Deadline("order", ledger.ClaimSide, from)
		if got != (ledger.Deadline{Due: moment(t, c.due).UTC(), Provisional: c.want}) {
			t.Errorf("%s: %v", c.pack.Version(), got)
		}
	}
	got, _ := after.Deadline("order", ledger.ClaimSide, moment(t, "2028-01-04T09:00"))
	if !got.Provisional {
		t.Error("2028 is not provisional")
	}
}

func TestWithHolidaysTakesTheWholeHistory(t *testing.T) {
	// Fifty years before the pack's first, as the Cabinet Office has them.
	old := cabinetOfficeHeader + "\n"
	for year := 1955; year < 2015; year++ {
		old += fmt.Sprintf("%d/1/1,元日\n%d/11/23,勤労感謝の日\n", year, year)
	}
	h, err := ParseHolidays([]byte(old + strings.TrimPrefix(cabinetOfficeFile(2015, 2026), cabinetOfficeHeader+"\n")))
	if err != nil {
		t.Fatal(err)
	}
	p, err := Default().WithHolidays(h)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(string(Default().Text()), "default/1", "default/2", 1)
	if string(p.Text()) != want {
		t.Errorf("another pack:\n%s", p.Text())
	}
}

func TestWithHolidaysRefuses(t *testing.T) {
	parse := func(first, last int) Holidays {
		h, err := ParseHolidays([]byte(cabinetOfficeFile(first, last)))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	late, err := ParseHolidays([]byte(cabinetOfficeHeader + "\n2032/1/1,元日\n2032/11/23,勤労感謝の日\n"))
	if err != nil {
		t.Fatal(err)
	}
	last := mustParse(t, strings.Replace(fullText(t), "default/1", "default/999999999", 1))
	for _, c := range []struct {
		name  string
		pack  *Pack
		table Holidays
		want  string
	}{
		{"nothing", Default(), Holidays{}, "the table is empty"},
		{"old file", Default(), parse(2015, 2025), "the table ends with 2025, but default/1 is official until 2026-12-31"},
		{"hole between", Default(), late, "the year 2031 is missing"},
		{"last version", last, parse(2015, 2026), "default/1000000000"},
	} {
		if p, err := c.pack.WithHolidays(c.table); err == nil || p != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func FuzzParseHolidays(f *testing.F) {
	whole := cabinetOfficeFile(2026, 2027)
	f.Add([]byte(whole))
	f.Add(cp932(f, strings.ReplaceAll(whole, "\n", "\r\n")))
	f.Add([]byte("\ufeff" + cabinetOfficeHeader + "\n2026/1/1,元日\n2026/11/3,文化の日\n"))
	f.Fuzz(func(t *testing.T, csv []byte) {
		h, err := ParseHolidays(csv)
		if err != nil {
			if h.Len() != 0 {
				t.Fatal("holidays beside the error")
			}
			return
		}
		p, err := Default().WithHolidays(h)
		if err != nil {
			return
		}
		if _, last := h.Years(); !p.OfficialUntil().Equal(time.Date(last, 12, 31, 15, 0, 0, 0, time.UTC)) {
			t.Fatalf("official until %s, the file ends with %d", p.OfficialUntil(), last)
		}
	})
}
