package story

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"todoke/ledger"
)

// An Expected alert is one that the naive model says there should be.
type Expected struct {
	Batch string
	Hop   string
	Side  string
	Due   time.Time
	Items string
}

// A Verdict holds the alerts of a ledger against those of the naive model.
type Verdict struct {
	False  []Expected // raised, and should not have been
	Missed []Expected // should have been raised, and was not
}

// Expect reads the events of a story and returns the alerts that there should
// be at its end. It knows one rule pack, default/1, and one flow, item by item,
// with times in plain arrays; nothing of it is shared with the fold, so that the
// two do not agree by having the same mistake.
func Expect(events []ledger.Event, end time.Time) []Expected {
	books := make(map[string]*book)
	for _, e := range events {
		stage := e.Subject.Kind.Stage()
		if place(stage) < 0 {
			continue
		}
		b := books[e.Subject.Aggregate]
		if b == nil {
			b = &book{}
			books[e.Subject.Aggregate] = b
		}
		b.write(e)
	}
	var expected []Expected
	for id, b := range books {
		expected = append(expected, b.alerts(id, end)...)
	}
	sortExpected(expected)
	return expected
}

// Judge compares the alerts that were raised in events with those expected.
func Judge(events []ledger.Event, end time.Time) Verdict {
	expected := Expect(events, end)
	var raised []Expected
	for _, e := range events {
		if e.Kind() == ledger.AlertRaised {
			b := e.Content
			raised = append(raised, Expected{e.Subject.Aggregate, b.Hop, b.Side.String(), b.Due.UTC(), b.Items.String()})
		}
	}
	return Verdict{False: without(raised, expected), Missed: without(expected, raised)}
}

func without(a, b []Expected) []Expected {
	return slices.DeleteFunc(slices.Clone(a), func(x Expected) bool { return slices.Contains(b, x) })
}

func sortExpected(list []Expected) {
	slices.SortFunc(list, func(a, b Expected) int {
		return strings.Compare(fmt.Sprint(a.Due.UnixNano(), a), fmt.Sprint(b.Due.UnixNano(), b))
	})
}

// A book is one batch, item by item. Item n is at index n-1.
type book struct {
	root  ledger.Root
	lines [5][]line // by hop
	wrong []wrong
}

// A line is when each word about one item at one hop came; zero is never.
type line struct{ claimed, heard, confirmed time.Time }

// wrong is a word that contradicts: from then on the item is not waited for.
type wrong struct {
	hop   int
	side  string
	at    time.Time
	items []uint32
}

func place(stage string) int {
	return slices.Index([]string{"upload", "import", "order", "print", "mail"}, stage)
}

func (b *book) write(e ledger.Event) {
	hop := place(e.Subject.Kind.Stage())
	var items []uint32
	for n := range e.Content.Items.All {
		items = append(items, n)
	}
	if e.Kind() == ledger.UploadCompleted {
		b.root = e.Content.Root
		for i := range b.lines {
			b.lines[i] = make([]line, len(items))
		}
	}
	switch fact := e.Kind().String(); {
	case fact == "import.confirmed":
		b.mark(items, hop, e.Time, func(l *line) *time.Time { return &l.confirmed })
	case fact == "import.disputed":
		b.wrong = append(b.wrong, wrong{hop, "confirmation", e.Time, items})
	case strings.HasSuffix(fact, ".completed"), strings.HasSuffix(fact, ".sent"), strings.HasSuffix(fact, ".handed-over"):
		b.mark(items, hop, e.Time, func(l *line) *time.Time { return &l.claimed })
	default:
		b.hear(e, hop, items)
	}
}

// hear takes an acknowledgement: a root, a list of items, or a number.
func (b *book) hear(e ledger.Event, hop int, items []uint32) {
	var claimed []uint32
	for i, l := range b.lines[hop] {
		if !l.claimed.IsZero() {
			claimed = append(claimed, uint32(i+1))
		}
	}
	whole := len(items) == len(b.lines[hop])
	switch {
	case e.Content.Basis == ledger.BasisRoot && whole && e.Content.Root != b.root:
		b.wrong = append(b.wrong, wrong{hop, "acknowledgement", e.Time, claimed})
		return
	case len(items) == 0 && int(e.Content.Count) != len(claimed):
		b.wrong = append(b.wrong, wrong{hop, "acknowledgement", e.Time, claimed})
		return
	case len(items) == 0:
		items = claimed
	}
	b.mark(items, hop, e.Time, func(l *line) *time.Time { return &l.heard })
}

// mark writes down the first time of a word for each item.
func (b *book) mark(items []uint32, hop int, at time.Time, column func(*line) *time.Time) {
	for _, n := range items {
		if t := column(&b.lines[hop][n-1]); t.IsZero() {
			*t = at
		}
	}
}

// alerts goes through the moments of the chain and collects, for each due time,
// the items that had not passed when it was over.
func (b *book) alerts(batch string, end time.Time) []Expected {
	var expected []Expected
	for hop := range b.lines {
		for _, side := range []string{"claim", "acknowledgement", "confirmation"} {
			groups := make(map[time.Time][]span)
			for i := range b.lines[hop] {
				from, done := b.times(hop, side, i)
				if !from.IsZero() {
					due := deadline(hop, side, from)
					groups[due] = append(groups[due], span{uint32(i + 1), from, done})
				}
			}
			for due, spans := range groups {
				at := b.alarm(hop, side, due, spans)
				if at.After(end) {
					continue
				}
				var missing []uint32
				for _, s := range spans {
					if !s.from.After(at) && (s.done.IsZero() || s.done.After(at)) {
						missing = append(missing, s.item)
					}
				}
				if len(missing) > 0 {
					expected = append(expected, Expected{batch, []string{"upload", "import", "order", "print", "mail"}[hop], side, due.UTC(), ranges(missing)})
				}
			}
		}
	}
	return expected
}

// A span is when an item began to wait and when it was done.
type span struct {
	item       uint32
	from, done time.Time
}

// alarm is when an alert about a group would be raised: at the first word that
// contradicts it while it waits, or when its due time is over.
func (b *book) alarm(hop int, side string, due time.Time, spans []span) time.Time {
	at := due
	for _, w := range b.wrong {
		for _, s := range spans {
			waits := !s.from.After(w.at) && (s.done.IsZero() || s.done.After(w.at))
			if w.hop == hop && w.side == side && w.at.Before(at) && waits && slices.Contains(w.items, s.item) {
				at = w.at
			}
		}
	}
	return at
}

// times returns when an item began to wait for a word, and when the word came.
func (b *book) times(hop int, side string, i int) (from, done time.Time) {
	l := b.lines[hop][i]
	switch side {
	case "claim":
		if hop == 0 {
			return time.Time{}, time.Time{}
		}
		return b.passed(hop-1, i), l.claimed
	case "acknowledgement":
		return l.claimed, l.heard
	}
	if hop != 1 || l.claimed.IsZero() || l.heard.IsZero() {
		return time.Time{}, time.Time{}
	}
	return later(l.claimed, l.heard), b.passed(1, i)
}

// passed returns when an item provably changed hands at a hop.
func (b *book) passed(hop, i int) time.Time {
	l := b.lines[hop][i]
	if l.claimed.IsZero() || l.heard.IsZero() || (hop == 1 && l.confirmed.IsZero()) {
		return time.Time{}
	}
	return later(later(l.claimed, l.heard), l.confirmed)
}

// deadline is default/1, written down a second time.
func deadline(hop int, side string, from time.Time) time.Time {
	switch {
	case hop <= 1:
		return from.Add(24 * time.Hour)
	case hop == 4 && side == "acknowledgement": // one post day: to the end of the next day
		y, m, d := from.In(ledger.JST).Date()
		return time.Date(y, m, d+2, 0, 0, 0, 0, ledger.JST)
	}
	days := map[string]int{"2claim": 1, "2acknowledgement": 1, "3claim": 5, "3acknowledgement": 1, "4claim": 2}[fmt.Sprint(hop)+side]
	t := from.In(ledger.JST)
	for days > 0 {
		t = t.AddDate(0, 0, 1)
		if open(t) {
			days--
		}
	}
	return time.Date(t.Year(), t.Month(), t.Day(), 17, 15, 0, 0, ledger.JST)
}

// open reports whether public offices were open on a day of autumn 2015.
func open(t time.Time) bool {
	closed := []string{"2015-10-12", "2015-11-03", "2015-11-23"}
	return t.Weekday() != time.Saturday && t.Weekday() != time.Sunday && !slices.Contains(closed, t.Format(time.DateOnly))
}

// ranges writes ascending numbers as 1-551,560.
func ranges(numbers []uint32) string {
	var parts []string
	for i := 0; i < len(numbers); {
		k := i
		for k+1 < len(numbers) && numbers[k+1] == numbers[k]+1 {
			k++
		}
		if k == i {
			parts = append(parts, fmt.Sprint(numbers[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", numbers[i], numbers[k]))
		}
		i = k + 1
	}
	return strings.Join(parts, ",")
}
