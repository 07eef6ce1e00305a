package cel

import (
	"fmt"
	"reflect"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// Bounds of regular expressions, in instructions: Envoy's is 100 in all cases, of programs in which a class of characters is
// several instructions. One that comes with a request is compiled for that request.
const (
	maxProgram      = 1000
	maxOwnProgram   = 100
	maxOwnPattern   = 256 // bytes
	patternTypeName = "lateen.pattern"
)

// patternArgument is which argument of a function is a regular expression.
var patternArgument = map[string]int{"matches": 1, "re.extract": 1, "re.capture": 1, "re.captureN": 1}

// pattern is a regular expression that stands in an expression, in the place of its text.
type pattern struct{ re *regexp.Regexp }

var patternType = types.NewOpaqueType(patternTypeName)

func newPattern(text, function string) (*pattern, error) {
	re, err := compile(text, function != "matches" && function != "re.extract", maxProgram)
	if err != nil {
		return nil, err
	}
	return &pattern{re}, nil
}

// compile compiles a regular expression; whole: it is to match a text as a whole.
func compile(text string, whole bool, limit int) (*regexp.Regexp, error) {
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("invalid regular expression: %w", err)
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, fmt.Errorf("invalid regular expression: %w", err)
	}
	if n := len(program.Inst); n > limit {
		return nil, fmt.Errorf("the regular expression takes %d instructions, more than %d", n, limit)
	}
	if whole {
		text = `\A(?:` + text + `)\z`
	}
	return regexp.Compile(text)
}

// Type, Value, Equal and the conversions implement ref.Val.
func (p *pattern) Type() ref.Type                              { return patternType }
func (p *pattern) Value() any                                  { return p.re }
func (p *pattern) Equal(other ref.Val) ref.Val                 { return types.Bool(other == ref.Val(p)) }
func (p *pattern) ConvertToType(t ref.Type) ref.Val            { return Convert(p, t) }
func (p *pattern) ConvertToNative(t reflect.Type) (any, error) { return nil, NoNative(p, t) }

// subjectOf is the text and the regular expression of a call; nil: they are not.
func subjectOf(s, p ref.Val, whole bool) (string, *regexp.Regexp) {
	text, ok := s.(types.String)
	if !ok {
		return "", nil
	}
	switch p := p.(type) {
	case *pattern:
		return string(text), p.re
	case types.String:
		if len(p) > maxOwnPattern {
			return "", nil
		}
		re, err := compile(string(p), whole, maxOwnProgram)
		if err != nil {
			return "", nil
		}
		return string(text), re
	}
	return "", nil
}

// matches is s.matches(pattern).
func matches(s, p ref.Val) ref.Val {
	text, re := subjectOf(s, p, false)
	if re == nil {
		return noOverload()
	}
	return types.Bool(re.MatchString(text))
}

// extract is re.extract(s, pattern, rewrite): rewrite has \0 to \9 for what was matched.
func extract(args ...ref.Val) ref.Val {
	text, re := subjectOf(args[0], args[1], false)
	rewrite, ok := args[2].(types.String)
	if re == nil || !ok {
		return noOverload()
	}
	found := re.FindStringSubmatchIndex(text)
	if found == nil {
		return types.NewErrFromString("nothing was found")
	}
	var b strings.Builder
	for i := 0; i < len(rewrite); i++ {
		if rewrite[i] != '\\' {
			b.WriteByte(rewrite[i])
			continue
		}
		i++
		switch {
		case i < len(rewrite) && rewrite[i] == '\\':
			b.WriteByte('\\')
		case i < len(rewrite) && rewrite[i] >= '0' && rewrite[i] <= '9' && int(rewrite[i]-'0') <= re.NumSubexp():
			if n := int(rewrite[i] - '0'); found[2*n] >= 0 {
				b.WriteString(text[found[2*n]:found[2*n+1]])
			}
		default:
			return types.NewErrFromString("invalid rewrite")
		}
		if b.Len() > maxValue {
			return tooLarge()
		}
	}
	return types.String(b.String())
}

// capture is re.capture(s, pattern): the first group of a match of the whole text.
func capture(s, p ref.Val) ref.Val {
	text, re := subjectOf(s, p, true)
	if re == nil || re.NumSubexp() == 0 {
		return noOverload()
	}
	found := re.FindStringSubmatch(text)
	if found == nil {
		return types.NewErrFromString("nothing was found")
	}
	return types.String(found[1])
}

// captureN is re.captureN(s, pattern): all groups of a match of the whole text, by name or number.
func captureN(s, p ref.Val) ref.Val {
	text, re := subjectOf(s, p, true)
	if re == nil {
		return noOverload()
	}
	found := re.FindStringSubmatch(text)
	if found == nil {
		return types.NewErrFromString("nothing was found")
	}
	out := make(map[string]string, len(found))
	for i, name := range re.SubexpNames() {
		if i == 0 {
			continue
		}
		if name == "" {
			name = strconv.Itoa(i)
		}
		out[name] = found[i]
	}
	return types.NewStringStringMap(types.DefaultTypeAdapter, out)
}
