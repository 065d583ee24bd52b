// Package story plays real incidents against a real ledger.
//
// A story is a text file: when the story begins and ends, the batches with their
// towns, and one line for every word that a party says. The player walks through
// it on a virtual clock. At each step the party of that line does its work on
// what it really holds (files with generated rows, batch keys, recomputed roots)
// and reports it to the ledger; the watchdog ticks at every step and at every
// due time between them; the municipality's gateway answers a 登録 by itself. The
// next moment only begins when every append is durable and the watchdog has
// caught up, so that weeks of 2015 pass in seconds and exactly.
//
// A fault is not written in the file: it is what the import of the faulty batch
// really moves, whatever the terminal says. None moves all; import moves nothing;
// partial moves all but the named items; late moves all and the notice comes late
// but in time; content moves all and changes the content of one row.
//
// When the story is over a naive model, which shares nothing with the fold but
// the decoding of events, reads the ledger and says which alerts there should
// have been. See [Expect].
//
// Personal names are drawn at run time from lists of surnames and given names.
// Households and the batches beside the one of the record are invented; town
// names and postcodes are real (NOTICE).
package story

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"todoke/ledger"
)

//go:embed katsushika-2015.txt
var katsushika2015 string

// A Story is a parsed story file.
type Story struct {
	Incident string
	Title    map[string]string // by language: ja, en
	Real     [2]string         // how it was found in reality: ja, en
	RealDays int               // the shortest time that it took in reality
	Begin    time.Time
	End      time.Time
	Lots     []Lot
	Faulty   string // name of the lot that the fault is about
	Steps    []Step
}

// A Lot is one batch of a story before it has a number.
type Lot struct {
	Name         string
	Municipality string
	Address      string // prefecture and municipality, as an address begins
	Encoding     string // cp932 or utf8
	Postcode     string
	Towns        []Households
}

// Households returns how many items the faulty lot has.
func (s *Story) Households() int { return s.lot(s.Faulty).households() }

// households returns how many items the lot has.
func (l *Lot) households() int {
	n := 0
	for _, t := range l.Towns {
		n += t.N
	}
	return n
}

// Households is how many households of one town are in a lot.
type Households struct {
	Town string
	N    int
}

// A Step is one word that a party says.
type Step struct {
	At       time.Time
	Lot      string
	Party    ledger.Party
	Kind     ledger.Kind
	Basis    ledger.Basis
	Part, Of int           // which part of what the party holds; 1 of 1 is all
	Delay    time.Duration // the seed chooses up to this
	Only     Fault         // "" for every fault
	Unless   Fault
}

// Names returns the stories that can be played.
func Names() []string { return slices.Sorted(maps.Keys(stories())) }

func stories() map[string]string { return map[string]string{"katsushika-2015": katsushika2015} }

// Load returns the story with this name.
func Load(name string) (*Story, error) {
	text, ok := stories()[name]
	if !ok {
		return nil, fmt.Errorf("there is no story %q; there is: %s", name, strings.Join(Names(), ", "))
	}
	return Parse(text)
}

// Parse reads a story file. Its errors name the line.
func Parse(text string) (*Story, error) {
	s := &Story{Title: make(map[string]string)}
	n := 0
	for line := range strings.Lines(text) {
		n++
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if err := s.parseLine(fields); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if s.Incident == "" || len(s.Steps) == 0 || !s.Begin.Before(s.End) || s.lot(s.Faulty) == nil {
		return nil, errors.New("a story needs incident, begin, end, faulty and steps")
	}
	return s, nil
}

func (s *Story) parseLine(f []string) (err error) {
	if len(f) < 2 {
		return fmt.Errorf("%q says nothing", f[0])
	}
	switch f[0] {
	case "incident":
		s.Incident = f[1]
	case "title":
		s.Title[f[1]] = strings.Join(f[2:], " ")
	case "real":
		ja, en, _ := strings.Cut(strings.Join(f[2:], " "), " | ")
		s.Real = [2]string{ja, en}
		s.RealDays, err = strconv.Atoi(f[1])
	case "begin":
		s.Begin, err = moment(f[1:])
	case "end":
		s.End, err = moment(f[1:])
	case "batch":
		return s.parseLot(f[1:])
	case "faulty":
		s.Faulty = f[1]
	default:
		return s.parseStep(f)
	}
	return err
}

func moment(f []string) (time.Time, error) {
	if len(f) < 2 {
		return time.Time{}, errors.New("a date and a time are needed")
	}
	return time.ParseInLocation("2006-01-02 15:04", f[0]+" "+f[1], ledger.JST)
}

func (s *Story) parseLot(f []string) error {
	if len(f) < 6 || !ledger.ValidMunicipality(f[1]) || (f[3] != "cp932" && f[3] != "utf8") {
		return errors.New("batch: want NAME MUNICIPALITY ADDRESS cp932|utf8 POSTCODE TOWN=HOUSEHOLDS…")
	}
	lot := Lot{Name: f[0], Municipality: f[1], Address: f[2], Encoding: f[3], Postcode: f[4]}
	for _, t := range f[5:] {
		town, number, _ := strings.Cut(t, "=")
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 {
			return fmt.Errorf("batch %s: %q has no number of households", f[0], t)
		}
		lot.Towns = append(lot.Towns, Households{town, n})
	}
	s.Lots = append(s.Lots, lot)
	return nil
}

func (s *Story) parseStep(f []string) (err error) {
	if len(f) < 5 {
		return errors.New("want DATE TIME BATCH PARTY KIND …")
	}
	step := Step{Lot: f[2], Part: 1, Of: 1}
	if step.At, err = moment(f); err != nil {
		return err
	}
	if s.lot(step.Lot) == nil {
		return fmt.Errorf("there is no batch %q", step.Lot)
	}
	if step.Party, err = ledger.ParseParty(f[3]); err != nil {
		return err
	}
	if step.Kind, err = ledger.ParseKind(f[4]); err != nil {
		return err
	}
	for i := 5; i < len(f); i++ {
		switch word := f[i]; {
		case word == "root", word == "items", word == "count":
			step.Basis = map[string]ledger.Basis{"root": ledger.BasisRoot, "items": ledger.BasisItems, "count": ledger.BasisCount}[word]
		case strings.HasPrefix(word, "+"):
			minutes, err := strconv.Atoi(word[1:])
			if err != nil {
				return fmt.Errorf("%q is no number of minutes", word)
			}
			step.Delay = time.Duration(minutes) * time.Minute
		case i+1 == len(f):
			return fmt.Errorf("%q means nothing here", word)
		case word == "part":
			i++
			if _, err := fmt.Sscanf(f[i], "%d/%d", &step.Part, &step.Of); err != nil || step.Part < 1 || step.Part > step.Of {
				return fmt.Errorf("part %q is not I/N", f[i])
			}
		case word == "only", word == "unless":
			i++
			if word == "only" {
				step.Only = Fault(f[i])
			} else {
				step.Unless = Fault(f[i])
			}
		default:
			return fmt.Errorf("%q means nothing here", word)
		}
	}
	s.Steps = append(s.Steps, step)
	return nil
}

func (s *Story) lot(name string) *Lot {
	for i := range s.Lots {
		if s.Lots[i].Name == name {
			return &s.Lots[i]
		}
	}
	return nil
}
