// Package yamljson turns YAML into JSON, for messages that are read from files.
//
// It writes JSON while it walks the parsed document, without a tree of Go values between: a bootstrap of a thousand services has
// hundreds of thousands of nodes. It knows nothing of what the JSON is for. xdsresource imports it.
//
// Words are read as YAML 1.1 does, which files for Envoy are written in: yes, no, on and off are booleans where nothing quotes them.
package yamljson

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Aliases may repeat so much of a document: a few lines of them can stand for more than fits any memory.
const (
	maxRepeated      = 1 << 20  // nodes
	maxRepeatedBytes = 64 << 20 // of JSON
)

// Convert returns the first document of a text as JSON; an empty text is null. JSON is YAML, so it may be given as well. Errors name
// the line. A key that stands twice in a mapping is an error; merge keys (<<) add what is not there.
func Convert(text []byte) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	if doc.Kind == 0 {
		return []byte("null"), nil
	}
	w := writer{out: make([]byte, 0, len(text))}
	err := w.node(&doc)
	return w.out, err
}

type writer struct {
	out      []byte
	open     []*yaml.Node // aliased nodes that are being written
	repeated int          // nodes written for aliases
	began    int          // where the outermost alias began in out
	spent    int          // bytes written for aliases before that
}

func bad(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("yaml: line %d: %s", n.Line, fmt.Sprintf(format, args...))
}

func (w *writer) node(n *yaml.Node) error {
	if len(w.open) > 0 {
		if w.repeated++; w.repeated > maxRepeated || w.spent+len(w.out)-w.began > maxRepeatedBytes {
			return bad(n, "aliases repeat too much of the document")
		}
	}
	switch n.Kind {
	case yaml.DocumentNode:
		return w.node(n.Content[0])
	case yaml.AliasNode:
		return w.alias(n)
	case yaml.MappingNode:
		return w.mapping(n)
	case yaml.SequenceNode:
		w.out = append(w.out, '[')
		for i, e := range n.Content {
			if i > 0 {
				w.out = append(w.out, ',')
			}
			if err := w.node(e); err != nil {
				return err
			}
		}
		w.out = append(w.out, ']')
		return nil
	}
	return w.scalar(n)
}

func (w *writer) alias(n *yaml.Node) error {
	if slices.Contains(w.open, n.Alias) {
		return bad(n, "%q stands within itself", n.Value)
	}
	if len(w.open) == 0 {
		w.began = len(w.out)
	}
	w.open = append(w.open, n.Alias)
	err := w.node(n.Alias)
	if w.open = w.open[:len(w.open)-1]; len(w.open) == 0 {
		w.spent += len(w.out) - w.began
	}
	return err
}

// mapping writes a mapping, the keys in the order of the text.
func (w *writer) mapping(n *yaml.Node) error {
	w.out = append(w.out, '{')
	var seen keys
	var merges []*yaml.Node
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].ShortTag() == "!!merge" {
			merges = append(merges, n.Content[i+1])
			continue
		}
		fresh, err := w.key(n.Content[i], &seen)
		if err != nil {
			return err
		}
		if !fresh {
			return bad(n.Content[i], "key %q stands twice", n.Content[i].Value)
		}
		if err := w.node(n.Content[i+1]); err != nil {
			return err
		}
	}
	for _, m := range merges {
		if err := w.merge(m, &seen, 0); err != nil {
			return err
		}
	}
	w.out = append(w.out, '}')
	return nil
}

// mergeDepth bounds mappings that are merged into what is merged.
const mergeDepth = 100

// merge adds what a mapping, or each of a list of mappings, has and is not there yet.
func (w *writer) merge(n *yaml.Node, seen *keys, depth int) error {
	if w.repeated++; w.repeated > maxRepeated || depth > mergeDepth {
		return bad(n, "aliases repeat too much of the document")
	}
	switch {
	case n.Kind == yaml.AliasNode:
		return w.merge(n.Alias, seen, depth+1)
	case n.Kind == yaml.SequenceNode:
		for _, e := range n.Content {
			if err := w.merge(e, seen, depth+1); err != nil {
				return err
			}
		}
		return nil
	case n.Kind != yaml.MappingNode:
		return bad(n, "only mappings can be merged")
	}
	w.open = append(w.open, n) // what is merged was written elsewhere: it counts as an alias
	if len(w.open) == 1 {
		w.began = len(w.out)
	}
	defer func() {
		if w.open = w.open[:len(w.open)-1]; len(w.open) == 0 {
			w.spent += len(w.out) - w.began
		}
	}()
	var merges []*yaml.Node
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].ShortTag() == "!!merge" {
			merges = append(merges, n.Content[i+1])
			continue
		}
		fresh, err := w.key(n.Content[i], seen)
		if err != nil {
			return err
		}
		if fresh {
			if err := w.node(n.Content[i+1]); err != nil {
				return err
			}
		}
	}
	for _, m := range merges {
		if err := w.merge(m, seen, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// key writes a key, unless the mapping has it.
func (w *writer) key(n *yaml.Node, seen *keys) (fresh bool, err error) {
	at := n
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
		return false, bad(at, "a key must be a word")
	}
	from := len(w.out)
	if !seen.empty() {
		w.out = append(w.out, ',')
	}
	begin := len(w.out)
	if err := w.scalar(n); err != nil {
		return false, err
	}
	if w.out[begin] != '"' {
		w.out = strconv.AppendQuote(w.out[:begin], string(w.out[begin:])) // a number or a boolean
	}
	if !seen.add(string(w.out[begin:])) {
		w.out = w.out[:from]
		return false, nil
	}
	w.out = append(w.out, ':')
	return true, nil
}

// keys are those of a mapping. Most have few, and a list is enough.
type keys struct {
	few  []string
	many map[string]struct{}
}

const fewKeys = 16

func (k *keys) empty() bool { return len(k.few) == 0 }

// add reports whether a key is new.
func (k *keys) add(key string) bool {
	if k.many != nil {
		if _, have := k.many[key]; have {
			return false
		}
		k.many[key] = struct{}{}
		return true
	}
	if slices.Contains(k.few, key) {
		return false
	}
	if k.few = append(k.few, key); len(k.few) > fewKeys {
		k.many = make(map[string]struct{}, 4*fewKeys)
		for _, have := range k.few {
			k.many[have] = struct{}{}
		}
	}
	return true
}

func (w *writer) scalar(n *yaml.Node) error {
	switch tag := n.ShortTag(); tag {
	case "!!null":
		w.out = append(w.out, "null"...)
		return nil
	case "!!bool":
		w.out = strconv.AppendBool(w.out, strings.EqualFold(n.Value, "true") || isWord(yes, n.Value))
		return nil
	case "!!int", "!!float":
		return w.number(n)
	case "!!binary":
		var s string
		if err := n.Decode(&s); err != nil {
			return bad(n, "%v", err)
		}
		return w.text(n, s)
	case "!!str":
		if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle|yaml.TaggedStyle) == 0 {
			if isWord(yes, n.Value) {
				w.out = append(w.out, "true"...)
				return nil
			}
			if isWord(no, n.Value) {
				w.out = append(w.out, "false"...)
				return nil
			}
		}
	}
	return w.text(n, n.Value)
}

// Booleans of YAML 1.1 that YAML 1.2 has as text.
var (
	yes = []string{"y", "Y", "yes", "Yes", "YES", "on", "On", "ON"}
	no  = []string{"n", "N", "no", "No", "NO", "off", "Off", "OFF"}
)

func isWord(list []string, v string) bool {
	if len(v) > 3 {
		return false
	}
	return slices.Contains(list, v)
}

// number writes a number as it stands where JSON has the same form of it.
func (w *writer) number(n *yaml.Node) error {
	if plainNumber(n.Value) {
		w.out = append(w.out, n.Value...)
		return nil
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return err
	}
	if f, ok := v.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		return bad(n, "%s is no number that can be written as JSON", n.Value)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return bad(n, "%v", err)
	}
	w.out = append(w.out, b...)
	return nil
}

// plainNumber reports an integer without sign or leading zero that fits any type, such as most are.
func plainNumber(v string) bool {
	if len(v) == 0 || len(v) > 15 || v[0] == '0' && len(v) > 1 {
		return false
	}
	for i := range len(v) {
		if v[i] < '0' || v[i] > '9' {
			return false
		}
	}
	return true
}

func (w *writer) text(n *yaml.Node, s string) error {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			b, err := json.Marshal(s)
			if err != nil {
				return errors.Join(bad(n, "text that JSON cannot hold"), err)
			}
			w.out = append(w.out, b...)
			return nil
		}
	}
	w.out = append(w.out, '"')
	w.out = append(w.out, s...)
	w.out = append(w.out, '"')
	return nil
}
