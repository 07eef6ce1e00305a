// Package field names places inside an object: spec.http[0].route[0].destination.subset. Paths
// are linked lists, so that walking an object costs no string building until something is wrong.
//
// It knows nothing of objects. Only the packages below config use it; a path leaves config as
// the string that String returns.
package field

import (
	"strconv"
	"strings"
)

// Path is a place inside an object. A nil *Path is the root.
type Path struct {
	parent *Path
	name   string
	index  int // -1 for a name
}

// Child returns the path of a named field.
func (p *Path) Child(names ...string) *Path {
	for _, n := range names {
		p = &Path{parent: p, name: n, index: -1}
	}
	return p
}

// Index returns the path of a list's element.
func (p *Path) Index(i int) *Path { return &Path{parent: p, index: i} }

// String renders the path. A map's key that holds dots or brackets is put into brackets:
// metadata.labels[app.kubernetes.io/name].
func (p *Path) String() string {
	var b strings.Builder
	p.write(&b)
	return b.String()
}

func (p *Path) write(b *strings.Builder) {
	if p == nil {
		return
	}
	p.parent.write(b)
	switch {
	case p.index >= 0:
		b.WriteByte('[')
		b.WriteString(strconv.Itoa(p.index))
		b.WriteByte(']')
	case strings.ContainsAny(p.name, ".[]") || p.name == "":
		b.WriteByte('[')
		b.WriteString(p.name)
		b.WriteByte(']')
	default:
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(p.name)
	}
}

// Step is one part of a rendered path.
type Step struct {
	Name  string
	Index int // -1 for a name
}

// Split takes a rendered path apart. It is lenient: what it cannot understand ends the path.
func Split(path string) []Step {
	var steps []Step
	for path != "" {
		switch path[0] {
		case '.':
			path = path[1:]
		case '[':
			end := strings.IndexByte(path, ']')
			if end < 0 {
				return steps
			}
			inner := path[1:end]
			if n, err := strconv.Atoi(inner); err == nil && n >= 0 {
				steps = append(steps, Step{Index: n})
			} else {
				steps = append(steps, Step{Name: inner, Index: -1})
			}
			path = path[end+1:]
		default:
			end := strings.IndexAny(path, ".[")
			if end < 0 {
				end = len(path)
			}
			steps = append(steps, Step{Name: path[:end], Index: -1})
			path = path[end:]
		}
	}
	return steps
}
