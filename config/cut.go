package config

import (
	"bytes"
	"errors"

	"go.yaml.in/yaml/v3"
)

// CutDocuments returns a file's text without the documents whose objects begin on the given
// lines (Object.Source.Line). It fails for an object inside a list, which cannot be cut out
// without rewriting the others.
func CutDocuments(data []byte, lines map[int]bool) ([]byte, error) {
	var out bytes.Buffer
	left := len(lines)
	for _, doc := range splitDocuments(data) {
		var root yaml.Node
		if err := yaml.Unmarshal(doc.data, &root); err == nil && len(root.Content) > 0 {
			if lines[root.Content[0].Line+doc.offset] {
				left--
				continue
			}
		}
		out.Write(doc.data)
	}
	if left > 0 {
		return nil, errors.New("it is part of a list there; edit that file by hand")
	}
	rest := out.Bytes()
	if onlySeparators(rest) {
		return nil, nil
	}
	return rest, nil
}

func onlySeparators(b []byte) bool {
	for _, line := range bytes.Split(b, []byte{'\n'}) {
		if l := bytes.TrimSpace(line); len(l) > 0 && !bytes.HasPrefix(l, []byte("---")) {
			return false
		}
	}
	return true
}

// Documents returns how many documents a file's text has, right or wrong, not counting those
// that hold nothing but comments.
func Documents(data []byte) int {
	n := 0
	for _, doc := range splitDocuments(data) {
		for _, line := range bytes.Split(doc.data, []byte{'\n'}) {
			if l := bytes.TrimSpace(line); len(l) > 0 && l[0] != '#' && !bytes.HasPrefix(l, []byte("---")) {
				n++
				break
			}
		}
	}
	return n
}
