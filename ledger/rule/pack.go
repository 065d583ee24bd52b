package rule

import (
	"embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"todoke/ledger"
)

// A Pack is one version of the rules (監視基準). It never changes, and several
// goroutines may use it. It implements [ledger.Rules].
type Pack struct {
	version  string
	profile  string
	flow     *ledger.Flow
	hops     []hop             // by place in the flow
	houses   map[string]string // organisation by role or party
	calendar calendar
}

// A hop is what is observed of one hop of the flow.
type hop struct {
	spans [ledger.ConfirmationSide + 1]span // by side
	basis ledger.Basis                      // of the acknowledgement
	grade ledger.Grade                      // of the acknowledgement, at least 2
}

var _ ledger.Rules = (*Pack)(nil)

// profiles names the packs of this program; the first one is the default.
var profiles = [...]string{"full", "centre", "ward-only"}

//go:embed packs
var packFiles embed.FS

// embedded reads the packs of this program once. They are part of it, so that a
// mistake in them is ours.
var embedded = sync.OnceValue(func() map[string]*Pack {
	packs := make(map[string]*Pack, len(profiles))
	for _, name := range profiles {
		text, err := packFiles.ReadFile("packs/" + name + ".yaml")
		if err == nil {
			packs[name], err = Parse(text)
		}
		if err != nil {
			panic("rule: pack " + name + ": " + err.Error())
		}
	}
	return packs
})

// Default returns default/1, the pack of the profile full: what is in force in
// a ledger in which no pack was published.
func Default() *Pack { return embedded()[profiles[0]] }

// Profile returns the pack of this program for a profile: what an installation
// of that kind observes. It returns an error for a name that is not in
// [Profiles].
func Profile(name string) (*Pack, error) {
	p, ok := embedded()[name]
	if !ok {
		return nil, fmt.Errorf("profile %.40q is none of %s", name, strings.Join(profiles[:], ", "))
	}
	return p, nil
}

// Profiles returns the names that [Profile] knows.
func Profiles() []string { return slices.Clone(profiles[:]) }

// Version implements [ledger.Rules].
func (p *Pack) Version() string { return p.version }

// Profile returns what kind of installation the pack is for, as ward-only.
func (p *Pack) Profile() string { return p.profile }

// Flow returns the flow whose hops the pack observes.
func (p *Pack) Flow() *ledger.Flow { return p.flow }

// Observed reports whether this installation watches a side of a hop. A screen
// shows a hop of which it watches no side grey (監視対象外).
func (p *Pack) Observed(stage string, side ledger.Side) bool {
	return p.span(stage, side) != span{}
}

// OfficialUntil returns the end of the last day for which the table of holidays
// is the Cabinet Office's own. Office deadlines after it are provisional.
func (p *Pack) OfficialUntil() time.Time { return p.calendar.official.at(24 * time.Hour) }

// Deadline implements [ledger.Rules]. Due is in UTC.
func (p *Pack) Deadline(stage string, side ledger.Side, from time.Time) (due ledger.Deadline, observed bool) {
	s := p.span(stage, side)
	if s == (span{}) {
		return ledger.Deadline{}, false
	}
	return p.calendar.deadline(s, from), true
}

// Required implements [ledger.Rules]. Where the acknowledgement is not observed
// it returns the least that can move custody at all: a count, grade 2.
func (p *Pack) Required(stage string) (ledger.Basis, ledger.Grade) {
	if i := p.flow.Hop(stage); i >= 0 && p.hops[i].grade != 0 {
		return p.hops[i].basis, p.hops[i].grade
	}
	return ledger.BasisCount, ledger.CounterpartyAsserted
}

// Organisation implements [ledger.Rules]. What the pack says of a party goes
// before what it says of the role; a party of which it says nothing, and every
// municipality, is a house of its own. A counter is of its municipality's house.
func (p *Pack) Organisation(party ledger.Party) string {
	if house, ok := p.houses[string(party)]; ok {
		return house
	}
	if house, ok := p.houses[string(party.Role())]; ok {
		return house
	}
	if party.Role() == ledger.Counter && party.ID() != "" {
		return string(ledger.Municipality) + ":" + party.ID()
	}
	return string(party)
}

// span returns how long a side has, the zero span when it is not observed.
func (p *Pack) span(stage string, side ledger.Side) span {
	if i := p.flow.Hop(stage); i >= 0 && side <= ledger.ConfirmationSide {
		return p.hops[i].spans[side]
	}
	return span{}
}

// share reports whether a party of role a and one of role b can be of one
// organisation.
func (p *Pack) share(a, b ledger.Role) bool {
	of := make(map[string]bool)
	for name, house := range p.houses {
		if ledger.Party(name).Role() == a {
			of[house] = true
		}
	}
	for name, house := range p.houses {
		if ledger.Party(name).Role() == b && of[house] {
			return true
		}
	}
	return false
}

// WithHolidays returns the pack with a new table and the next version number:
// default/1 becomes default/2. The years of h take the place of the same years
// of the pack, and are official up to the end of the last one, because the
// Cabinet Office publishes whole years. Later years of the pack stay, as
// projections; years before the pack's first are left out, because no card was
// sent then. It returns an error when h is empty, ends before the pack's table
// ceases to be official, or would leave a year out.
func (p *Pack) WithHolidays(h Holidays) (*Pack, error) {
	if h.Len() == 0 {
		return nil, errors.New("add holidays: the table is empty")
	}
	own := p.calendar.holidays
	ownFirst, ownLast := own.Years()
	first, last := h.Years()
	if lastDay(last) < p.calendar.official {
		return nil, fmt.Errorf("add holidays: the table ends with %d, but %s is official until %s", last, p.version, p.calendar.official)
	}
	next := *p
	next.version = p.nextVersion()
	next.calendar.official = lastDay(last)
	next.calendar.holidays = Holidays{slices.Concat(
		own.between(ownFirst, first-1),
		h.between(max(first, ownFirst), last),
		own.between(last+1, ownLast),
	)}
	q, err := Parse(next.Text())
	if err != nil {
		return nil, fmt.Errorf("add holidays: %w", err)
	}
	return q, nil
}

func (p *Pack) nextVersion() string {
	name, number, _ := strings.Cut(p.version, "/")
	n, _ := strconv.Atoi(number)
	return fmt.Sprintf("%s/%d", name, n+1)
}
