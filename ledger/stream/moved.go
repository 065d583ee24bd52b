package stream

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"todoke/ledger"
)

// movedName is the file that ends the ledger in a folder.
const movedName = "moved"

// moved is what it says.
type moved struct {
	Servers string     `json:"servers"` // where the ledger is now
	Ledger  string     `json:"ledger"`
	Head    ledger.Seq `json:"head"` // its last event in the folder
	Time    time.Time  `json:"time"`
}

// refuse returns the [ledger.ErrMoved] for whoever looks for the ledger here.
func (m *moved) refuse() error {
	return fmt.Errorf("%w at event %d, on %s: give --nats with %s", ledger.ErrMoved, m.Head, m.Time.In(ledger.JST).Format(time.DateTime+" MST"), m.Servers)
}

// notMoved returns an [ledger.ErrMoved] when the ledger of the folder was moved.
func notMoved(dir string) error {
	m, err := readMoved(dir)
	if err != nil || m == nil {
		return err
	}
	return m.refuse()
}

// readMoved returns where the ledger of the folder was moved to, nil when it was
// not.
func readMoved(dir string) (*moved, error) {
	text, err := os.ReadFile(filepath.Join(dir, movedName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	m := new(moved)
	if err == nil {
		err = json.Unmarshal(text, m)
	}
	if err != nil {
		return nil, fmt.Errorf("read where the ledger was moved to: %w", err)
	}
	return m, nil
}

func (m *mover) note() moved {
	return moved{m.state.Servers, m.state.Ledger.String(), m.state.Head, m.source.cfg.Now().UTC()}
}

// writeMoved ends the ledger in the folder.
func writeMoved(dir string, m moved) error {
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("write %s: %w", movedName, err)
	}
	return writeWhole(dir, movedName, text)
}
