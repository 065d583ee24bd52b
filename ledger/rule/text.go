package rule

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"todoke/ledger"
)

// Text returns the whole pack as canonical text, the table of holidays written
// out, as it is published in the ledger: from then on the ledger alone fixes
// every deadline. [Parse] of it gives an equal pack. Comments of the text that
// the pack was read from are not kept.
func (p *Pack) Text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "version: %s\nprofile: %s\nflow: %s\n", p.version, p.profile, p.flow.Name)
	b.WriteString("organisations:\n")
	for _, name := range slices.Sorted(maps.Keys(p.houses)) {
		fmt.Fprintf(&b, "  %s: %s\n", name, p.houses[name])
	}
	b.WriteString("hops:\n")
	for i, h := range p.hops {
		if h != (hop{}) {
			h.write(&b, p.flow.Hops[i].Stage)
		}
	}
	p.calendar.write(&b)
	return b.Bytes()
}

func (h hop) write(b *bytes.Buffer, stage string) {
	fmt.Fprintf(b, "  %s:\n", stage)
	for side := ledger.ClaimSide; side <= ledger.ConfirmationSide; side++ {
		s := h.spans[side]
		switch {
		case s == span{}:
		case side == ledger.AcknowledgementSide:
			fmt.Fprintf(b, "    %s: {within: %s, basis: %s, grade: %d}\n", side, s, h.basis, h.grade)
		default:
			fmt.Fprintf(b, "    %s: {within: %s}\n", side, s)
		}
	}
}

func (c *calendar) write(b *bytes.Buffer) {
	fmt.Fprintf(b, "calendar:\n  office_closes: %q\n  post_closes: %q\n", formatTimeOfDay(c.officeCloses), formatTimeOfDay(c.postCloses))
	fmt.Fprintf(b, "  official_until: %s\n  holidays:\n", c.official)
	for _, h := range c.holidays.days {
		fmt.Fprintf(b, "    %s: %s\n", h.day, h.name)
	}
}
