package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"todoke/ledger"
)

// perBatch is how many items each batch has. Few, so that partial words meet.
const perBatch = 12

// stages are the hops that the model knows; nobody speaks about the last one.
var stages = [...]string{"upload", "import", "order", "print"}

// A line is when each word about one item at one hop came first; zero is never.
type line struct {
	claimed, heard, confirmed time.Time
	early                     time.Time // heard of before it was claimed
}

// A book is what was said about one batch, item by item: item n is at index n-1.
// It knows the deadlines of default/1 and nothing of the fold.
type book struct {
	declared bool
	root     ledger.Root
	words    []ledger.Event
	alerts   []told
	// Derived from the words by read.
	lines [len(stages)][perBatch]line
	wrong []ledger.Event // upload.received with another root than the sender's
	owes  map[owed]*debt // nil when there is news
}

// told is an alert in the log.
type told struct {
	owed
	reopen uint32
	items  []uint32
	open   bool
}

// owed names an obligation within a batch.
type owed struct {
	hop, side string
	due       int64 // nanoseconds since 1970
}

// A debt is what an obligation is about.
type debt struct {
	items        []uint32
	contradicted bool
}

// hear takes a word of a hop. A root means something only beside the sender's,
// which may come last, so everything is read again.
func (b *book) hear(e ledger.Event) {
	b.words = append(b.words, e)
	if e.Kind() == ledger.UploadCompleted {
		b.declared, b.root = true, e.Content.Root
	}
	b.lines, b.wrong, b.owes = [len(stages)][perBatch]line{}, nil, nil
	for _, w := range b.words {
		b.read(w)
	}
}

func (b *book) read(e ledger.Event) {
	hop := slices.Index(stages[:], e.Kind().Stage())
	for n := range e.Content.Items.All {
		l := &b.lines[hop][n-1]
		switch e.Kind() {
		case ledger.UploadCompleted, ledger.ImportCompleted, ledger.OrderSent:
			first(&l.claimed, e.Time)
		case ledger.ImportConfirmed:
			first(&l.confirmed, e.Time)
		default:
			if l.claimed.IsZero() {
				first(&l.early, e.Time)
			}
			if b.suffices(e) {
				first(&l.heard, e.Time)
			}
		}
	}
	if b.declared && e.Kind() == ledger.UploadReceived && e.Content.Basis == ledger.BasisRoot && e.Content.Root != b.root {
		b.wrong = append(b.wrong, e)
	}
}

// suffices reports whether an acknowledgement counts. A root has to be the
// sender's, who has to have said it; what was uploaded has to be recomputed.
func (b *book) suffices(e ledger.Event) bool {
	if e.Content.Basis == ledger.BasisRoot {
		return b.declared && e.Content.Root == b.root
	}
	return e.Kind() != ledger.UploadReceived
}

func first(at *time.Time, t time.Time) {
	if at.IsZero() {
		*at = t
	}
}

// passed returns when an item provably changed hands at a hop, zero for not yet.
func (b *book) passed(hop, i int) time.Time {
	l := &b.lines[hop][i]
	if l.claimed.IsZero() || l.heard.IsZero() || hop == 1 && l.confirmed.IsZero() {
		return time.Time{}
	}
	latest := l.claimed
	for _, t := range []time.Time{l.heard, l.confirmed} {
		if t.After(latest) {
			latest = t
		}
	}
	return latest
}

// custody returns, for each item, how many hops behind the sender it provably is.
func (b *book) custody() string {
	if !b.declared {
		return ""
	}
	var s strings.Builder
	for i := range perBatch {
		place := 0
		for hop := range stages {
			if !b.passed(hop, i).IsZero() {
				place = hop + 1
			}
		}
		fmt.Fprint(&s, place)
	}
	return s.String()
}

// debts returns what is owed.
func (b *book) debts() map[owed]*debt {
	if b.owes == nil {
		b.owes = b.reckon()
	}
	return b.owes
}

func (b *book) reckon() map[owed]*debt {
	debts := make(map[owed]*debt)
	for hop := range stages {
		for i := range perBatch {
			b.owe(debts, hop, i)
		}
	}
	waiting := make([]*debt, 0, 4) // for an acknowledgement of the upload
	for o, d := range debts {
		if o.hop == "upload" && o.side == "acknowledgement" {
			waiting = append(waiting, d)
		}
	}
	for _, w := range b.wrong {
		if b.corrected(w) {
			continue
		}
		for _, d := range waiting {
			d.contradicted = true
		}
		if len(waiting) == 0 { // it was received before: a correction is owed at once
			for i := range uint32(perBatch) {
				add(debts, "upload", "acknowledgement", w.Time, i+1).contradicted = true
			}
		}
	}
	return debts
}

// owe adds what is owed about one item at one hop.
func (b *book) owe(debts map[owed]*debt, hop, i int) {
	l, n, stage := &b.lines[hop][i], uint32(i+1), stages[hop]
	var before time.Time
	if hop > 0 {
		before = b.passed(hop-1, i)
	}
	switch {
	case !l.claimed.IsZero():
		if l.heard.IsZero() {
			add(debts, stage, "acknowledgement", deadline(stage, "acknowledgement", l.claimed), n)
		}
		if stage == "import" && !l.heard.IsZero() && l.confirmed.IsZero() {
			add(debts, stage, "confirmation", deadline(stage, "confirmation", l.heard), n)
		}
	case !before.IsZero():
		add(debts, stage, "claim", deadline(stage, "claim", before), n)
	case !l.early.IsZero():
		add(debts, stage, "claim", deadline(stage, "claim", l.early), n)
	}
}

func add(debts map[owed]*debt, hop, side string, due time.Time, item uint32) *debt {
	o := owed{hop, side, due.UnixNano()}
	d := debts[o]
	if d == nil {
		d = new(debt)
		debts[o] = d
	}
	if !slices.Contains(d.items, item) {
		d.items = append(d.items, item)
		slices.Sort(d.items)
	}
	return d
}

// corrected reports whether the relay has said it again since, for all items and
// without another wrong root.
func (b *book) corrected(wrong ledger.Event) bool {
	return slices.ContainsFunc(b.words, func(w ledger.Event) bool {
		isWrong := slices.ContainsFunc(b.wrong, func(x ledger.Event) bool { return x.Seq == w.Seq })
		return w.Kind() == ledger.UploadReceived && w.Seq > wrong.Seq && !isWrong && w.Content.Items.Count() == perBatch
	})
}

// raise takes an alert and says what is wrong with it.
func (b *book) raise(e ledger.Event) (wrong string) {
	c := &e.Content
	a := told{owed{c.Hop, c.Side.String(), c.Due.UnixNano()}, c.Reopen, numbers(c.Items), true}
	reopen := uint32(0)
	for _, t := range b.alerts {
		if t.owed == a.owed {
			reopen++
		}
	}
	d := b.debts()[a.owed]
	switch {
	case d == nil:
		wrong = "false: nothing is owed there"
	case !d.contradicted && e.Time.UnixNano() <= a.due:
		wrong = "too early"
	case d.contradicted != (c.Cause == ledger.Contradict):
		wrong = fmt.Sprintf("for the cause %s, and contradicted is %t", c.Cause, d.contradicted)
	case !slices.Equal(a.items, without(d.items, b.told(a.owed))):
		wrong = fmt.Sprintf("about %v: owed are %v, told was of %v", a.items, d.items, b.told(a.owed))
	case a.reopen != reopen:
		wrong = fmt.Sprintf("number %d of its kind, and should be %d", a.reopen, reopen)
	}
	b.alerts = append(b.alerts, a)
	return wrong
}

// close takes the end of an alert and says what is wrong with it.
func (b *book) close(e ledger.Event) (wrong string) {
	c := &e.Content
	o := owed{c.Hop, c.Side.String(), c.Due.UnixNano()}
	for i := range b.alerts {
		a := &b.alerts[i]
		if a.owed != o || a.reopen != c.Reopen || !a.open {
			continue
		}
		a.open = false
		if left := b.missing(a, b.debts()); len(left) > 0 {
			return fmt.Sprintf("and %v are still owed", left)
		}
		return ""
	}
	return "and was never open"
}

// told returns the items that open alerts about an obligation name.
func (b *book) told(o owed) (items []uint32) {
	for _, a := range b.alerts {
		if a.owed == o && a.open {
			items = append(items, a.items...)
		}
	}
	return items
}

// missing returns what is still owed of the items of an alert: a word that was
// heard and waits for its confirmation is not there.
func (b *book) missing(a *told, debts map[owed]*debt) (items []uint32) {
	for o, d := range debts {
		if o.hop != a.hop || o.side != a.side && (a.side != "acknowledgement" || o.side != "confirmation") {
			continue
		}
		for _, n := range d.items {
			if slices.Contains(a.items, n) {
				items = append(items, n)
			}
		}
	}
	slices.Sort(items)
	return items
}

// watched says what a watchdog that has just looked should have done and has not.
func (b *book) watched(now time.Time) (wrong []string) {
	debts := b.debts()
	for o, d := range debts {
		late := d.contradicted || now.UnixNano() > o.due
		if left := without(d.items, b.told(o)); late && len(left) > 0 {
			wrong = append(wrong, fmt.Sprintf("nobody was told that the %s of %s is late for %v, due %s",
				o.side, o.hop, left, time.Unix(0, o.due).In(ledger.JST).Format("01-02 15:04:05")))
		}
	}
	for i := range b.alerts {
		if a := &b.alerts[i]; a.open && len(b.missing(a, debts)) == 0 {
			wrong = append(wrong, fmt.Sprintf("the alert about the %s of %s is open, and nothing of it is owed", a.side, a.hop))
		}
	}
	slices.Sort(wrong)
	return wrong
}

func without(items, known []uint32) (left []uint32) {
	for _, n := range items {
		if !slices.Contains(known, n) {
			left = append(left, n)
		}
	}
	return left
}

func numbers(items ledger.Items) (list []uint32) {
	for n := range items.All {
		list = append(list, n)
	}
	return list
}

// deadline is default/1, written down once more.
func deadline(stage, side string, from time.Time) time.Time {
	days := 1
	switch stage {
	case "upload", "import":
		return from.Add(24 * time.Hour)
	case "print":
		days = 5
	}
	t := from.In(ledger.JST)
	for days > 0 {
		t = t.AddDate(0, 0, 1)
		if open(t) {
			days--
		}
	}
	return time.Date(t.Year(), t.Month(), t.Day(), 17, 15, 0, 0, ledger.JST)
}

// open reports whether public offices were open on a day of the end of 2015.
func open(t time.Time) bool {
	closed := []string{"2015-10-12", "2015-11-03", "2015-11-23", "2015-12-23", "2015-12-29", "2015-12-30", "2015-12-31"}
	return t.Weekday() != time.Saturday && t.Weekday() != time.Sunday && !slices.Contains(closed, t.Format(time.DateOnly))
}
