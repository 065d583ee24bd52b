package main

import (
	"cmp"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"todoke/cmd/todoke/story"
	"todoke/ledger"
	"todoke/producers/intake"
	"todoke/projections"
)

// top is the top of the repository.
const top = "../.."

// documents are the files from which a reader may copy commands.
func documents(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob(top + "/docs/*.md")
	if err != nil || len(names) == 0 {
		t.Fatalf("find documents: %v", err)
	}
	return append(names, top+"/README.md")
}

// A block is a fenced block of a document.
type block struct {
	doc   string
	info  string // what stands behind the fence
	line  int    // of its first line
	lines []string
}

func (b *block) text() string { return strings.Join(b.lines, "\n") + "\n" }

// blocks returns the fenced blocks of a document.
func blocks(t *testing.T, doc string) []block {
	t.Helper()
	var found []block
	inside := false
	for i, line := range strings.Split(readText(t, doc), "\n") {
		info, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && !inside:
			found = append(found, block{doc: filepath.Base(doc), info: info, line: i + 2})
			inside = true
		case fence:
			inside = false
		case inside:
			b := &found[len(found)-1]
			b.lines = append(b.lines, line)
		}
	}
	return found
}

func readText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDocumentedCommands does what a reader would: it writes the files that a
// document shows (csv NAME, yaml NAME) and runs its commands ($ todoke …, in
// console blocks) in their order in one folder, those with & until the end. The
// exit status is 0 or what "# exit N" says; what is shown of the output must be
// what the command writes, but for times, hashes, and lines left out with "…".
func TestDocumentedCommands(t *testing.T) {
	for _, doc := range documents(t) {
		t.Run(filepath.Base(doc), func(t *testing.T) {
			t.Parallel()
			r := reader{dir: t.TempDir(), today: time.Now().In(ledger.JST)}
			for _, b := range blocks(t, doc) {
				switch kind, name, _ := strings.Cut(b.info, " "); kind {
				case "csv", "yaml":
					if err := os.WriteFile(filepath.Join(r.dir, name), []byte(b.text()), 0o600); err != nil {
						t.Fatal(err)
					}
				case "console":
					for _, c := range b.commands() {
						r.run(t, c)
					}
				}
			}
		})
	}
}

// A documented is a command as a document shows it.
type documented struct {
	at         string // docs/commands.md:12
	args       []string
	background bool
	status     string
	output     []string // what is shown of it
}

// prompt is a line that a reader would type: the arguments, & and the status.
var prompt = regexp.MustCompile(`^\$ todoke(.*?)( &)?(?: +# exit (\d))?$`)

// commands returns the commands of a console block. Others than todoke are for
// the reader alone.
func (b *block) commands() []documented {
	var found []documented
	ours := false
	for i, line := range b.lines {
		m := prompt.FindStringSubmatch(line)
		switch {
		case m != nil:
			found = append(found, documented{at: fmt.Sprintf("%s:%d", b.doc, b.line+i), args: strings.Fields(m[1]), background: m[2] != "", status: cmp.Or(m[3], "0")})
			ours = true
		case strings.HasPrefix(line, "$ "):
			ours = false
		case ours:
			c := &found[len(found)-1]
			c.output = append(c.output, line)
		}
	}
	return found
}

// A reader is somebody who does what a document says.
type reader struct {
	dir   string
	today time.Time
}

// written is the day on which the documents were written, as it stands in the
// names of batches.
const written = "20261122"

func (r *reader) run(t *testing.T, c documented) {
	t.Helper()
	for i, arg := range c.args {
		c.args[i] = strings.ReplaceAll(arg, written, r.today.Format("20060102"))
	}
	cmd := todoke(r.dir, c.args...)
	if c.background {
		p, err := launch(cmd, serves)
		if err != nil {
			t.Fatalf("%s: %v", c.at, err)
		}
		t.Cleanup(func() { p.stop() })
		return
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", c.at, err)
	}
	if status := fmt.Sprint(cmd.ProcessState.ExitCode()); status != c.status {
		t.Fatalf("%s: todoke %s: exit status %s, the document says %s\n%s", c.at, strings.Join(c.args, " "), status, c.status, out)
	}
	if got := strings.TrimRight(string(out), "\n"); !r.shown(c.output, strings.Split(got, "\n")) {
		t.Errorf("%s: todoke %s: writes\n%s\n\nthe document shows\n%s", c.at, strings.Join(c.args, " "), got, strings.Join(c.output, "\n"))
	}
}

// shown reports whether a document shows what a command writes. It may show
// nothing.
func (r *reader) shown(document, output []string) bool {
	if len(document) == 0 {
		return true
	}
	skip := false
	for _, want := range document {
		if want == "…" {
			skip = true
			continue
		}
		i := slices.IndexFunc(output, func(got string) bool { return r.timeless(got) == r.timeless(want) })
		if i < 0 || i > 0 && !skip {
			return false
		}
		output, skip = output[i+1:], false
	}
	return skip || len(output) == 0
}

// What is another one in every run: the time, unless it is one of the story's,
// and hashes.
var (
	clock = regexp.MustCompile(`20(1[6-9]|[2-9]\d)-\d\d-\d\d \d\d:\d\d:\d\d JST`)
	hash  = regexp.MustCompile(`[0-9a-f]{64}|[0-9a-f]{32}`)
)

// timeless returns a line as it is in every run.
func (r *reader) timeless(line string) string {
	line = strings.ReplaceAll(line, r.dir+"/", "")
	line = strings.ReplaceAll(line, r.today.Format("20060102"), written)
	return strings.TrimRight(hash.ReplaceAllString(clock.ReplaceAllString(line, "<time>"), "<hash>"), " ")
}

// TestEveryCommandIsDocumented wants docs/commands.md to have a section for
// every command, with every flag and with an example that
// TestDocumentedCommands runs.
func TestEveryCommandIsDocumented(t *testing.T) {
	parser, err := kong.New(new(commands), kong.Name("todoke"))
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for section := range strings.SplitSeq(readText(t, top+"/docs/commands.md"), "\n## ") {
		name, text, _ := strings.Cut(section, "\n")
		sections[name] = text
	}
	examples := map[string]bool{}
	for _, b := range blocks(t, top+"/docs/commands.md") {
		for _, c := range b.commands() {
			examples["todoke "+strings.Join(c.args, " ")] = true
		}
	}
	global := sections["Everywhere"]
	for _, flag := range parser.Model.Flags {
		if !strings.Contains(global, "`--"+flag.Name) {
			t.Errorf("docs/commands.md: section Everywhere does not name --%s", flag.Name)
		}
	}
	for _, leaf := range parser.Model.Leaves(true) {
		name := strings.TrimPrefix(leaf.FullPath(), "todoke ")
		for _, flag := range leaf.Flags {
			if !strings.Contains(sections[name], "`--"+flag.Name) {
				t.Errorf("docs/commands.md: section %q does not name --%s", name, flag.Name)
			}
		}
		example := regexp.MustCompile(`^todoke (--\S+ \S+ )*` + name + `( |$)`)
		if !slices.ContainsFunc(slices.Collect(maps.Keys(examples)), example.MatchString) {
			t.Errorf("docs/commands.md shows no example of todoke %s", name)
		}
	}
}

// TestEveryCodeIsDocumented wants the documents to explain every code that a
// program may meet in the output, and no others.
func TestEveryCodeIsDocumented(t *testing.T) {
	anomalies := readSchemas(t)["batch"]["properties"].(map[string]any)["anomalies"]
	listed, err := json.Marshal(anomalies)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		source, code      string // a Go file, and how it defines a code
		document, section string
	}{
		{"producers/intake/refusal.go", "Fault", "docs/intake.md", "## Faults\n"},
		{"ledger/judge.go", "AnomalyCode", "docs/commands.md", "An ANOMALY is"},
	} {
		var defined, explained []string
		for _, m := range regexp.MustCompile(`\w+ +`+c.code+` += "([^"]+)"`).FindAllStringSubmatch(readText(t, top+"/"+c.source), -1) {
			defined = append(defined, m[1])
			if c.code == "AnomalyCode" && !strings.Contains(string(listed), `"`+m[1]+`"`) {
				t.Errorf("docs/json.md does not list the anomaly %s", m[1])
			}
		}
		_, table, _ := strings.Cut(readText(t, top+"/"+c.document), c.section)
		table, _, _ = strings.Cut(table, "\n## ")
		for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)`").FindAllStringSubmatch(table, -1) {
			explained = append(explained, m[1])
		}
		slices.Sort(defined)
		slices.Sort(explained)
		if len(defined) == 0 || !slices.Equal(defined, explained) {
			t.Errorf("%s defines\n%v\n%s explains\n%v", c.source, defined, c.document, explained)
		}
	}
}

// TestExampleOfTheReadme keeps the code of README.md that of an example that
// runs.
func TestExampleOfTheReadme(t *testing.T) {
	example := readText(t, top+"/producers/example_test.go")
	found := 0
	for _, b := range blocks(t, top+"/README.md") {
		if b.info == "go" {
			found++
			if indented := "\t" + strings.Join(b.lines, "\n\t"); !strings.Contains(example, strings.ReplaceAll(indented, "\n\t\n", "\n\n")) {
				t.Errorf("README.md:%d: the code is not that of producers/example_test.go; copy it anew", b.line)
			}
		}
	}
	if found == 0 {
		t.Error("README.md has no code in Go")
	}
}

// outputs are what commands print with --json, by the name of their schema.
func outputs() map[string]reflect.Type {
	return map[string]reflect.Type{
		"batches": reflect.TypeFor[projections.BatchRow](), "batch": reflect.TypeFor[projections.BatchDetail](),
		"missing": reflect.TypeFor[missingRow](), "alerts": reflect.TypeFor[projections.AlertRow](),
		"replay": reflect.TypeFor[projections.EventRow](), "intake": reflect.TypeFor[intakeRow](),
		"intake kept": reflect.TypeFor[keptRow](), "intake watch": reflect.TypeFor[watchRow](), "file report": reflect.TypeFor[intake.FileReport](),
		"report": reflect.TypeFor[ledger.Receipt](), "rules show": reflect.TypeFor[rulesRow](),
		"demo": reflect.TypeFor[story.Result](),
	}
}

// TestJSONIsAsDocumented runs the scripts of testdata/json, which hold every
// line that the commands print against its schema in docs/json.md.
func TestJSONIsAsDocumented(t *testing.T) {
	schemas := compile(t, readSchemas(t))
	var used sync.Map
	t.Run("scripts", func(t *testing.T) {
		p := scripts(t, "testdata/json")
		p.Cmds["conforms"] = func(ts *testscript.TestScript, neg bool, args []string) {
			name := strings.Join(args, " ")
			if neg || schemas[name] == nil {
				ts.Fatalf("usage: conforms schema")
			}
			used.Store(name, true)
			ts.Check(conforms(schemas[name], ts.ReadFile("stdout")))
		}
		testscript.Run(t, p)
	})
	for name := range outputs() {
		if _, ok := used.Load(name); !ok {
			t.Errorf("no script holds the output of %s against its schema", name)
		}
	}
}

// conforms holds lines of JSON, of which there must be some, against a schema.
func conforms(schema *jsonschema.Schema, output string) error {
	if output == "" {
		return errors.New("there is no output")
	}
	for line := range strings.Lines(output) {
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
		if err == nil {
			err = schema.Validate(value)
		}
		if err != nil {
			return fmt.Errorf("%s%w", line, err)
		}
	}
	return nil
}

// TestSchemasNameEveryField holds the schemas against the structs that are
// printed: the same names, and required unless they may be left out.
func TestSchemasNameEveryField(t *testing.T) {
	schemas := readSchemas(t)
	for name, printed := range outputs() {
		s := structure{t, schemas}
		s.compare(name, schemas[name], printed)
	}
}

// A structure compares schemas with structs.
type structure struct {
	t       *testing.T
	schemas map[string]map[string]any
}

func (s *structure) compare(path string, schema map[string]any, printed reflect.Type) {
	if name, ok := schema["$ref"].(string); ok {
		schema = s.schemas[name]
	}
	for printed.Kind() == reflect.Pointer {
		printed = printed.Elem()
	}
	switch {
	case printed.Implements(reflect.TypeFor[encoding.TextMarshaler]()), printed.Implements(reflect.TypeFor[json.Marshaler]()):
		return // it decides itself what is printed
	case printed.Kind() == reflect.Slice:
		items, _ := schema["items"].(map[string]any)
		s.compare(path+"[]", items, printed.Elem())
		return
	case printed.Kind() != reflect.Struct:
		return
	}
	properties, _ := schema["properties"].(map[string]any)
	required, _ := schema["required"].([]any)
	fields := fieldsOf(printed)
	for name, f := range fields {
		property, ok := properties[name].(map[string]any)
		optional := strings.HasSuffix(f.Tag.Get("json"), ",omitempty")
		switch {
		case !ok:
			s.t.Errorf("docs/json.md: %s.%s is printed and not described", path, name)
			continue
		case property["description"] == nil:
			s.t.Errorf("docs/json.md: %s.%s has no description", path, name)
		case slices.Contains(required, any(name)) == optional:
			s.t.Errorf("docs/json.md: %s.%s must be required if and only if it is always printed", path, name)
		}
		s.compare(path+"."+name, property, f.Type)
	}
	for name := range properties {
		if _, ok := fields[name]; !ok {
			s.t.Errorf("docs/json.md: %s.%s is described and not printed", path, name)
		}
	}
}

// fieldsOf returns the fields of a struct by the names that they have in JSON,
// with those of the structs that it embeds.
func fieldsOf(printed reflect.Type) map[string]reflect.StructField {
	fields := map[string]reflect.StructField{}
	for i := range printed.NumField() {
		f := printed.Field(i)
		if f.Anonymous {
			maps.Copy(fields, fieldsOf(f.Type))
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		fields[name] = f
	}
	return fields
}

// readSchemas returns the schemas of docs/json.md by name.
func readSchemas(t *testing.T) map[string]map[string]any {
	t.Helper()
	schemas := map[string]map[string]any{}
	for _, b := range blocks(t, top+"/docs/json.md") {
		if name, ok := strings.CutPrefix(b.info, "json schema "); ok {
			var schema map[string]any
			if err := json.Unmarshal([]byte(b.text()), &schema); err != nil {
				t.Fatalf("%s:%d: %v", b.doc, b.line, err)
			}
			schemas[name] = schema
		}
	}
	return schemas
}

func compile(t *testing.T, schemas map[string]map[string]any) map[string]*jsonschema.Schema {
	t.Helper()
	const base = "todoke:///" // where one schema finds another by its name
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.AssertContent()
	for name, schema := range schemas {
		if err := c.AddResource(base+url.PathEscape(name), any(schema)); err != nil {
			t.Fatal(err)
		}
	}
	compiled := map[string]*jsonschema.Schema{}
	for name := range schemas {
		schema, err := c.Compile(base + url.PathEscape(name))
		if err != nil {
			t.Fatal(err)
		}
		compiled[name] = schema
	}
	return compiled
}
