package xdsresource

import (
	"errors"
	"fmt"
	"strings"
)

// Problem is one reason why a resource is refused.
type Problem struct {
	// Path leads to the field from the resource's root, in proto spelling: "filter_chains[0].filters[1].typed_config".
	Path string
	// Reason says what is wrong there and, where it helps, what would be right.
	Reason string
}

// Error refuses one resource. It holds every problem found, not only the first, so that a
// user fixes a file once.
type Error struct {
	// Type is the short kind: "listener", "route", "cluster", "endpoints", "secret".
	Type string
	// Name is the resource's name; empty when even that was missing.
	Name     string
	Problems []Problem
}

// Error lists every problem as "listener "x": path: reason", separated by "; ".
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q: ", e.Type, e.Name)
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteString("; ")
		}
		if p.Path != "" {
			b.WriteString(p.Path)
			b.WriteString(": ")
		}
		b.WriteString(p.Reason)
	}
	return b.String()
}

// Lines lists the problems as "path: reason", one each.
func (e *Error) Lines() []string {
	out := make([]string, 0, len(e.Problems))
	for _, p := range e.Problems {
		if p.Path == "" {
			out = append(out, p.Reason)
			continue
		}
		out = append(out, p.Path+": "+p.Reason)
	}
	return out
}

// parser collects the problems of one resource while it is taken apart. Conversions go on
// after a problem with whatever value is at hand; the result is thrown away in the end.
type parser struct {
	dec      *Decoder
	problems []Problem

	files, directories []string // that were read, and those to be watched instead, for secrets
}

// bad records a problem at a path.
func (p *parser) bad(path, format string, args ...any) {
	p.problems = append(p.problems, Problem{Path: path, Reason: fmt.Sprintf(format, args...)})
}

// badErr records an error that a filter's or a library's parser returned.
func (p *parser) badErr(path string, err error) {
	var e *Error
	if errors.As(err, &e) {
		for _, q := range e.Problems {
			p.problems = append(p.problems, Problem{Path: join(path, q.Path), Reason: q.Reason})
		}
		return
	}
	p.problems = append(p.problems, Problem{Path: path, Reason: err.Error()})
}

// finish returns the collected error, or nil.
func (p *parser) finish(kind, name string) error {
	if len(p.problems) == 0 {
		return nil
	}
	return &Error{Type: kind, Name: name, Problems: p.problems}
}

// join appends a field to a path.
func join(path, field string) string {
	switch {
	case path == "":
		return field
	case field == "":
		return path
	}
	return path + "." + field
}

// at is the path of element i of a repeated field.
func at(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
