package rule

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"todoke/ledger"
)

// MaxText is the most bytes that the text of a pack may have.
const MaxText = 64 << 10

// Parse reads the text of a pack. Where the text has no table of holidays it
// takes the one of this program; [Pack.Text] writes it out. The first mistake
// is returned with its line and field.
func Parse(text []byte) (*Pack, error) {
	p, _, err := parse(text)
	return p, err
}

// parse also reports whether the text is whole: it has its own table.
func parse(text []byte) (p *Pack, whole bool, err error) {
	top, err := readFields(text)
	if err != nil {
		return nil, false, fmt.Errorf("read rule pack: %w", err)
	}
	r := reader{}
	p = r.pack(top)
	if r.err != nil {
		return nil, false, fmt.Errorf("read rule pack: %w", r.err)
	}
	if n := len(p.Text()); n > MaxText {
		return nil, false, fmt.Errorf("read rule pack: with its table of holidays the text has %d bytes, more than %d", n, MaxText)
	}
	return p, r.whole, nil
}

// A reader makes a pack of fields. It keeps the first mistake; what it returns
// after that means nothing.
type reader struct {
	err   error
	whole bool // the text has a table of holidays
}

func (r *reader) fail(f field, format string, args ...any) {
	if r.err == nil {
		r.err = f.errorf(format, args...)
	}
}

// only checks that f has fields, and none but those named.
func (r *reader) only(f field, names ...string) {
	if len(f.fields) == 0 {
		r.fail(f, "want the fields %s", strings.Join(names, ", "))
	}
	for _, g := range f.fields {
		if !slices.Contains(names, g.name) {
			r.fail(g, "is not a field here; the fields are %s", strings.Join(names, ", "))
		}
	}
}

// need returns the field of f with this name.
func (r *reader) need(f field, name string) field {
	g, ok := f.find(name)
	if !ok {
		r.fail(f, "the field %s is missing", name)
	}
	return g
}

// match returns the value of f, which must have the given form.
func (r *reader) match(f field, form *regexp.Regexp, as string) string {
	if !form.MatchString(f.text) {
		r.fail(f, "%.40q is not %s", f.text, as)
	}
	return f.text
}

const token = `[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?`

var (
	tokenForm   = regexp.MustCompile(`^` + token + `$`)
	versionForm = regexp.MustCompile(`^` + token + `/[1-9][0-9]{0,8}$`)
)

const tokenWords = "a word of 1 to 48 of a-z, 0-9 and inner -"

func (r *reader) pack(top field) *Pack {
	r.only(top, "version", "profile", "flow", "organisations", "hops", "calendar")
	p := &Pack{
		version: r.match(r.need(top, "version"), versionForm, "a name, a slash and a number, as default/1"),
		profile: r.match(r.need(top, "profile"), tokenForm, tokenWords),
	}
	flow := r.need(top, "flow")
	if p.flow = ledger.FlowByName(flow.text); p.flow == nil {
		r.fail(flow, "%.40q is not a flow that this program knows", flow.text)
		return nil
	}
	p.houses = r.organisations(r.need(top, "organisations"), p.flow)
	p.hops = r.hops(r.need(top, "hops"), p)
	p.calendar = r.calendar(r.need(top, "calendar"))
	return p
}

// organisations reads who belongs to one house. A municipality has no line: it
// is always a house of its own, and so a confirmation is always independent.
func (r *reader) organisations(f field, flow *ledger.Flow) map[string]string {
	houses := make(map[string]string, len(f.fields))
	for _, g := range f.fields {
		switch {
		case ledger.Party(g.name).Role() == ledger.Municipality:
			r.fail(g, "a municipality is always a house of its own")
		case !isRoleOrParty(g.name):
			r.fail(g, "is neither a role such as relay nor a party such as relay:2")
		}
		houses[g.name] = r.match(g, tokenForm, tokenWords)
	}
	for _, h := range flow.Hops {
		for _, role := range []ledger.Role{h.From, h.To} {
			if role != ledger.Municipality && houses[string(role)] == "" {
				r.fail(f, "the field %s is missing", role)
			}
		}
	}
	return houses
}

func isRoleOrParty(s string) bool {
	if !strings.Contains(s, ":") {
		s += ":1"
	}
	_, err := ledger.ParseParty(s)
	return err == nil
}

func (r *reader) hops(f field, p *Pack) []hop {
	hops := make([]hop, len(p.flow.Hops))
	if len(f.fields) == 0 {
		r.fail(f, "a pack must observe at least one hop")
	}
	last := -1
	for _, g := range f.fields {
		i := p.flow.Hop(g.name)
		switch {
		case i < 0:
			r.fail(g, "%s has no such hop", p.flow.Name)
			return nil
		case i < last:
			r.fail(g, "stands after %s, but comes before it in %s", p.flow.Hops[last].Stage, p.flow.Name)
		}
		last = i
		hops[i] = r.hop(g, p.flow.Hops[i])
		r.closes(g, p, p.flow.Hops[i], hops[i])
	}
	if last >= 0 && hops[0].spans[ledger.ClaimSide] == (span{}) {
		r.fail(f, "the claim of %s must be observed: it is how a batch begins", p.flow.Hops[0].Stage)
	}
	if last >= 0 && hops[last].spans[ledger.AcknowledgementSide] == (span{}) {
		r.fail(f, "the last hop is %s: its acknowledgement must be observed, or its claim would never be made true", p.flow.Hops[last].Stage)
	}
	return hops
}

// hop reads the sides of one hop that are observed.
func (r *reader) hop(f field, of ledger.Hop) hop {
	r.only(f, ledger.ClaimSide.String(), ledger.AcknowledgementSide.String(), ledger.ConfirmationSide.String())
	var h hop
	if g, ok := f.find(ledger.ClaimSide.String()); ok {
		h.spans[ledger.ClaimSide] = r.side(g, of.Claim, "within")
	}
	if g, ok := f.find(ledger.AcknowledgementSide.String()); ok {
		h.spans[ledger.AcknowledgementSide] = r.side(g, of.Ack, "within", "basis", "grade")
		h.basis = r.basis(r.need(g, "basis"))
		h.grade = r.grade(r.need(g, "grade"))
	}
	if g, ok := f.find(ledger.ConfirmationSide.String()); ok {
		h.spans[ledger.ConfirmationSide] = r.side(g, of.Confirm, "within")
	}
	return h
}

// side reads how long a side has to say the word k.
func (r *reader) side(f field, k ledger.Kind, names ...string) span {
	if k == 0 {
		r.fail(f, "the flow has no such side at this hop")
	}
	r.only(f, names...)
	within := r.need(f, "within")
	s, err := parseSpan(within.text)
	if err != nil {
		r.fail(within, "%w", err)
	}
	return s
}

func (r *reader) basis(f field) ledger.Basis {
	for b := ledger.BasisCount; b <= ledger.BasisRoot; b++ {
		if f.text == b.String() {
			return b
		}
	}
	r.fail(f, "%.40q is not count, items or root", f.text)
	return 0
}

func (r *reader) grade(f field) ledger.Grade {
	n, err := strconv.Atoi(f.text)
	g := ledger.Grade(n)
	if err != nil || n < int(ledger.CounterpartyAsserted) || n > int(ledger.CryptographicReceipt) {
		r.fail(f, "%.40q is not a grade from 2 to 4; lower ones prove nothing", f.text)
	}
	return g
}

// closes checks that what is observed at a hop can come to an end by evidence,
// and that nothing after it is silent.
func (r *reader) closes(f field, p *Pack, of ledger.Hop, h hop) {
	var (
		acknowledged = h.spans[ledger.AcknowledgementSide] != span{}
		confirmed    = h.spans[ledger.ConfirmationSide] != span{}
	)
	switch {
	case confirmed && !acknowledged:
		r.fail(f, "the confirmation is observed, but not the acknowledgement that it confirms")
	case !acknowledged || h.grade >= ledger.PhysicalCount || !p.share(of.From, of.To):
	case of.Confirm == 0:
		r.fail(f, "%s and %s are of one organisation: the acknowledgement must have grade 3", of.From, of.To)
	case !confirmed:
		r.fail(f, "%s and %s are of one organisation: the acknowledgement must have grade 3, or the confirmation must be observed", of.From, of.To)
	}
}

// calendar reads closing hours and the table. The table and the day until which
// it is official belong together: both are written, or neither.
func (r *reader) calendar(f field) calendar {
	r.only(f, "office_closes", "post_closes", "official_until", "holidays")
	c := calendar{
		officeCloses: r.timeOfDay(r.need(f, "office_closes")),
		postCloses:   r.timeOfDay(r.need(f, "post_closes")),
	}
	table, hasTable := f.find("holidays")
	until, hasUntil := f.find("official_until")
	switch {
	case !hasTable && !hasUntil:
		c.holidays, c.official = builtIn()
	case !hasTable || !hasUntil:
		r.fail(f, "official_until and holidays belong together: write both or neither")
	default:
		c.holidays = r.holidays(table)
		c.official = r.officialUntil(until, c.holidays)
		r.whole = true
	}
	c.closed = make(map[day]bool, c.holidays.Len())
	for _, h := range c.holidays.days {
		c.closed[h.day] = true
	}
	return c
}

func (r *reader) timeOfDay(f field) time.Duration {
	t, err := parseTimeOfDay(f.text)
	if err != nil {
		r.fail(f, "%w", err)
	}
	return t
}

func (r *reader) holidays(f field) Holidays {
	var h Holidays
	if len(f.fields) == 0 {
		r.fail(f, "want dates and names, as 2015-01-01: 元日")
	}
	for _, g := range f.fields {
		d, err := parseDay(time.DateOnly, g.name)
		if err != nil {
			r.fail(g, "%q is not a date such as 2015-01-01", g.name)
		} else if err := h.add(d, g.text); err != nil {
			r.fail(g, "%w", err)
		}
	}
	if err := h.whole(); err != nil {
		r.fail(f, "%w", err)
	}
	return h
}

func (r *reader) officialUntil(f field, h Holidays) day {
	d, err := parseDay(time.DateOnly, f.text)
	if err != nil {
		r.fail(f, "%.40q is not a date such as 2026-12-31", f.text)
	} else if _, last := h.Years(); d > lastDay(last) {
		r.fail(f, "%s is later than the table, which ends with %d", d, last)
	}
	return d
}
