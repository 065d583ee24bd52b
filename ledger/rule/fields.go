package rule

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// A field is a name in a pack's text, what stands behind it, and where. Behind
// it stands a text or further fields, never both.
type field struct {
	name   string
	path   string // hops.import.claim
	line   int
	text   string
	fields []field
}

// find returns the field of f with this name.
func (f field) find(name string) (field, bool) {
	for _, g := range f.fields {
		if g.name == name {
			return g, true
		}
	}
	return field{}, false
}

// errorf returns a mistake in f.
func (f field) errorf(format string, args ...any) error {
	what := fmt.Errorf(format, args...)
	if f.path == "" {
		return fmt.Errorf("line %d: %w", f.line, what)
	}
	return fmt.Errorf("line %d: %s: %w", f.line, f.path, what)
}

// maxNesting bounds the signs that open a list or a map within a line. The YAML
// library takes time that grows with the square of their depth: 64 KiB of
// nothing but "[" cost it four seconds.
const maxNesting = 1000

// readFields reads the part of YAML that a pack is written in: maps, and plain
// or quoted values. Anchors, aliases, tags, merges, lists and blocks of text
// are refused, and so are two fields of one name.
func readFields(text []byte) (field, error) {
	text = bytes.TrimPrefix(text, byteOrderMark)
	switch {
	case len(text) > MaxText:
		return field{}, fmt.Errorf("the text has more than %d bytes", MaxText)
	case !utf8.Valid(text):
		return field{}, errors.New("the text is not UTF-8")
	case bytes.Count(text, []byte("["))+bytes.Count(text, []byte("{"))+bytes.Count(text, []byte("- "))+bytes.Count(text, []byte("-\n")) > maxNesting:
		return field{}, errors.New("the text has too many lists and maps within lines")
	}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return field{}, syntaxError(err)
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return field{}, fmt.Errorf("want one YAML document, have %d", len(file.Docs))
	}
	top := field{line: 1}
	return top, top.read(file.Docs[0].Body)
}

// syntaxError says in one line what the YAML library says with an excerpt.
func syntaxError(err error) error {
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil {
		return fmt.Errorf("line %d: %s", at.GetToken().Position.Line, at.GetMessage())
	}
	return err
}

// fieldName is what every field of a pack is called: words, stages, roles,
// parties and dates.
var fieldName = regexp.MustCompile(`^[a-z0-9:_-]{1,97}$`)

// read puts what stands at n behind f. Values are taken as they are written:
// 2 and "2" are the same.
func (f *field) read(n ast.Node) error {
	switch n := n.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			if err := f.readField(v); err != nil {
				return err
			}
		}
		if len(n.Values) == 0 {
			return f.errorf("nothing stands below it")
		}
	case *ast.StringNode:
		f.text = n.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		f.text = n.GetToken().Value
	case *ast.NullNode:
		return f.errorf("has no value")
	default:
		return f.errorf("is a YAML %s, which a pack does not use", strings.ToLower(n.Type().String()))
	}
	return nil
}

func (f *field) readField(v *ast.MappingValueNode) error {
	key, ok := v.Key.(*ast.StringNode)
	line := v.Key.GetToken().Position.Line
	if !ok || !fieldName.MatchString(key.Value) {
		return field{path: f.path, line: line}.errorf("%.40q is not the name of a field", v.Key.GetToken().Value)
	}
	g := field{name: key.Value, path: key.Value, line: line}
	if f.path != "" {
		g.path = f.path + "." + g.name
	}
	if err := g.read(v.Value); err != nil {
		return err
	}
	f.fields = append(f.fields, g)
	return nil
}
