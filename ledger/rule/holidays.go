package rule

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/text/encoding/japanese"
)

// Holidays is a table of national holidays (国民の祝日・休日): ascending, each
// year whole and none left out. The zero value is the empty table, which no
// pack takes.
type Holidays struct{ days []holiday }

type holiday struct {
	day  day
	name string
}

// Len returns how many days are in the table.
func (h Holidays) Len() int { return len(h.days) }

// Years returns the first and the last year of the table, 0 and 0 when it is
// empty.
func (h Holidays) Years() (first, last int) {
	if len(h.days) == 0 {
		return 0, 0
	}
	return h.days[0].year(), h.days[len(h.days)-1].year()
}

// between returns the days from the year first to the year last, both included.
func (h Holidays) between(first, last int) []holiday {
	var some []holiday
	for _, d := range h.days {
		if y := d.year(); first <= y && y <= last {
			some = append(some, d)
		}
	}
	return some
}

func (h holiday) year() int { return h.day.date().Year() }

// nameForm is what a holiday is called: Japanese words, so that a name needs no
// quotes in YAML and cannot be taken for anything but text.
var nameForm = regexp.MustCompile(`^[\p{Han}\p{Hiragana}\p{Katakana}]( ?[\p{Han}\p{Hiragana}\p{Katakana}\p{N}ー・（）]){0,47}$`)

// add appends a day, and refuses one that is not above those before it or
// leaves the year before it unfinished.
func (h *Holidays) add(d day, name string) error {
	switch {
	case !nameForm.MatchString(name):
		return errors.New("the name of the holiday is not in Japanese")
	case len(h.days) > 0 && d <= h.days[len(h.days)-1].day:
		return fmt.Errorf("%s is not after the day before it", d)
	}
	next := holiday{d, name}
	if _, last := h.Years(); next.year() != last {
		if err := h.whole(); err != nil {
			return err
		}
		if last != 0 && next.year() != last+1 {
			return fmt.Errorf("the year %d is missing", last+1)
		}
		if date := d.date(); date.YearDay() != 1 {
			return fmt.Errorf("the year %d does not begin with 元日", date.Year())
		}
	}
	h.days = append(h.days, next)
	return nil
}

// whole refuses a table whose last year breaks off: a download that was cut
// short would make working days of the holidays that it lost. Every year since
// 1948 has a holiday in November (文化の日, 勤労感謝の日).
func (h *Holidays) whole() error {
	if len(h.days) == 0 {
		return nil
	}
	if last := h.days[len(h.days)-1].day.date(); last.Month() < time.November {
		return fmt.Errorf("the year %d breaks off after %s", last.Year(), last.Format(time.DateOnly))
	}
	return nil
}

// Header and size of the Cabinet Office's file. It has 20 kB.
const (
	cabinetOfficeHeader = "国民の祝日・休日月日,国民の祝日・休日名称"
	maxHolidayFile      = 1 << 20
)

// ParseHolidays reads the Cabinet Office's file of holidays, syukujitsu.csv: in
// CP932 as published or in UTF-8 with or without byte order mark, CRLF or LF,
// a header, and rows of date (2015/1/1) and name in ascending order. It refuses
// a file that is not whole. Errors name the line and never repeat what stands
// in it, because a wrong file may be one with people's names.
func ParseHolidays(csv []byte) (Holidays, error) {
	h, err := parseHolidays(csv)
	if err != nil {
		return Holidays{}, fmt.Errorf("read holidays: %w", err)
	}
	return h, nil
}

func parseHolidays(csv []byte) (Holidays, error) {
	var h Holidays
	text, err := decodeCSV(csv)
	if err != nil {
		return h, err
	}
	n := 0
	for row := range strings.Lines(text) {
		n++
		row = strings.TrimSuffix(strings.TrimSuffix(row, "\n"), "\r")
		if n == 1 {
			if row != cabinetOfficeHeader {
				return h, fmt.Errorf("line 1: the header is not %q", cabinetOfficeHeader)
			}
			continue
		}
		date, name, ok := strings.Cut(row, ",")
		d, err := parseDay("2006/1/2", date)
		if !ok || err != nil {
			return h, fmt.Errorf("line %d: want a date as 2015/1/1, a comma and a name", n)
		}
		if err := h.add(d, name); err != nil {
			return h, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if h.Len() == 0 {
		return h, errors.New("the file has no holidays")
	}
	if err := h.whole(); err != nil {
		return h, fmt.Errorf("line %d: %w", n, err)
	}
	return h, nil
}

// decodeCSV returns the file in UTF-8 without byte order mark. No CP932 file
// with this header is valid UTF-8, so that the two cannot be mixed up.
func decodeCSV(csv []byte) (string, error) {
	if len(csv) > maxHolidayFile {
		return "", fmt.Errorf("the file has more than %d bytes", maxHolidayFile)
	}
	csv = bytes.TrimPrefix(csv, byteOrderMark)
	if utf8.Valid(csv) {
		return string(csv), nil
	}
	// The decoder puts U+FFFD where it cannot read and gives no error for it.
	// The header and the names, in which alone it could stand, take none.
	text, err := japanese.ShiftJIS.NewDecoder().Bytes(csv)
	if err != nil {
		return "", fmt.Errorf("the file is neither CP932 nor UTF-8: %w", err)
	}
	return string(text), nil
}

var byteOrderMark = []byte("\ufeff")

//go:embed holidays.csv
var builtInCSV string

// builtIn returns the table of this program and the last day for which it is
// official. The file is part of the program, so that a mistake in it is ours.
func builtIn() (h Holidays, official day) {
	for row := range strings.Lines(builtInCSV) {
		column := strings.Split(strings.TrimSuffix(row, "\n"), ",")
		if column[0] == "date" {
			continue
		}
		d, err := parseDay(time.DateOnly, column[0])
		if err == nil {
			err = h.add(d, column[1])
		}
		if err != nil {
			panic("rule: built-in holidays: " + err.Error())
		}
		if column[2] == "cabinet_office" {
			official = lastDay(d.date().Year())
		}
	}
	return h, official
}

// lastDay returns 12-31 of a year.
func lastDay(year int) day {
	return day(time.Date(year, time.December, 31, 0, 0, 0, 0, time.UTC).Unix() / secondsPerDay)
}
