package rig

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	row     = flag.Int("row", 0, "TestSeed, TestSoak: the row; 0: all")
	seed    = flag.Uint64("seed", 0, "TestSeed: the seed")
	minutes = flag.Float64("minutes", 0, "TestSoak: for how long")
)

// From here to the top of the repository.
const top = "../.."

// TestCommitColumn runs the commit column, or without TODOKE_SYSTEM what is light
// of it.
func TestCommitColumn(t *testing.T) {
	system := os.Getenv("TODOKE_SYSTEM") != ""
	for _, r := range Rows() {
		units := r.Light
		if system {
			units = r.Commit
		}
		trials := r.trials(units)
		if trials == 0 || testing.Short() && !system {
			continue
		}
		t.Run(fmt.Sprintf("%d %s", r.Number, r.Name), func(t *testing.T) {
			for seed := range uint64(trials) {
				if r.Run(t, seed); t.Failed() {
					t.Fatalf("again with: go test ./testenv/rig -run TestSeed -row %d -seed %d", r.Number, seed)
				}
			}
		})
	}
}

// TestSeed runs one trial of one row.
func TestSeed(t *testing.T) {
	if *row == 0 {
		t.Skip("needs -row")
	}
	for _, r := range chosen(t) {
		r.Run(t, *seed)
	}
}

// TestSoak goes on with the row that is furthest behind, until the time is over. A
// trial that fails is noted with its seed and does not end the soak.
func TestSoak(t *testing.T) {
	if *minutes == 0 {
		t.Skip("runs by make soak")
	}
	file := filepath.Join(top, ".soak.json")
	progress, err := LoadProgress(file)
	if err != nil {
		t.Fatal(err)
	}
	rows, commit := chosen(t), head(t)
	for end := time.Now().Add(time.Duration(*minutes * float64(time.Minute))); time.Now().Before(end); {
		r := progress.next(rows)
		seed := progress.of(r).Next
		passed := t.Run(fmt.Sprintf("%d seed %d", r.Number, seed), func(t *testing.T) { r.Run(t, seed) })
		progress.note(r, !passed, time.Now(), commit)
		if err := progress.Save(file); err != nil {
			t.Fatal(err)
		}
		if err := WriteTable(filepath.Join(top, "docs", "reliability.md"), progress.Table(Rows())); err != nil {
			t.Fatal(err)
		}
	}
}

// chosen returns the rows that -row leaves. There is at least one.
func chosen(t *testing.T) (some []Row) {
	t.Helper()
	for _, r := range Rows() {
		if *row == 0 || r.Number == *row {
			some = append(some, r)
		}
	}
	if len(some) == 0 {
		t.Fatalf("there is no row %d", *row)
	}
	return some
}

// head returns the commit that is tried, with a + when the tree differs from it.
func head(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("git", "describe", "--always", "--dirty=+", "--abbrev=9", "--exclude=*").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

func TestSoakGoesOnWhereItStopped(t *testing.T) {
	rows := []Row{{Number: 1, Full: 10, Unit: "seeds"}, {Number: 2, Full: 1000, PerTrial: 50, Unit: "kills"}}
	file := filepath.Join(t.TempDir(), "progress")
	var order []int
	for range 12 {
		p, err := LoadProgress(file)
		if err != nil {
			t.Fatal(err)
		}
		r := p.next(rows)
		order = append(order, r.Number)
		p.note(r, r.Number == 2 && p.of(r).Next == 1, time.Unix(0, 0), "abc")
		if err := p.Save(file); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := fmt.Sprint(order), "[1 2 2 1 2 2 1 2 2 1 2 2]"; got != want {
		t.Errorf("rows ran in the order %s, want %s", got, want)
	}
	p, err := LoadProgress(file)
	if err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte("before\n"+tableBegin+"yesterday\n"+tableEnd+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteTable(page, p.Table(rows)); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(page)
	for _, want := range []string{"before\n", "| 400 | 1970-01-01 | abc | seeds 1 |", "after\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "yesterday") {
		t.Error("the old table is still there")
	}
}
