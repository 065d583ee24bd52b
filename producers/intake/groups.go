package intake

import (
	"cmp"
	"slices"

	"todoke/ledger"
)

const (
	minGroup  = 10   // items of a group that is named
	maxGroups = 4096 // towns of an event
)

// groups collects the items of each town.
type groups struct {
	towns   *Towns
	byName  map[string]*ledger.Items
	unknown int // items of which neither town nor postcode is known
}

func newGroups(t *Towns) *groups { return &groups{towns: t, byName: map[string]*ledger.Items{}} }

// add puts the next item into the group of its town: by address, else by
// postcode. Items come in ascending order.
func (g *groups) add(number uint32, address, code string) {
	name := g.towns.find(address)
	if name == "" {
		if digits := postcode(code); digits != "" {
			name = "〒" + digits[:3] + "-" + digits[3:]
		} else {
			name = unknownTown
			g.unknown++
		}
	}
	items := g.byName[name]
	if items == nil {
		items = new(ledger.Items)
		g.byName[name] = items
	}
	if last := len(*items) - 1; last >= 0 && (*items)[last].Last+1 == number {
		(*items)[last].Last = number
		return
	}
	*items = append(*items, ledger.Range{First: number, Last: number})
}

// list returns the groups in the order of their first items. Groups of fewer
// than ten items, which say too much about somebody, are merged into その他, as
// are the smallest when there are more than an event can hold.
func (g *groups) list() []Town {
	var list []Town
	for name, items := range g.byName {
		list = append(list, Town{name, *items, uint32(items.Count())})
	}
	slices.SortFunc(list, func(a, b Town) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.first(), b.first()))
	})
	named := min(len(list), maxGroups-1)
	if i := slices.IndexFunc(list, func(t Town) bool { return t.Count < minGroup }); i >= 0 {
		named = min(named, i)
	}
	if small := list[named:]; len(small) > 0 {
		list = append(list[:named:named], merge(small))
	}
	slices.SortFunc(list, func(a, b Town) int { return cmp.Compare(a.first(), b.first()) })
	return list
}

// merge returns all items of the given groups as その他.
func merge(small []Town) Town {
	var numbers []uint32
	for _, t := range small {
		numbers = slices.AppendSeq(numbers, t.Items.All)
	}
	return Town{otherTowns, ledger.CollectItems(numbers), uint32(len(numbers))}
}
