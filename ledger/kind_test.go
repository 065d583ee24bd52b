package ledger_test

import (
	"errors"
	"regexp"
	"testing"

	"todoke/ledger"
)

func TestKinds(t *testing.T) {
	name := regexp.MustCompile(`^[a-z]+\.[a-z]+(-[a-z]+)*$`)
	for _, k := range ledger.Kinds() {
		if !name.MatchString(k.String()) || k.Stage() == "" || k.By() == "" {
			t.Errorf("kind %d is %q, said by %q", k, k, k.By())
		}
		if back, err := ledger.ParseKind(k.String()); err != nil || back != k {
			t.Errorf("%s is read as %s, %v", k, back, err)
		}
	}
	for _, text := range []string{"", ".", "order", "order.", "order.lost", "Order.sent", "order.sent/1", "kind-20"} {
		if k, err := ledger.ParseKind(text); !errors.Is(err, ledger.ErrUnknownKind) {
			t.Errorf("%q is read as %s, %v", text, k, err)
		}
	}
	if unknown := ledger.Kind(65535); unknown.String() != "kind-65535" || unknown.By() != "" || unknown.Stage() != "" {
		t.Errorf("%s, by %q at %q", unknown, unknown.By(), unknown.Stage())
	}
}

func TestParties(t *testing.T) {
	for text, want := range map[string]struct {
		role ledger.Role
		id   string
	}{
		"municipality:131229": {ledger.Municipality, "131229"},
		"relay:2":             {ledger.Relay, "2"},
		"registry:jlis":       {ledger.Registry, "jlis"},
		"watchdog":            {ledger.Watchdog, ""},
		"watchdog:b":          {ledger.Watchdog, "b"},
	} {
		p, err := ledger.ParseParty(text)
		if err != nil || p.Role() != want.role || p.ID() != want.id {
			t.Errorf("%q: role %q, id %q, %v", text, p.Role(), p.ID(), err)
		}
	}
	for _, text := range []string{"", ":", "relay", "relay:", ":2", "king:1", "Relay:2", "relay:2:3", "relay:a b", "relay:*", "relay:二", "relay:2\n", "relay:" + string(make([]byte, 49))} {
		if p, err := ledger.ParseParty(text); err == nil {
			t.Errorf("%q is read as %s", text, p)
		}
	}
}

// TestFlow: custody is handed on, so the receiver of a hop is the claimant of
// the next, and each word is said by the side that owes it.
func TestFlow(t *testing.T) {
	flow := ledger.NotificationCard
	for i, hop := range flow.Hops {
		if i > 0 && flow.Hops[i-1].To != hop.From {
			t.Errorf("%s is handed to the %s, and %s is claimed by the %s", flow.Hops[i-1].Stage, flow.Hops[i-1].To, hop.Stage, hop.From)
		}
		if hop.From == hop.To {
			t.Errorf("%s: the %s acknowledges its own work", hop.Stage, hop.From)
		}
		for kind, by := range map[ledger.Kind]ledger.Role{
			hop.Claim: hop.From, hop.Ack: hop.To, hop.Confirm: ledger.Municipality, hop.Dispute: ledger.Municipality,
		} {
			if kind != 0 && (kind.By() != by || kind.Stage() != hop.Stage) {
				t.Errorf("%s: %s is said by the %s, want the %s", hop.Stage, kind, kind.By(), by)
			}
		}
		if flow.Hop(hop.Stage) != i {
			t.Errorf("%s is hop %d, found at %d", hop.Stage, i, flow.Hop(hop.Stage))
		}
	}
	if flow.Hop("teleport") != -1 || flow.Hop(flow.Beyond[0]) != -1 {
		t.Error("a stage that is not watched has a hop")
	}
	if ledger.FlowByName(flow.Name) != flow || ledger.FlowByName("") != nil {
		t.Error("flows are not found by name")
	}
}
