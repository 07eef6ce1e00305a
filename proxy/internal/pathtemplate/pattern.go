package pathtemplate

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Envoy's limits.
const (
	maxVariables = 5
	maxNameLen   = 16
)

// chars is the inside of a bracket expression with what a path may have between its slashes:
// pchar of RFC 3986, appendix A.
const chars = `a-zA-Z0-9\-._~%!$&'()*+,;=:@`

// Pattern is a compiled path template.
type Pattern struct {
	text  string
	re    *regexp.Regexp
	names []string // of the variables, by number of group less one
}

// String is the template as it was written.
func (p *Pattern) String() string { return p.text }

// Match reports whether a path, without its query, is one of the pattern's.
func (p *Pattern) Match(path []byte) bool { return p.re.Match(path) }

// Compile reads a pattern:
//
//	pattern  = "/" [ segment *( "/" segment ) [ "/" / suffix ] ]
//	segment  = "*" / "**" / [ literal ] variable [ literal ] / literal
//	variable = "{" name [ "=" part *( "/" part ) ] "}"
//	part     = "*" / "**" / literal
//	suffix   = literal, behind a last segment of "*" or "**"
//
// "*" stands for one segment of at least a character, as a variable without parts does, "**" for any
// number of segments. Nothing that varies may follow "**". A variable with text before it has no slash.
func Compile(text string) (*Pattern, error) {
	c := compiler{rest: text}
	if err := c.pattern(); err != nil {
		return nil, fmt.Errorf("path template %q: %w", text, err)
	}
	re, err := regexp.Compile("^(?:" + c.re.String() + ")$")
	if err != nil {
		return nil, fmt.Errorf("path template %q: %w", text, err)
	}
	return &Pattern{text: text, re: re, names: c.names}, nil
}

type compiler struct {
	rest  string
	re    strings.Builder
	names []string
	globs bool // "**" was seen
}

func (c *compiler) pattern() error {
	if i := strings.IndexFunc(c.rest, func(r rune) bool { return r <= ' ' || r > '~' }); i >= 0 {
		return fmt.Errorf("has a character at %d that no path has; write it as %%XX", i)
	}
	if !c.eat("/") {
		return errors.New("does not begin with a slash")
	}
	c.re.WriteByte('/')
	for c.rest != "" {
		if err := c.segment(); err != nil {
			return err
		}
		switch {
		case c.eat("/"):
			c.re.WriteByte('/')
		case c.rest != "": // behind a wildcard
			if err := c.literal(); err != nil {
				return err
			}
			if c.rest != "" {
				return errors.New("text behind a wildcard must be the end")
			}
		}
	}
	return nil
}

func (c *compiler) segment() error {
	if c.rest[0] == '*' {
		return c.wildcard()
	}
	end := strings.IndexByte(c.rest, '/')
	if end < 0 {
		end = len(c.rest)
	}
	brace := strings.IndexByte(c.rest[:end], '{')
	if brace < 0 {
		return c.literal()
	}
	if brace > 0 {
		behind := c.rest[brace:]
		if !strings.Contains(c.rest[:end], "}") {
			return errors.New("a variable with text before it must close within its segment")
		}
		c.rest = c.rest[:brace]
		if err := c.literal(); err != nil {
			return err
		}
		c.rest = behind
	}
	if err := c.variable(); err != nil {
		return err
	}
	if c.rest == "" || c.rest[0] == '/' {
		return nil
	}
	return c.literal()
}

func (c *compiler) eat(s string) bool {
	rest, ok := strings.CutPrefix(c.rest, s)
	c.rest = rest
	return ok
}

func (c *compiler) wildcard() error {
	if c.globs {
		return errors.New(`nothing that varies may stand behind "**"`)
	}
	if c.eat("**") {
		c.globs = true
		c.re.WriteString("[" + chars + "/]*")
		return nil
	}
	c.eat("*")
	c.re.WriteString("[" + chars + "]+")
	return nil
}

func (c *compiler) literal() error {
	n := strings.IndexByte(c.rest, '/')
	if n < 0 {
		n = len(c.rest)
	}
	lit := c.rest[:n]
	if lit == "" {
		return errors.New("has an empty segment")
	}
	if strings.Contains(lit, "*") {
		// Envoy takes it, and hands it on to its regular expressions: "/a*" matches "/" and "/aaa" there.
		return fmt.Errorf("a star beside the text %q: write it as %%2A, or as a segment", lit)
	}
	if i := strings.IndexFunc(lit, func(r rune) bool { return !literalChar(r) }); i >= 0 {
		return fmt.Errorf("%q cannot stand in the text %q", lit[i], lit)
	}
	c.rest = c.rest[n:]
	c.re.WriteString(regexp.QuoteMeta(lit))
	return nil
}

func literalChar(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._~%!$&'()*+,;=:@", r)
}

func (c *compiler) variable() error {
	inside, rest, ok := strings.Cut(c.rest[1:], "}")
	if !ok {
		return errors.New("a variable has no closing brace")
	}
	name, parts, given := strings.Cut(inside, "=")
	if err := checkName(name); err != nil {
		return err
	}
	if slices.Contains(c.names, name) {
		return fmt.Errorf("variable %q stands twice", name)
	}
	if len(c.names) == maxVariables {
		return fmt.Errorf("has more than %d variables", maxVariables)
	}
	c.names = append(c.names, name)
	if !given {
		parts = "*"
	}
	if parts == "" || strings.HasSuffix(parts, "/") {
		return fmt.Errorf("variable %q: empty part", name)
	}
	c.re.WriteString("(?P<" + name + ">")
	for c.rest = parts; c.rest != ""; {
		part := c.literal
		if c.rest[0] == '*' {
			part = c.wildcard
		}
		if err := part(); err != nil {
			return fmt.Errorf("variable %q: %w", name, err)
		}
		if c.rest != "" && !c.eat("/") {
			return fmt.Errorf("variable %q: a wildcard is a whole segment", name)
		}
		if c.rest != "" {
			c.re.WriteByte('/')
		}
	}
	c.re.WriteByte(')')
	c.rest = rest
	return nil
}

func checkName(name string) error {
	if name == "" || len(name) > maxNameLen {
		return fmt.Errorf("variable name %q: 1 to %d characters are possible", name, maxNameLen)
	}
	for i, r := range name {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r != '_' && (r < '0' || r > '9')) {
			return fmt.Errorf("variable name %q: a letter, then letters, digits and underscores", name)
		}
	}
	return nil
}
