package intake

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// BenchmarkIntake takes files of a million rows from the disk, commitments,
// fsync and all. It reports rows a second and the most memory that the process
// ever had resident, of which the generator has a small part: it writes the
// file row by row.
//
//	go test -run '^$' -bench Intake -count 7 ./producers/intake
func BenchmarkIntake(b *testing.B) {
	const rows = 1_000_000
	for _, name := range []string{UTF8, CP932} {
		b.Run(name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "file.csv")
			writeHouseholds(b, path, name, rows)
			for i := 0; b.Loop(); i++ {
				takeFile(b, filepath.Join(b.TempDir(), strconv.Itoa(i)), path, name, rows)
			}
			b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
			b.ReportMetric(residentMB(b), "MB-resident-peak")
		})
	}
}

// BenchmarkAnswer checks a 登録 of a million items against the commitments.
func BenchmarkAnswer(b *testing.B) {
	const rows = 1_000_000
	g, err := Open(testConfig(b.TempDir()))
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	m, err := g.Take(b.Context(), newHouseholds(rows, 1))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := g.rootOver(m, m.Report().Items); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "items/s")
}

func takeFile(b *testing.B, dir, path, encoding string, rows int) {
	b.Helper()
	g, err := Open(testConfig(dir))
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	m, err := g.Take(b.Context(), f)
	if err != nil || int(m.Count) != rows || m.Encoding != encoding {
		b.Fatalf("took %d rows in %s: %v", m.Count, m.Encoding, err)
	}
}

func writeHouseholds(b *testing.B, path, encoding string, rows int) {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	if _, err := io.Copy(encoders()[encoding].Writer(w), newHouseholds(rows, 1)); err != nil {
		b.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
}

// residentMB returns the high-water mark of the process, as Linux counts it.
func residentMB(b *testing.B) float64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("no /proc to read the resident size from")
	}
	_, rest, _ := bytes.Cut(status, []byte("VmHWM:"))
	var kB float64
	if _, err := fmt.Sscan(string(rest), &kB); err != nil {
		b.Fatal(err)
	}
	return kB / 1000
}
