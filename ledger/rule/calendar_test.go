package rule

import (
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"todoke/ledger"
)

var jst = time.FixedZone("JST", 9*60*60)

const minute = "2006-01-02T15:04"

func moment(t *testing.T, s string) time.Time {
	t.Helper()
	at, err := time.ParseInLocation(minute, s, jst)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func sideOf(t *testing.T, name string) ledger.Side {
	t.Helper()
	for s := ledger.ClaimSide; s <= ledger.ConfirmationSide; s++ {
		if s.String() == name {
			return s
		}
	}
	t.Fatalf("no side %q", name)
	return 0
}

func TestGoldenDates(t *testing.T) {
	packs := make(map[string]*Pack)
	for _, name := range Profiles() {
		p, err := Profile(name)
		if err != nil {
			t.Fatal(err)
		}
		packs[p.Version()] = p
	}
	text, err := os.ReadFile("testdata/deadlines.txt")
	if err != nil {
		t.Fatal(err)
	}
	judged := 0
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		judged++
		pack, stage, side, from, due, table := packs[f[0]], f[1], sideOf(t, f[2]), moment(t, f[3]), moment(t, f[4]), f[5]
		got, observed := pack.Deadline(stage, side, from)
		if !observed {
			t.Errorf("%s: not observed", line)
		}
		if !got.Due.Equal(due) {
			t.Errorf("%s: due %s", line, got.Due.In(jst).Format(minute))
		}
		if got.Provisional != (table == "provisional") {
			t.Errorf("%s: provisional is %v", line, got.Provisional)
		}
		if got.Due.Location() != time.UTC {
			t.Errorf("%s: due is not in UTC", line)
		}
	}
	if judged < 60 {
		t.Errorf("only %d deadlines were judged", judged)
	}
}

func TestDeadlineBeyondEveryTable(t *testing.T) {
	c := &Default().calendar
	longest := span{unit: officeDays, days: maxDays}
	for _, from := range []time.Time{{}, time.Unix(-1, 0), time.Unix(0, 0), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)} {
		d := c.deadline(longest, from)
		if !d.Due.After(from) || d.Due.Sub(from) > 3*365*24*time.Hour {
			t.Errorf("400 office days from %s end at %s", from, d.Due)
		}
		if want := from.Year() > 2026; d.Provisional != want {
			t.Errorf("from %s: provisional is %v", from, d.Provisional)
		}
	}
}

func TestProvisionalBeginsAfterTheLastOfficialDay(t *testing.T) {
	table, _ := builtIn()
	for until, want := range map[string]bool{"2016-06-29": true, "2016-06-30": false, "2016-12-31": false} {
		official, err := parseDay(time.DateOnly, until)
		if err != nil {
			t.Fatal(err)
		}
		short := *Default()
		short.calendar.official = official
		short.calendar.holidays = Holidays{table.between(2015, 2016)}
		p := mustParse(t, string(short.Text()))
		if d, _ := p.Deadline("order", ledger.ClaimSide, moment(t, "2016-06-29T09:00")); d.Provisional != want {
			t.Errorf("official until %s: due at %s, provisional is %v", until, d.Due, d.Provisional)
		}
	}
}

func TestDayBeginsAtMidnightInJapan(t *testing.T) {
	for at, want := range map[string]day{
		"1970-01-01T00:00": 0, "1970-01-01T23:59": 0, "1970-01-02T00:00": 1,
		"1969-12-31T23:59": -1, "1969-12-31T00:00": -1, "1969-12-30T23:59": -2,
	} {
		if got := dayOf(moment(t, at)); got != want {
			t.Errorf("%s is day %d, want %d", at, got, want)
		}
	}
}

func TestTimeZoneOfStartDoesNotMatter(t *testing.T) {
	p := Default()
	from := moment(t, "2015-10-09T08:30") // still the 8th in UTC
	want, _ := p.Deadline("mail", ledger.ClaimSide, from)
	for _, zone := range []*time.Location{time.UTC, jst, time.FixedZone("", -11*60*60)} {
		if got, _ := p.Deadline("mail", ledger.ClaimSide, from.In(zone)); got != want {
			t.Errorf("in %s: %v, want %v", zone, got, want)
		}
	}
}

func drawSpan(t *rapid.T, label string) span {
	switch u := unit(rapid.IntRange(int(clock), int(postDays)).Draw(t, label+" unit")); u {
	case clock:
		return span{length: time.Duration(rapid.Int64Range(1, int64(maxDays*24*time.Hour)).Draw(t, label+" length"))}
	default:
		return span{unit: u, days: rapid.IntRange(1, maxDays).Draw(t, label+" days")}
	}
}

// drawTime draws a moment from 1990 to 2060, before, in and beyond the table.
func drawTime(t *rapid.T, label string) time.Time {
	return time.Unix(rapid.Int64Range(631152000, 2840140800).Draw(t, label), rapid.Int64Range(0, 999999999).Draw(t, label+" ns"))
}

func TestDeadlineIsAfterItsStart(t *testing.T) {
	c := &Default().calendar
	rapid.Check(t, func(t *rapid.T) {
		s, from := drawSpan(t, "span"), drawTime(t, "from")
		if d := c.deadline(s, from); !d.Due.After(from) {
			t.Fatalf("%s from %s is due at %s", s, from, d.Due)
		}
	})
}

func TestLaterStartNeverMakesEarlierDeadline(t *testing.T) {
	c := &Default().calendar
	rapid.Check(t, func(t *rapid.T) {
		s, from := drawSpan(t, "span"), drawTime(t, "from")
		later := from.Add(time.Duration(rapid.Int64Range(0, int64(20*24*time.Hour)).Draw(t, "later")))
		if a, b := c.deadline(s, from), c.deadline(s, later); b.Due.Before(a.Due) || (a.Provisional && !b.Provisional) {
			t.Fatalf("%s: from %s until %v, from %s until %v", s, from, a, later, b)
		}
	})
}

func TestMoreDaysEndLater(t *testing.T) {
	c := &Default().calendar
	rapid.Check(t, func(t *rapid.T) {
		from := drawTime(t, "from")
		n := rapid.IntRange(1, maxDays-1).Draw(t, "days")
		for _, u := range []unit{officeDays, postDays} {
			a, b := c.deadline(span{unit: u, days: n}, from), c.deadline(span{unit: u, days: n + 1}, from)
			if !b.Due.After(a.Due) {
				t.Fatalf("%d days from %s: %s, one more: %s", n, from, a.Due, b.Due)
			}
		}
	})
}

func TestOfficeDeadlineFallsOnOfficeDayAtClosing(t *testing.T) {
	c := &Default().calendar
	rapid.Check(t, func(t *rapid.T) {
		s := span{unit: officeDays, days: rapid.IntRange(1, maxDays).Draw(t, "days")}
		from := drawTime(t, "from")
		d := c.deadline(s, from)
		due := d.Due.In(jst)
		if due.Format("15:04:05.999999999") != "17:15:00" {
			t.Fatalf("%s from %s is due at %s", s, from, due)
		}
		if due.Weekday() == time.Saturday || due.Weekday() == time.Sunday || !c.office(dayOf(due)) {
			t.Fatalf("%s from %s is due on %s, when offices are closed", s, from, due)
		}
		if d.Provisional != (due.Year() > 2026) {
			t.Fatalf("%s from %s is due at %s, provisional %v", s, from, due, d.Provisional)
		}
	})
}

// An office deadline of n days has exactly n office days from the day after its
// start up to and with its own.
func TestOfficeDeadlineCountsEveryOfficeDayOnce(t *testing.T) {
	c := &Default().calendar
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 60).Draw(t, "days")
		from := drawTime(t, "from")
		due := c.deadline(span{unit: officeDays, days: n}, from).Due.In(jst)
		open := 0
		for date := from.In(jst).AddDate(0, 0, 1); date.Format(time.DateOnly) <= due.Format(time.DateOnly); date = date.AddDate(0, 0, 1) {
			if c.office(dayOf(date)) {
				open++
			}
		}
		if open != n {
			t.Fatalf("%d office days from %s are due at %s, after %d", n, from, due, open)
		}
	})
}

func TestSpanTextIsInverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSpan(t, "span")
		if got, err := parseSpan(s.String()); err != nil || got != s {
			t.Fatalf("%+v is written %q and read %+v, %v", s, s, got, err)
		}
	})
	for text, want := range map[string]string{
		"24h": "24h", "90m": "1h30m", "3s": "3s", "1.5h": "1h30m", "10m0s": "10m", "1h0m5s": "1h0m5s", "250ms": "250ms",
		"1 office days": "1 office day", "2 post day": "2 post days", "400 office days": "400 office days",
	} {
		if s, err := parseSpan(text); err != nil || s.String() != want {
			t.Errorf("%q is read as %q, %v; want %q", text, s, err, want)
		}
	}
}

func TestTimeOfDay(t *testing.T) {
	for _, text := range []string{"00:01", "09:00", "17:15", "23:59", "24:00"} {
		if d, err := parseTimeOfDay(text); err != nil || formatTimeOfDay(d) != text {
			t.Errorf("%s is read as %s, %v", text, formatTimeOfDay(d), err)
		}
	}
	for _, text := range []string{"", "00:00", "24:01", "25:00", "17:60", "9:00", "17:15:00", "17.15", "１７:15"} {
		if d, err := parseTimeOfDay(text); err == nil {
			t.Errorf("%q is read as %s", text, d)
		}
	}
}

func BenchmarkDeadline(b *testing.B) {
	p := Default()
	from := time.Date(2015, 10, 9, 6, 0, 0, 0, time.UTC)
	for _, of := range []struct {
		name, stage string
		side        ledger.Side
	}{
		{"clock 24h", "import", ledger.AcknowledgementSide},
		{"office 1 day", "order", ledger.ClaimSide},
		{"office 5 days", "print", ledger.ClaimSide},
		{"post 1 day", "mail", ledger.AcknowledgementSide},
		{"not observed", "delivery", ledger.ClaimSide},
	} {
		b.Run(of.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Deadline(of.stage, of.side, from)
			}
		})
	}
}
