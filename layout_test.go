// Package todoke_test holds the rules of the house as tests: what may import
// what, what the pure core may not do, and what has to be documented. They read
// the source without type checking, and a rule that is broken says where and
// what to do instead. TestRulesCanFail breaks each of them on purpose.
package todoke_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"todoke/ledger"
)

// topLevel is all that stands at the top of the repository.
var topLevel = []string{
	".ci", ".gitignore", "CHANGELOG.md", "LICENSE", "Makefile", "NOTICE", "README.md",
	"cmd", "consumers", "docs", "go.mod", "go.sum", "layout_test.go", "ledger",
	"producers", "projections", "testenv",
}

// A room says which of our own packages the packages in it may import; * stands
// for one path element.
type room struct {
	packages string
	mayUse   []string
}

// rooms is the plan of the house: imports point down only, and testenv never
// ships. The first room whose pattern matches counts.
var rooms = []room{
	{"ledger", nil},
	{"ledger/*", []string{"ledger"}},
	{"projections", []string{"ledger", "ledger/rule"}},
	{"producers", []string{"ledger"}},
	{"producers/intake", []string{"ledger", "producers"}},
	{"consumers/console", []string{"ledger", "ledger/rule", "ledger/seal", "projections"}},
	{"consumers/*", []string{"ledger", "ledger/rule", "ledger/seal"}},
	{"cmd/todoke", []string{"ledger", "ledger/*", "projections", "producers", "producers/*", "consumers/*", "cmd/todoke/*"}},
	{"cmd/todoke/*", []string{"ledger", "ledger/*", "projections", "producers", "producers/*", "consumers/*"}},
	{"testenv", []string{"ledger", "ledger/*"}},
	{"testenv/*", []string{"ledger", "ledger/*", "projections", "producers", "producers/*", "consumers/*", "testenv", "testenv/*"}},
}

// Packages by what they may know or do.
var (
	knowNATS  = []string{"ledger/stream", "ledger/gate", "producers", "testenv", "testenv/*", "cmd/todoke", "cmd/todoke/*"}
	knowNkeys = append([]string{"ledger"}, knowNATS...)
	mayLog    = []string{"producers", "producers/*", "consumers/*", "cmd/todoke", "cmd/todoke/*", "testenv", "ledger/stream"} // the last for the broker's own lines, a standby and missing servers
	mayPrint  = []string{"cmd/todoke", "cmd/todoke/*"}
	arePure   = []string{"ledger", "ledger/rule", "ledger/seal"}
)

// mayPanic are the functions in which a broken promise of our own, never bad
// input, ends in a panic.
var mayPanic = []string{
	"ledger.CollectItems", // a caller that made up an item number
	"ledger/rule.builtIn", // the holidays and packs of this very program
	"ledger/rule.embedded",
}

// forbiddenNames are package names that say nothing.
var forbiddenNames = []string{"base", "common", "helper", "helpers", "internal", "lib", "misc", "models", "pkg", "shared", "types", "util", "utils"}

// A file is one Go file of the repository.
type file struct {
	path, pkg string // from the top of the repository, with slashes
	fset      *token.FileSet
	*ast.File
}

// A breach is a place where a rule is broken, and the remedy.
type breach string

func (f *file) breach(p token.Pos, format string, args ...any) breach {
	return breach(fmt.Sprintf("%s:%d: ", f.path, f.fset.Position(p).Line) + fmt.Sprintf(format, args...))
}

// A fileRule is judged on each Go file that is not a test.
type fileRule struct {
	name  string
	judge func(*file) []breach
}

var fileRules = []fileRule{
	{"imports point down", judgeImports},
	{"only the outer rooms know NATS", judgeBroker},
	{"only the outer rooms log", judgeLoggers},
	{"the core is pure", judgePurity},
	{"panics are listed", judgePanics},
	{"only commands print", judgePrinting},
	{"no broker message id is set", judgeMessageID},
	{"packages are named for what they hold", judgeNames},
	{"exported names are documented", judgeDocs},
}

func TestHouseRules(t *testing.T) {
	files := readFiles(t)
	for _, rule := range fileRules {
		t.Run(rule.name, func(t *testing.T) {
			for _, f := range files {
				for _, b := range rule.judge(f) {
					t.Error(b)
				}
			}
		})
	}
}

func judgeImports(f *file) (found []breach) {
	i := slices.IndexFunc(rooms, func(r room) bool { return matches(r.packages, f.pkg) })
	if i < 0 {
		return []breach{f.breach(f.Package, "package %s has no room: move the code to one that has, or give it one in rooms", f.pkg)}
	}
	for _, spec := range f.Imports {
		ours, ok := strings.CutPrefix(importPath(spec), "todoke/")
		if ok && !in(rooms[i].mayUse, ours) {
			found = append(found, f.breach(spec.Pos(), "%s may not import %s: declare the interface that it needs and let cmd wire the two", f.pkg, ours))
		}
	}
	return found
}

func judgeBroker(f *file) (found []breach) {
	for _, spec := range f.Imports {
		p := importPath(spec)
		allowed := knowNATS
		if p == "github.com/nats-io/nkeys" {
			allowed = knowNkeys
		}
		if strings.HasPrefix(p, "github.com/nats-io/") && !in(allowed, f.pkg) {
			found = append(found, f.breach(spec.Pos(), "%s may not know NATS: take a ledger.Log or ledger.Signer", f.pkg))
		}
	}
	return found
}

func judgeLoggers(f *file) (found []breach) {
	if in(mayLog, f.pkg) {
		return nil
	}
	for _, spec := range f.Imports {
		switch importPath(spec) {
		case "log", "log/slog", "github.com/rs/zerolog", "github.com/rs/zerolog/log":
			found = append(found, f.breach(spec.Pos(), "%s may not log: return the error, and the caller logs it once", f.pkg))
		}
	}
	return found
}

func judgePurity(f *file) (found []breach) {
	if !in(arePure, f.pkg) {
		return nil
	}
	for _, spec := range f.Imports {
		switch p := importPath(spec); p {
		case "os", "os/exec", "net", "net/http", "syscall", "math/rand", "math/rand/v2", "crypto/rand":
			found = append(found, f.breach(spec.Pos(), "%s is pure and may not import %s: take the bytes or the io.Reader as an argument", f.pkg, p))
		}
	}
	ast.Inspect(f.File, func(n ast.Node) bool {
		if s, ok := n.(*ast.GoStmt); ok {
			found = append(found, f.breach(s.Pos(), "%s is pure and may not start a goroutine: the caller does", f.pkg))
		}
		switch name := f.qualified(n); name {
		case "time.Now", "time.Since", "time.Until", "time.Sleep", "time.After", "time.AfterFunc", "time.Tick", "time.NewTimer", "time.NewTicker":
			found = append(found, f.breach(n.Pos(), "%s is pure and may not use %s: take the time as an argument", f.pkg, name))
		}
		return true
	})
	return found
}

func judgePanics(f *file) (found []breach) {
	for _, d := range f.Decls {
		name := f.pkg + "." + declaredName(d)
		ast.Inspect(d, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if fun, ok := call.Fun.(*ast.Ident); ok && fun.Name == "panic" && !slices.Contains(mayPanic, name) {
				found = append(found, f.breach(n.Pos(), "%s may not panic: return an error for bad input; for a broken promise of our own, list it in mayPanic", name))
			}
			return true
		})
	}
	return found
}

func judgePrinting(f *file) (found []breach) {
	if in(mayPrint, f.pkg) {
		return nil
	}
	ast.Inspect(f.File, func(n ast.Node) bool {
		switch name := f.qualified(n); name {
		case "fmt.Print", "fmt.Printf", "fmt.Println", "os.Stdout", "os.Stderr", "os.Exit":
			found = append(found, f.breach(n.Pos(), "%s is for cmd: return a value, or write to an io.Writer of the Config", name))
		}
		return true
	})
	return found
}

// judgeMessageID keeps the broker's duplicate window out of the house: it
// forgets after two minutes, and idempotency rests on the event id.
func judgeMessageID(f *file) (found []breach) {
	const remedy = "the broker's message id is never set: the event id and the fence make appends idempotent"
	ast.Inspect(f.File, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && strings.Contains(lit.Value, "Nats-Msg-"+"Id") {
			found = append(found, f.breach(n.Pos(), remedy))
		}
		if sel, ok := n.(*ast.SelectorExpr); ok && slices.Contains([]string{"WithMsgID", "MsgIDHeader", "MsgId", "MsgIdHdr", "JSMsgId"}, sel.Sel.Name) {
			found = append(found, f.breach(n.Pos(), remedy))
		}
		return true
	})
	return found
}

func judgeNames(f *file) (found []breach) {
	for _, name := range append(strings.Split(f.pkg, "/"), f.Name.Name) {
		if slices.Contains(forbiddenNames, name) {
			found = append(found, f.breach(f.Package, "%q says nothing: name the package for what it holds", name))
		}
	}
	return found
}

func judgeDocs(f *file) (found []breach) {
	if f.Name.Name == "main" {
		return nil
	}
	need := func(name *ast.Ident, docs ...*ast.CommentGroup) {
		if name.IsExported() && !slices.ContainsFunc(docs, func(d *ast.CommentGroup) bool { return d != nil }) {
			found = append(found, f.breach(name.Pos(), "%s has no comment: say what it is or does, in which unit, and which errors when", name.Name))
		}
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil || ast.IsExported(receiverName(d)) {
				need(d.Name, d.Doc)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					need(s.Name, s.Doc, d.Doc)
				case *ast.ValueSpec:
					for _, name := range s.Names {
						need(name, s.Doc, s.Comment, d.Doc)
					}
				}
			}
		}
	}
	return found
}

func TestEveryPackageHasAComment(t *testing.T) {
	documented := map[string]bool{}
	for _, f := range readFiles(t) {
		documented[f.pkg] = documented[f.pkg] || f.Doc != nil
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("package %s has no comment: begin its doc.go with the specification of what it holds", pkg)
		}
	}
}

func TestTopLevelIsFixed(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, e := range entries {
		if e.Name() != ".git" && !ignored(t, e.Name()) {
			have = append(have, e.Name())
		}
	}
	for _, name := range have {
		if !slices.Contains(topLevel, name) {
			t.Errorf("%s may not stand at the top: find its room, or put it into docs", name)
		}
	}
	for _, name := range topLevel {
		if !slices.Contains(have, name) {
			t.Errorf("%s is missing from the top of the repository", name)
		}
	}
}

// foreign finds what means something on one machine only: absolute paths of
// homes and work folders, folders beside the repository, registry hosts.
var foreign = regexp.MustCompile(`(^|[^\w.-])/(work|root|home)/|\.\./shared/|(registry|proxy|deb)\.[a-z]+\.org`)

func TestFilesNameNoMachineAndNoPerson(t *testing.T) {
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == ".git" || name != "." && ignored(t, name):
			return skip(d)
		case d.IsDir() || name == "go.sum": // of which nobody writes a digit
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for i, line := range strings.Split(string(text), "\n") {
			if foreign.MatchString(line) {
				t.Errorf("%s:%d: names a place that only one machine has: say it relative to the repository", name, i+1)
			}
			if ledger.FindMyNumber(line) >= 0 {
				t.Errorf("%s:%d: holds what looks like a personal number: compute it at run time", name, i+1)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDependenciesPage holds docs/dependencies.md against go.mod.
func TestDependenciesPage(t *testing.T) {
	page := readText(t, "docs/dependencies.md")
	documented := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (\\S+) \\|").FindAllStringSubmatch(page, -1) {
		documented[row[1]+" "+row[2]] = true
	}
	module := readText(t, "go.mod")
	for _, line := range strings.Split(module, "\n") {
		need, indirect := strings.CutSuffix(strings.TrimPrefix(strings.TrimSpace(line), "require "), " // indirect")
		if regexp.MustCompile(`^\S+\.\S+/\S+ v\S+$`).MatchString(need) && !indirect && !documented[need] {
			t.Errorf("docs/dependencies.md does not name %s: say its licence, age and reason", need)
		}
	}
	tools := readText(t, "Makefile")
	for row := range documented {
		name, version, _ := strings.Cut(row, " ")
		if !strings.Contains(module, row) && !regexp.MustCompile(regexp.QuoteMeta(name)+`\S*@`+regexp.QuoteMeta(version)).MatchString(tools) {
			t.Errorf("docs/dependencies.md names %s, which neither go.mod nor the Makefile uses: delete the row or mend its version", row)
		}
	}
}

func TestRulesCanFail(t *testing.T) {
	for _, c := range []struct {
		rule, path, source string
	}{
		{"imports point down", "ledger/rule/a.go", `package rule; import _ "todoke/projections"`},
		{"imports point down", "ledger/a.go", `package ledger; import _ "todoke/ledger/rule"`},
		{"imports point down", "consumers/archive/a.go", `package archive; import _ "todoke/consumers/watchdog"`},
		{"imports point down", "cmd/todoke/a.go", `package main; import _ "todoke/testenv"`},
		{"imports point down", "attic/a.go", `package attic`},
		{"only the outer rooms know NATS", "projections/a.go", `package projections; import _ "github.com/nats-io/nats.go/jetstream"`},
		{"only the outer rooms know NATS", "consumers/watchdog/a.go", `package watchdog; import _ "github.com/nats-io/nkeys"`},
		{"only the outer rooms log", "projections/a.go", `package projections; import _ "github.com/rs/zerolog"`},
		{"the core is pure", "ledger/a.go", `package ledger; import clock "time"; var t = clock.Now()`},
		{"the core is pure", "ledger/rule/a.go", `package rule; func f() { go f() }`},
		{"the core is pure", "ledger/seal/a.go", `package seal; import _ "crypto/rand"`},
		{"panics are listed", "ledger/a.go", `package ledger; func (x *T) f() { panic(1) }`},
		{"only commands print", "producers/a.go", `package producers; import "fmt"; func f() { fmt.Println() }`},
		{"no broker message id is set", "ledger/stream/a.go", `package stream; var h = "Nats-Msg-` + `Id"`},
		{"no broker message id is set", "ledger/stream/a.go", `package stream; var o = jetstream.WithMsgID("1")`},
		{"packages are named for what they hold", "ledger/util/a.go", `package util`},
		{"exported names are documented", "ledger/a.go", `package ledger; func (t T) Exported() {}; type T int`},
	} {
		t.Run(c.rule+" in "+c.path, func(t *testing.T) {
			i := slices.IndexFunc(fileRules, func(r fileRule) bool { return r.name == c.rule })
			if len(fileRules[i].judge(parse(t, c.path, c.source))) == 0 {
				t.Errorf("no breach in: %s", c.source)
			}
		})
	}
}

// readFiles parses every Go file of the repository that is not a test.
func readFiles(t *testing.T) (files []*file) {
	t.Helper()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch base := d.Name(); {
		case err != nil:
			return err
		case name != "." && (strings.HasPrefix(base, ".") || base == "testdata"):
			return skip(d)
		case strings.HasSuffix(base, ".go") && !strings.HasSuffix(base, "_test.go"):
			files = append(files, parse(t, name, readText(t, name)))
		}
		return nil
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("read the source: %d files, %v", len(files), err)
	}
	return files
}

func parse(t *testing.T, name, source string) *file {
	t.Helper()
	name = filepath.ToSlash(name)
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return &file{path: name, pkg: path.Dir(name), fset: fset, File: f}
}

// qualified returns path.Name when n is a name of an imported package, whatever
// the file calls that package.
func (f *file) qualified(n ast.Node) string {
	sel, ok := n.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	x, ok := sel.X.(*ast.Ident)
	if !ok {
		return ""
	}
	for _, spec := range f.Imports {
		p := importPath(spec)
		if spec.Name == nil && path.Base(p) == x.Name || spec.Name != nil && spec.Name.Name == x.Name {
			return p + "." + sel.Sel.Name
		}
	}
	return ""
}

func importPath(spec *ast.ImportSpec) string {
	p, _ := strconv.Unquote(spec.Path.Value)
	return p
}

// declaredName returns the name of a function, Type.Name of a method, the first
// name of variables.
func declaredName(d ast.Decl) string {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if r := receiverName(d); r != "" {
			return r + "." + d.Name.Name
		}
		return d.Name.Name
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			if v, ok := spec.(*ast.ValueSpec); ok {
				return v.Names[0].Name
			}
		}
	}
	return ""
}

// receiverName returns the type that fn is a method of, "" when it is none.
func receiverName(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return ""
	}
	x := fn.Recv.List[0].Type
	for {
		switch e := x.(type) {
		case *ast.StarExpr:
			x = e.X
		case *ast.IndexExpr:
			x = e.X
		case *ast.IndexListExpr:
			x = e.X
		case *ast.Ident:
			return e.Name
		default:
			return ""
		}
	}
}

// in reports whether one of the patterns matches the package.
func in(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, pkg) })
}

func matches(pattern, pkg string) bool {
	ok, err := path.Match(pattern, pkg)
	return ok && err == nil
}

// ignored reports whether .gitignore names what stands at name.
func ignored(t *testing.T, name string) bool {
	for _, pattern := range strings.Split(readText(t, ".gitignore"), "\n") {
		rooted := strings.HasPrefix(pattern, "/")
		pattern = strings.Trim(pattern, "/")
		if matches(pattern, name) || !rooted && (matches(pattern, path.Base(name)) || strings.HasSuffix(name, "/"+pattern)) {
			return true
		}
	}
	return false
}

func skip(d fs.DirEntry) error {
	if d.IsDir() {
		return filepath.SkipDir
	}
	return nil
}

func readText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
