package rule

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"todoke/ledger"
)

// japan is ahead of UTC by nine hours, all year round: Japan has no daylight
// saving, so nothing here needs a table of time zones.
const japan = 9 * time.Hour

// maxDays is the longest span: in clock time, in office days, in post days.
const maxDays = 400

// A day is a date in Japan, counted from 1970-01-01.
type day int

// dayOf returns the date in Japan at t.
func dayOf(t time.Time) day {
	s := t.Add(japan).Unix()
	d := s / secondsPerDay
	if s%secondsPerDay < 0 {
		d--
	}
	return day(d)
}

const secondsPerDay = 24 * 60 * 60

// parseDay reads a date in the given layout of package time.
func parseDay(layout, s string) (day, error) {
	t, err := time.Parse(layout, s)
	if err != nil {
		return 0, err
	}
	return day(t.Unix() / secondsPerDay), nil
}

// date returns midnight of d as if Japan were at UTC.
func (d day) date() time.Time { return time.Unix(int64(d)*secondsPerDay, 0).UTC() }

// at returns the moment of d at a time of day in Japan, in UTC.
func (d day) at(timeOfDay time.Duration) time.Time { return d.date().Add(timeOfDay - japan) }

// String returns the date, as 2015-10-05.
func (d day) String() string { return d.date().Format(time.DateOnly) }

// A calendar says which days count and when they end.
type calendar struct {
	officeCloses time.Duration // since midnight; 24 h is the end of the day
	postCloses   time.Duration
	official     day // the last day for which holidays is the Cabinet Office's own list
	holidays     Holidays
	closed       map[day]bool // holidays as a set
}

// office reports whether public offices are open on d: from Monday to Friday
// (行政機関の休日に関する法律, article 1: not on Saturdays and Sundays, holidays,
// and 12-29 to 01-03).
func (c *calendar) office(d day) bool {
	date := d.date()
	switch date.Weekday() {
	case time.Saturday, time.Sunday:
		return false
	}
	switch _, month, n := date.Date(); {
	case month == time.December && n >= 29, month == time.January && n <= 3:
		return false
	}
	return !c.closed[d]
}

// deadline returns the end of a span that begins to run at from. It looks at
// no more days than the span has, the weekends and year ends between them, and
// the table.
func (c *calendar) deadline(s span, from time.Time) ledger.Deadline {
	switch s.unit {
	case officeDays:
		d := dayOf(from)
		for range s.days {
			for d++; !c.office(d); d++ {
			}
		}
		return ledger.Deadline{Due: d.at(c.officeCloses), Provisional: d > c.official}
	case postDays:
		return ledger.Deadline{Due: (dayOf(from) + day(s.days)).at(c.postCloses)}
	}
	return ledger.Deadline{Due: from.Add(s.length).UTC()}
}

// A unit is what a span is counted in.
type unit uint8

const (
	clock unit = iota
	officeDays
	postDays
)

// A span is how long a side has. The zero span is that of a side that is not
// observed.
type span struct {
	unit   unit
	length time.Duration // of a clock span
	days   int           // of the other two
}

var daysForm = regexp.MustCompile(`^([1-9][0-9]{0,2}) (office|post) days?$`)

// parseSpan is the inverse of span.String. It also takes other ways to write
// the same clock span, as 1.5h for 1h30m.
func parseSpan(s string) (span, error) {
	if m := daysForm.FindStringSubmatch(s); m != nil {
		n, _ := strconv.Atoi(m[1])
		if n > maxDays {
			return span{}, fmt.Errorf("%.40q is longer than %d days", s, maxDays)
		}
		if m[2] == "post" {
			return span{unit: postDays, days: n}, nil
		}
		return span{unit: officeDays, days: n}, nil
	}
	length, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return span{}, fmt.Errorf("%.40q is not a time such as 24h, 90m, 1 office day, 2 post days", s)
	case length <= 0:
		return span{}, fmt.Errorf("%.40q is not above zero", s)
	case length > maxDays*24*time.Hour:
		return span{}, fmt.Errorf("%.40q is longer than %d days", s, maxDays)
	}
	return span{length: length}, nil
}

// String returns the span as it stands in a pack: 24h, 1 office day.
func (s span) String() string {
	if s.unit == clock {
		text := s.length.String() // 24h0m0s
		if strings.HasSuffix(text, "m0s") {
			text = strings.TrimSuffix(text, "0s")
		}
		if strings.HasSuffix(text, "h0m") {
			text = strings.TrimSuffix(text, "0m")
		}
		return text
	}
	name := "office"
	if s.unit == postDays {
		name = "post"
	}
	if s.days == 1 {
		return "1 " + name + " day"
	}
	return fmt.Sprintf("%d %s days", s.days, name)
}

var timeOfDayForm = regexp.MustCompile(`^([01][0-9]|2[0-4]):([0-5][0-9])$`)

// parseTimeOfDay reads 00:01 to 24:00.
func parseTimeOfDay(s string) (time.Duration, error) {
	m := timeOfDayForm.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%.40q is not a time of day such as \"17:15\"", s)
	}
	hours, _ := strconv.Atoi(m[1])
	minutes, _ := strconv.Atoi(m[2])
	t := time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	if t <= 0 || t > 24*time.Hour {
		return 0, fmt.Errorf("%.40q is not from 00:01 to 24:00", s)
	}
	return t, nil
}

// formatTimeOfDay is the inverse of parseTimeOfDay.
func formatTimeOfDay(t time.Duration) string {
	return fmt.Sprintf("%02d:%02d", t/time.Hour, t%time.Hour/time.Minute)
}
