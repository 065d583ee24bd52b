package intake

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"

	"todoke/ledger"
)

var update = flag.Bool("update", false, "write the golden files anew")

// openGateway opens a gateway of 葛飾区 in dir and closes it with the test.
func openGateway(t testing.TB, dir string) *Gateway {
	t.Helper()
	g, err := Open(testConfig(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func take(t testing.TB, g *Gateway, text string) Manifest {
	t.Helper()
	m, err := g.Take(t.Context(), strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestGoldenManifests pins what is remembered of files that do not change:
// roots, digests, groups and all.
func TestGoldenManifests(t *testing.T) {
	files, err := filepath.Glob("testdata/*.csv")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			g := openGateway(t, t.TempDir())
			m := take(t, g, string(text))
			got, err := os.ReadFile(g.folder.path(m.Batch, manifestFile))
			if err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(path, ".csv") + ".json"
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want, err := os.ReadFile(golden); err != nil || !bytes.Equal(got, want) {
				t.Errorf("manifest\n%s, want\n%s (%v)", got, want, err)
			}
			if read, err := g.Manifest(m.Batch); err != nil || !reflect.DeepEqual(read, m) {
				t.Errorf("the manifest is read back as\n%+v, not\n%+v (%v)", read, m, err)
			}
		})
	}
}

// TestWorkedExample computes what the package comment says.
func TestWorkedExample(t *testing.T) {
	text, err := os.ReadFile("testdata/example.csv")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	count, root, err := RootOf([32]byte{}, bytes.NewReader(text), nil)
	if err != nil || count != 2 {
		t.Fatalf("%d rows, %v", count, err)
	}
	if !bytes.Contains(doc, []byte("//\t"+root.String()+"\n")) {
		t.Errorf("the root is %s, doc.go says another", root)
	}
	for line := range strings.Lines(string(text)) {
		if !bytes.Contains(doc, []byte("//\t"+line)) {
			t.Errorf("doc.go lacks the row %q", line)
		}
	}
}

func TestCommitmentsAreOverRawBytes(t *testing.T) {
	root := func(text string) ledger.Root {
		_, root, err := RootOf([32]byte{5}, strings.NewReader(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		return root
	}
	plain := file(rowOf(1), with(2, colBuilding, `"水元荘, 201"`), rowOf(3))

	t.Run("by hand", func(t *testing.T) {
		var b ledger.RootBuilder
		for i, row := range strings.Split(strings.TrimSpace(plain), "\n")[1:] {
			b.Add(ledger.Commit([32]byte{5}, uint32(i+1), []byte(row)))
		}
		if got := root(plain); got != b.Root() {
			t.Errorf("root %s, want %s", got, b.Root())
		}
	})
	for name, same := range map[string]string{
		"CRLF":                     strings.ReplaceAll(plain, "\n", "\r\n"),
		"a BOM":                    "\xEF\xBB\xBF" + plain,
		"an END row":               plain + "END,3\n",
		"no ending at the end":     strings.TrimSpace(plain),
		"blank lines at the end":   plain + "\r\n\n",
		"a header in other quotes": strings.Replace(plain, "住所", `"住所"`, 1),
	} {
		t.Run("the same with "+name, func(t *testing.T) {
			if root(same) != root(plain) {
				t.Error("the root differs")
			}
		})
	}
	for name, other := range map[string]string{
		"quotes around a field":  strings.Replace(plain, "世帯0001", `"世帯0001"`, 1),
		"a digit in full width":  strings.Replace(plain, "世帯0001", "世帯000１", 1),
		"another order":          file(rowOf(3), with(2, colBuilding, `"水元荘, 201"`), rowOf(1)),
		"CP932":                  cp932(t, plain),
		"a space at a row's end": strings.Replace(plain, ",3,0\n", ",3,0 \n", 1),
		"an IVS behind 葛":        strings.Replace(plain, "葛", "葛\U000E0100", 1),
		"a new line in a quote":  strings.Replace(plain, "水元荘, 201", "水元荘,\n201", 1),
		"a row less":             file(rowOf(1), rowOf(2)),
		"a longer other column":  strings.ReplaceAll(strings.Replace(plain, "外字数\n", "外字数,備考\n", 1), ",0\n", ",0,\n"),
		"decomposed half of a が": strings.Replace(plain, "世帯0001", "世か\u3099", 1),
	} {
		t.Run("another with "+name, func(t *testing.T) {
			if root(other) == root(plain) {
				t.Error("the root is the same")
			}
		})
	}
	t.Run("髙 is the bytes that came", func(t *testing.T) {
		windows := strings.Replace(cp932(t, file(with(1, colHolder, "高"))), cp932(t, "高"), "\xFB\xFC", 1)
		other := strings.Replace(windows, "\xFB\xFC", "\xEE\xE0", 1) // what an encoder makes of 髙
		if root(windows) == root(other) {
			t.Error("two ways to write 髙 have one root")
		}
	})
}

// TestFilesAreCutAsTheyWereWritten writes files from rows that are known, in
// every way that the format allows, and expects exactly these rows.
func TestFilesAreCutAsTheyWereWritten(t *testing.T) {
	buildings := []string{"", "１０１", `"水元荘, 201"`, `"髙""砂""荘"`, "\"一行目\n二行目\"", "\"一行目\r\n\r\n二行目\"", `""`, "ｱﾊﾟｰﾄ"}
	rapid.Check(t, func(rt *rapid.T) {
		encoder := encoders()[rapid.SampledFrom([]string{UTF8, CP932}).Draw(rt, "encoding")]
		ending := rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(rt, "ending")
		var want ledger.RootBuilder
		text := headerRow + ending
		n := rapid.IntRange(1, 30).Draw(rt, "rows")
		for i := range n {
			row, err := encoder.String(with(i+1, colBuilding, rapid.SampledFrom(buildings).Draw(rt, "building")))
			if err != nil {
				rt.Fatal(err)
			}
			want.Add(ledger.Commit([32]byte{}, uint32(i+1), []byte(row)))
			text += row + ending
		}
		if header, err := encoder.String(headerRow); err != nil {
			rt.Fatal(err)
		} else {
			text = header + strings.TrimPrefix(text, headerRow)
		}
		text += rapid.SampledFrom([]string{"", fmt.Sprintf("END,%d", n), ending}).Draw(rt, "end")
		count, root, err := RootOf([32]byte{}, strings.NewReader(text), nil)
		if err != nil || int(count) != n || root != want.Root() {
			rt.Fatalf("%d rows, root %s, %v; want %d and %s", count, root, err, n, want.Root())
		}
		if m, err := Check(t.Context(), testConfig(""), strings.NewReader(text)); err != nil || int(m.Count) != n {
			rt.Fatalf("checked as %d rows, %v", m.Count, err)
		}
	})
}

func TestRootOfItems(t *testing.T) {
	rows := []string{rowOf(1), rowOf(2), rowOf(3), rowOf(4)}
	g := openGateway(t, t.TempDir())
	m := take(t, g, file(rows...))
	key, err := g.BatchKey(m.Batch)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("of the whole file is the manifest's", func(t *testing.T) {
		count, root, err := RootOf(key, strings.NewReader(file(rows...)), nil)
		if err != nil || count != 4 || root != m.Root {
			t.Errorf("%d rows, root %s, %v; want %s", count, root, err, m.Root)
		}
	})
	t.Run("of a part is the gateway's own", func(t *testing.T) {
		part := ledger.Items{{First: 2, Last: 2}, {First: 4, Last: 4}}
		count, root, err := RootOf(key, strings.NewReader(file(rows[1], rows[3])), part)
		want, err2 := g.rootOver(m, part)
		if err != nil || err2 != nil || count != 2 || root != want {
			t.Errorf("%d rows, root %s, want %s (%v, %v)", count, root, want, err, err2)
		}
	})
	for name, items := range map[string]ledger.Items{"too few items": ledger.AllItems(3), "too many items": ledger.AllItems(5)} {
		t.Run("refuses "+name, func(t *testing.T) {
			if _, _, err := RootOf(key, strings.NewReader(file(rows...)), items); err == nil {
				t.Error("no error")
			}
		})
	}
	t.Run("refuses a file that does not read", func(t *testing.T) {
		for _, text := range []string{"", "\xFF\xFE", file(rows[0], "END,2"), file(rows[0], `"`), file(rows[0] + "\xFF")} {
			if _, _, err := RootOf(key, strings.NewReader(text), nil); !errors.Is(err, ErrRefused) {
				t.Errorf("%q: error %v, want a refusal", text, err)
			}
		}
	})
	t.Run("returns the reader's error", func(t *testing.T) {
		broken := errors.New("the line is gone")
		r := io.MultiReader(strings.NewReader(file(rows...)), iotest.ErrReader(broken))
		if _, _, err := RootOf(key, r, nil); !errors.Is(err, broken) {
			t.Errorf("error %v, want %v", err, broken)
		}
	})
}

func TestTake(t *testing.T) {
	dir := t.TempDir()
	g := openGateway(t, dir)
	first := take(t, g, file(rowOf(1), rowOf(2)))

	t.Run("numbers the batches of a day as it is in Japan", func(t *testing.T) {
		second := take(t, g, file(rowOf(3)))
		if first.Batch != "131229-20151005-0001" || second.Batch != "131229-20151005-0002" {
			t.Errorf("batches %s and %s", first.Batch, second.Batch)
		}
		g.config.Now = func() time.Time { return now.Add(24 * time.Hour) }
		defer func() { g.config.Now = testConfig("").Now }()
		if third := take(t, g, file(rowOf(4))); third.Batch != "131229-20151006-0001" {
			t.Errorf("batch %s of the next day", third.Batch)
		}
	})
	t.Run("knows the same file again", func(t *testing.T) {
		again := take(t, g, file(rowOf(1), rowOf(2)))
		if !again.Known || again.Batch != first.Batch || again.Root != first.Root || len(g.Batches()) != 3 {
			t.Errorf("manifest %+v, batches %v", again, g.Batches())
		}
	})
	t.Run("knows it after a restart too", func(t *testing.T) {
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		g = openGateway(t, dir)
		again := take(t, g, file(rowOf(1), rowOf(2)))
		if !again.Known || again.Batch != first.Batch {
			t.Errorf("manifest %+v", again)
		}
		if next := take(t, g, file(rowOf(5))); next.Batch != "131229-20151005-0003" || next.Known {
			t.Errorf("batch %s, known %v", next.Batch, next.Known)
		}
	})
	t.Run("takes another file with the same rows for another", func(t *testing.T) {
		if other := take(t, g, file(rowOf(1), rowOf(2))+"\n"); other.Known || other.Root == first.Root {
			t.Errorf("manifest %+v", other)
		}
	})
	t.Run("keeps everything to its owner", func(t *testing.T) {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if info, statErr := d.Info(); path != dir && (statErr != nil || info.Mode().Perm()&0o077 != 0) {
				t.Errorf("%s has mode %v", path, info.Mode())
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("ends with the day's last number", func(t *testing.T) {
		g.batches["131229-20151005-9999"] = true
		_, err := g.Take(t.Context(), strings.NewReader(file(rowOf(7))))
		if !errors.Is(err, ErrTooManyBatches) {
			t.Errorf("error %v, want ErrTooManyBatches", err)
		}
	})
}

func TestTakeLeavesNothingOfWhatItDoesNotTake(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	broken := errors.New("the disk is gone")
	long := io.MultiReader(strings.NewReader(headerRow+"\n"), newHouseholds(0, 0))
	for name, c := range map[string]struct {
		ctx  context.Context
		file io.Reader
		want error
	}{
		"a refused file":    {t.Context(), strings.NewReader(file(rowOf(1), "END,2")), ErrRefused},
		"a file that tears": {t.Context(), io.MultiReader(strings.NewReader(file(rowOf(1))), iotest.ErrReader(broken)), broken},
		"a stopped Take":    {ctx, newHouseholds(5000, 1), context.Canceled},
		"two headers":       {t.Context(), long, ErrRefused},
	} {
		t.Run(name, func(t *testing.T) {
			g := openGateway(t, t.TempDir())
			if _, err := g.Take(c.ctx, c.file); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			left, err := os.ReadDir(g.folder.path())
			if err != nil || len(left) > 0 || len(g.Batches()) > 0 {
				t.Errorf("left behind: %v, %v", left, g.Batches())
			}
		})
	}
}

// TestOpenAfterACrash leaves the folder as a crash does at every step of Take,
// and expects nothing or a whole batch.
func TestOpenAfterACrash(t *testing.T) {
	text := file(rowOf(1), rowOf(2), rowOf(3))
	// crashed returns a folder in which the files of a whole batch were
	// changed by step, which runs beside them.
	crashed := func(t *testing.T, step func(t *testing.T, batches, batch string)) (string, Manifest) {
		dir := t.TempDir()
		g := openGateway(t, dir)
		m := take(t, g, text)
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		step(t, filepath.Join(dir, batchesDir), filepath.Join(dir, batchesDir, m.Batch))
		return dir, m
	}
	draft := func(remove ...string) func(*testing.T, string, string) {
		return func(t *testing.T, batches, batch string) {
			for _, name := range remove {
				if err := os.Remove(filepath.Join(batch, name)); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Rename(batch, filepath.Join(batches, newPrefix+"123")); err != nil {
				t.Fatal(err)
			}
		}
	}
	torn := func(t *testing.T, batches, batch string) {
		if err := os.Truncate(filepath.Join(batch, commitmentsFile), 40); err != nil {
			t.Fatal(err)
		}
		draft(manifestFile, batchKeyFile)(t, batches, batch)
	}
	for name, c := range map[string]struct {
		step  func(t *testing.T, batches, batch string)
		known bool
	}{
		"before anything was written":  {draft(manifestFile, batchKeyFile, commitmentsFile), false},
		"among the commitments":        {torn, false},
		"before the keys":              {draft(manifestFile, batchKeyFile), false},
		"before the manifest":          {draft(manifestFile), false},
		"before the rename":            {draft(), false},
		"after the rename":             {func(*testing.T, string, string) {}, true},
		"with a file that is no batch": {func(t *testing.T, batches, _ string) { os.WriteFile(filepath.Join(batches, "README"), nil, 0o600) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir, before := crashed(t, c.step)
			g := openGateway(t, dir)
			if got := len(g.Batches()); got != 0 != c.known {
				t.Errorf("%d batches are visible", got)
			}
			after := take(t, g, text)
			if after.Known != c.known || after.Batch != before.Batch || after.Digest != before.Digest {
				t.Errorf("after the crash\n%+v, before\n%+v", after, before)
			}
			if drafts, _ := filepath.Glob(filepath.Join(dir, "*", newPrefix+"*")); len(drafts) > 0 {
				t.Errorf("left behind: %v", drafts)
			}
			if c.known && !reflect.DeepEqual(after.Report(), before.Report()) {
				t.Error("the report is another")
			}
		})
	}
	t.Run("while the folder was made", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, newPrefix+fileKeyFile), []byte("torn"), 0o600); err != nil {
			t.Fatal(err)
		}
		take(t, openGateway(t, dir), text)
	})
}

func TestOpenRefusesADamagedFolder(t *testing.T) {
	remove := func(name string) func(string) error {
		return func(batch string) error { return os.Remove(filepath.Join(batch, name)) }
	}
	for name, damage := range map[string]func(batch string) error{
		"no manifest":            remove(manifestFile),
		"no commitments":         remove(commitmentsFile),
		"no batch key":           remove(batchKeyFile),
		"no file key":            remove("../../" + fileKeyFile),
		"half a manifest":        func(b string) error { return os.Truncate(filepath.Join(b, manifestFile), 200) },
		"short commitments":      func(b string) error { return os.Truncate(filepath.Join(b, commitmentsFile), 32) },
		"a short batch key":      func(b string) error { return os.Truncate(filepath.Join(b, batchKeyFile), 31) },
		"a batch key for others": func(b string) error { return os.Chmod(filepath.Join(b, batchKeyFile), 0o640) },
		"another batch's name":   func(b string) error { return os.Rename(b, strings.TrimSuffix(b, "0001")+"0002") },
		"a name that is none":    func(b string) error { return os.Rename(b, b+"-copy") },
		"a batch twice": func(b string) error {
			return errors.Join(os.CopyFS(strings.TrimSuffix(b, "0001")+"0003", os.DirFS(b)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			g := openGateway(t, dir)
			m := take(t, g, file(rowOf(1), rowOf(2)))
			g.Close()
			if err := damage(filepath.Join(dir, batchesDir, m.Batch)); err != nil {
				t.Fatal(err)
			}
			if g, err := Open(testConfig(dir)); !errors.Is(err, ErrDamaged) {
				t.Errorf("error %v, want ErrDamaged", err)
				if err == nil {
					g.Close()
				}
			}
			// The lock was given up: the folder can be repaired and opened.
			f, err := openFolder(dir)
			if err != nil {
				t.Fatal(err)
			}
			f.close()
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"a wrong code":      func(c *Config) { c.Municipality = "131228" },
		"no code":           func(c *Config) { c.Municipality = "" },
		"no clock":          func(c *Config) { c.Now = nil },
		"no randomness":     func(c *Config) { c.Rand = nil },
		"little randomness": func(c *Config) { c.Rand = strings.NewReader("x") },
		"names as harmless": func(c *Config) { c.Harmless = []string{"世帯主氏名"} },
		"a file as folder":  func(c *Config) { c.Dir += "/gateway.go"; os.WriteFile(c.Dir, nil, 0o600) },
		"another's folder": func(c *Config) {
			g, _ := Open(*c)
			g.Take(context.Background(), strings.NewReader(file(rowOf(1))))
			g.Close()
			c.Municipality = "131211"
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := testConfig(t.TempDir())
			spoil(&c)
			if g, err := Open(c); err == nil {
				g.Close()
				t.Error("no error")
			}
		})
	}
	t.Run("a folder in use", func(t *testing.T) {
		dir := t.TempDir()
		g := openGateway(t, dir)
		if _, err := Open(testConfig(dir)); !errors.Is(err, ledger.ErrLocked) {
			t.Errorf("error %v, want ErrLocked", err)
		}
		g.Close()
		openGateway(t, dir)
	})
	t.Run("a batch that it does not have", func(t *testing.T) {
		g := openGateway(t, t.TempDir())
		_, err1 := g.Manifest("131229-20151005-0001")
		_, err2 := g.BatchKey("../file.key")
		if !errors.Is(err1, ErrNoBatch) || !errors.Is(err2, ErrNoBatch) {
			t.Errorf("errors %v and %v, want ErrNoBatch", err1, err2)
		}
	})
}

func TestTakeTogether(t *testing.T) {
	g := openGateway(t, t.TempDir())
	g.config.Rand = &locked{r: g.config.Rand}
	results := make(chan Manifest, 20)
	for i := range cap(results) {
		go func() {
			m, err := g.Take(context.Background(), strings.NewReader(file(rowOf(i%10))))
			if err != nil {
				t.Error(err)
			}
			results <- m
		}()
	}
	known := 0
	for range cap(results) {
		if m := <-results; m.Known {
			known++
		}
	}
	if known != 10 || len(g.Batches()) != 10 {
		t.Errorf("%d were known, batches %v", known, g.Batches())
	}
}

// TestReportOfABatch sends what a manifest gives through a reporter, so that
// the ledger's own checks see it.
func TestReportOfABatch(t *testing.T) {
	g := openGateway(t, t.TempDir())
	log := newMemory()
	reporter := log.reporter(t, "municipality:131229")

	t.Run("is admitted, and once", func(t *testing.T) {
		m := take(t, g, file(rowOf(1), rowOf(2)))
		for want := range 2 {
			receipt, err := reporter.Report(t.Context(), m.Report())
			if err != nil || receipt.Seq != 1 || receipt.Duplicate != (want > 0) {
				t.Fatalf("receipt %+v, %v", receipt, err)
			}
		}
		c := log.content(t, 1)
		if c.Root != m.Root || c.Document.Kind != "file" || c.Document.Digest == [32]byte{} || len(c.Towns) != 1 {
			t.Errorf("body %+v", c)
		}
	})
	t.Run("leaves out the items of towns that are too scattered", func(t *testing.T) {
		scattered := Manifest{Batch: "131229-20151005-0009", Count: 160_000, Root: ledger.Root{1}, Digest: strings.Repeat("ab", 32)}
		odd, even := Town{Name: "白鳥一丁目", Count: 80_000}, Town{Name: "白鳥二丁目", Count: 80_000}
		for n := uint32(1); n < scattered.Count; n += 2 {
			odd.Items = append(odd.Items, ledger.Range{First: n, Last: n})
			even.Items = append(even.Items, ledger.Range{First: n + 1, Last: n + 1})
		}
		scattered.Towns = []Town{odd, even}
		receipt, err := reporter.Report(t.Context(), scattered.Report())
		if err != nil {
			t.Fatal(err)
		}
		want := []ledger.Town{{Name: "白鳥一丁目", Count: 80_000}, {Name: "白鳥二丁目", Count: 80_000}}
		if got := log.content(t, receipt.Seq).Towns; !reflect.DeepEqual(got, want) {
			t.Errorf("towns %v, want %v", got, want)
		}
		if scattered.Towns[0].Items == nil {
			t.Error("the manifest was changed")
		}
	})
	t.Run("says nothing that stands in the file", func(t *testing.T) {
		for _, r := range log.records {
			for _, secret := range []string{"世帯0001", "水元荘", "白鳥2-1", "00000001"} {
				if bytes.Contains(r.Body, []byte(secret)) || strings.Contains(r.Subject, secret) {
					t.Errorf("%q is in the ledger", secret)
				}
			}
		}
	})
}

func TestDecodeManifestRefuses(t *testing.T) {
	good, err := os.ReadFile("testdata/cp932-crlf.json")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decodeManifest(good); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string][2]string{
		"another format":   {"todoke/manifest/v1", "todoke/manifest/v2"},
		"an unknown field": {`"format"`, `"form": 1, "format"`},
		"no batch":         {"131229-20151005-0001", ""},
		"no root":          {`"root": "`, `"root": "", "x": "`},
		"a short digest":   {`"digest": "`, `"digest": "", "x": "`},
		"another count":    {`"count": 26`, `"count": 27`},
		"a town's count":   {`"count": 12`, `"count": 11`},
		"a town's items":   {`"items": "1-12"`, `"items": "12-1"`},
		"half of it":       {"}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			bad := strings.Replace(string(good), c[0], c[1], 1)
			if bad == string(good) {
				t.Fatal("nothing was changed")
			}
			if m, err := decodeManifest([]byte(bad)); err == nil {
				t.Errorf("accepted as %+v", m)
			}
		})
	}
}

// TestBatchesAreSorted guards the order that callers report in.
func TestBatchesAreSorted(t *testing.T) {
	g := openGateway(t, t.TempDir())
	for n := range 12 {
		take(t, g, file(rowOf(n)))
	}
	if list := g.Batches(); !slices.IsSorted(list) || len(list) != 12 {
		t.Errorf("batches %v", list)
	}
}
