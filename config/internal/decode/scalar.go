package decode

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lateen-mesh/lateen/config/internal/field"
	"go.yaml.in/yaml/v3"
)

// text takes a string. A bare number or boolean is refused as Kubernetes does, because
// `version: 1.10` would otherwise become something else on its way.
func (d *Decoder) text(n *yaml.Node, path *field.Path) (string, bool) {
	if n.Kind != yaml.ScalarNode {
		d.Problem(n, path, "got %s, expected text", Describe(n))
		return "", false
	}
	switch tag := n.ShortTag(); tag {
	case "!!str", "!!timestamp":
	case "!!null":
		return "", true
	case "!!int", "!!float", "!!bool":
		d.Problem(n, path, "got %s, expected text; put it in quotes: %q", Describe(n), n.Value)
		return "", false
	default:
		d.Problem(n, path, "got a value tagged %s, expected text", tag)
		return "", false
	}
	if !utf8.ValidString(n.Value) {
		d.Problem(n, path, "the text is not valid UTF-8")
		return "", false
	}
	return n.Value, true
}

// boolean takes true and false, and the bare yes, no, on, off of YAML 1.1 that kubectl accepts.
func (d *Decoder) boolean(n *yaml.Node, path *field.Path) (bool, bool) {
	if n.Kind == yaml.ScalarNode && n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) == 0 {
		switch strings.ToLower(n.Value) {
		case "true", "yes", "on":
			return true, true
		case "false", "no", "off":
			return false, true
		}
	}
	hint := ""
	if n.Kind == yaml.ScalarNode && (n.Value == "true" || n.Value == "false") {
		hint = "; remove the quotes"
	}
	d.Problem(n, path, "got %s, expected true or false%s", Describe(n), hint)
	return false, false
}

func (d *Decoder) integer(n *yaml.Node, path *field.Path, low, high int64) (int64, bool) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" {
		hint := ""
		if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" {
			if _, err := strconv.ParseInt(n.Value, 10, 64); err == nil {
				hint = "; remove the quotes"
			}
		}
		d.Problem(n, path, "got %s, expected a whole number%s", Describe(n), hint)
		return 0, false
	}
	var i int64
	if err := n.Decode(&i); err != nil || i < low || i > high {
		d.Problem(n, path, "%s is out of range; it must be between %d and %d", shorten(n.Value), low, high)
		return 0, false
	}
	return i, true
}

func (d *Decoder) number(n *yaml.Node, path *field.Path) (float64, bool) {
	var f float64
	if tag := n.ShortTag(); n.Kind != yaml.ScalarNode || tag != "!!int" && tag != "!!float" {
		hint := ""
		if n.Kind == yaml.ScalarNode && tag == "!!str" {
			if _, err := strconv.ParseFloat(n.Value, 64); err == nil {
				hint = "; remove the quotes"
			}
		}
		d.Problem(n, path, "got %s, expected a number%s", Describe(n), hint)
		return 0, false
	}
	if err := n.Decode(&f); err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		d.Problem(n, path, "%s is not a finite number", shorten(n.Value))
		return 0, false
	}
	return f, true
}

// duration takes Go's notation, as Istio does: 500ms, 10s, 1m30s. A bare number is refused,
// because nobody can know whether it meant seconds.
func (d *Decoder) duration(n *yaml.Node, path *field.Path) (time.Duration, bool) {
	if n.Kind == yaml.ScalarNode {
		if dur, err := time.ParseDuration(n.Value); err == nil && (n.ShortTag() == "!!str" || dur == 0) {
			return dur, true
		}
	}
	hint := ""
	if n.Kind == yaml.ScalarNode && (n.ShortTag() == "!!int" || n.ShortTag() == "!!float") {
		hint = fmt.Sprintf("; did you mean %ss?", n.Value)
	}
	d.Problem(n, path, "got %s, expected a duration such as 10s, 500ms or 1m30s%s", Describe(n), hint)
	return 0, false
}
