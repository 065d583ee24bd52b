package ledger

import (
	"fmt"
	"strings"
)

// A Role says what a party does. Roles are a closed list.
type Role string

// The roles.
const (
	Municipality Role = "municipality" // sends the items, and confirms what others hold of them
	Relay        Role = "relay"        // 継続サーバー in 2015, 中継サーバー in 2016
	Registry     Role = "registry"     // 管理サーバー
	Printer      Role = "printer"
	Inspector    Role = "inspector"
	Post         Role = "post"
	Counter      Role = "counter"
	Bureau       Role = "bureau"
	Operator     Role = "operator" // runs the ledger
	Watchdog     Role = "watchdog"
	Auditor      Role = "auditor"
)

// Party is who speaks: role:id, as municipality:131229 or relay:2. The
// watchdog and its like may go without an id.
type Party string

// ParseParty checks that s is a known role and an id of 1 to 48 of [a-z0-9-].
func ParseParty(s string) (Party, error) {
	role, id, hasID := strings.Cut(s, ":")
	if !Role(role).known() {
		return "", fmt.Errorf("party %q: %q is not a role", clip(s), clip(role))
	}
	if hasID && !validToken(id) {
		return "", fmt.Errorf("party %q: the id must be 1 to %d of a-z, 0-9 and -", clip(s), maxToken)
	}
	if !hasID && Role(role) != Watchdog {
		return "", fmt.Errorf("party %q: an id is missing, as in %s:1", clip(s), role)
	}
	return Party(s), nil
}

// Role returns what the party does.
func (p Party) Role() Role {
	role, _, _ := strings.Cut(string(p), ":")
	return Role(role)
}

// ID returns what tells the party from others of its role.
func (p Party) ID() string {
	_, id, _ := strings.Cut(string(p), ":")
	return id
}

func (r Role) known() bool {
	switch r {
	case Municipality, Relay, Registry, Printer, Inspector, Post, Counter, Bureau, Operator, Watchdog, Auditor:
		return true
	}
	return false
}
