package pathtemplate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Rewrite makes a path of what a pattern has captured of another.
type Rewrite struct {
	text    string
	pattern *Pattern
	pieces  []piece
}

// piece is text, or a captured variable.
type piece struct {
	text  string
	group int // 0: text
}

// String is the template as it was written.
func (r *Rewrite) String() string { return r.text }

// CompileRewrite reads a rewrite for paths that the pattern matches: text with slashes, and variables
// of the pattern as "{name}".
func CompileRewrite(text string, p *Pattern) (*Rewrite, error) {
	r := &Rewrite{text: text, pattern: p}
	if err := r.parse(); err != nil {
		return nil, fmt.Errorf("path template rewrite %q: %w", text, err)
	}
	return r, nil
}

func (r *Rewrite) parse() error {
	if !strings.HasPrefix(r.text, "/") {
		return errors.New("does not begin with a slash")
	}
	if strings.Contains(r.text, "//") {
		return errors.New("has two slashes in a row")
	}
	for rest := r.text; rest != ""; {
		lit, after, more := strings.Cut(rest, "{")
		if i := strings.IndexFunc(lit, func(c rune) bool { return c != '/' && !literalChar(c) }); i >= 0 {
			return fmt.Errorf("%q cannot stand in its text", lit[i])
		}
		if lit != "" {
			r.pieces = append(r.pieces, piece{text: lit})
		}
		if !more {
			break
		}
		name, end, closed := strings.Cut(after, "}")
		if !closed {
			return errors.New("a variable has no closing brace")
		}
		i := slices.Index(r.pattern.names, name)
		if i < 0 {
			return fmt.Errorf("the path template %q has no variable %q", r.pattern.text, name)
		}
		r.pieces = append(r.pieces, piece{group: i + 1})
		rest = end
	}
	return nil
}

// Append appends the rewritten path; false when the pattern does not match.
func (r *Rewrite) Append(dst, path []byte) ([]byte, bool) {
	at := r.pattern.re.FindSubmatchIndex(path)
	if at == nil {
		return dst, false
	}
	for _, p := range r.pieces {
		if p.group == 0 {
			dst = append(dst, p.text...)
			continue
		}
		dst = append(dst, path[at[2*p.group]:at[2*p.group+1]]...)
	}
	return dst, true
}
