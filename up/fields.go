package up

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// unknownFields names every field of AppsFile that there is not, with its line. What is no YAML is left to who reads it.
func unknownFields(path string, raw []byte) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil || len(doc.Content) == 0 {
		return nil
	}
	var errs []error
	var walk func(n *yaml.Node, of reflect.Type, at string)
	walk = func(n *yaml.Node, of reflect.Type, at string) {
		for n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		for of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		switch {
		case n.Kind == yaml.SequenceNode && of.Kind() == reflect.Slice:
			for i, item := range n.Content {
				walk(item, of.Elem(), fmt.Sprintf("%s[%d]", at, i))
			}
		case n.Kind == yaml.MappingNode && of.Kind() == reflect.Map:
			for i := 0; i+1 < len(n.Content); i += 2 {
				walk(n.Content[i+1], of.Elem(), at+"."+n.Content[i].Value)
			}
		case n.Kind == yaml.MappingNode && of.Kind() == reflect.Struct:
			fields := map[string]reflect.Type{}
			var known []string
			for i := range of.NumField() {
				name := of.Field(i).Tag.Get("json")
				if name == "" {
					continue // not the file's
				}
				fields[name], known = of.Field(i).Type, append(known, name)
			}
			for i := 0; i+1 < len(n.Content); i += 2 {
				key := n.Content[i]
				here := strings.TrimPrefix(at+"."+key.Value, ".")
				if next, ok := fields[key.Value]; ok {
					walk(n.Content[i+1], next, here)
				} else if key.Value != "<<" { // which merges others
					errs = append(errs, fmt.Errorf("%s:%d: %s: unknown field; known here: %s", path, key.Line, here, strings.Join(known, ", ")))
				}
			}
		}
	}
	walk(doc.Content[0], reflect.TypeFor[appsFile](), "")
	return errors.Join(errs...)
}
