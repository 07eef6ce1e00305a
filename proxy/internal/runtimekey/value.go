package runtimekey

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Value is what a layer says of a key: a text, and all that it can be read as.
type Value struct {
	Text string

	uint                       uint64
	float                      float64
	numerator, denominator     uint32 // denominator 0: no fractional percent
	bool                       bool
	hasUint, hasFloat, hasBool bool
}

// Parse reads a text as Envoy reads the value of a file or of the admin API: it is everything that it
// can be.
func Parse(text string) *Value {
	v := &Value{Text: text}
	s := strings.TrimSpace(text)
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		v.uint, v.hasUint = n, true
		v.bool, v.hasBool = n != 0, true
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		v.float, v.hasFloat = f, true
		return v
	}
	switch {
	case strings.EqualFold(s, "true"):
		v.bool, v.hasBool = true, true
	case strings.EqualFold(s, "false"):
		v.hasBool = true
	default:
		v.fraction(s)
	}
	return v
}

// Number is the value of a number in a static or RTDS layer.
func Number(f float64) *Value {
	v := Parse(strconv.FormatFloat(f, 'f', -1, 64))
	v.float, v.hasFloat = f, true
	return v
}

// Fraction is the value of a fractional percent in such a layer; denominator is "", or the enum's name.
func Fraction(numerator uint32, denominator string) (*Value, bool) {
	text := "numerator: " + strconv.FormatUint(uint64(numerator), 10)
	if denominator != "" {
		text += "\ndenominator: " + denominator
	}
	v := Parse(text)
	return v, v.denominator > 0
}

// maxFraction bounds what is tried as a fractional percent: its YAML is two short lines.
const maxFraction = 256

// fraction reads YAML or JSON of a type.v3.FractionalPercent. What is none stays a text.
func (v *Value) fraction(s string) {
	if len(s) > maxFraction || !strings.Contains(s, "numerator") && !strings.Contains(s, "denominator") {
		return
	}
	var m struct {
		Numerator   uint32
		Denominator string
	}
	dec := yaml.NewDecoder(strings.NewReader(s))
	dec.KnownFields(true)
	if dec.Decode(&m) != nil {
		return
	}
	denominator, ok := map[string]uint32{"": 100, "HUNDRED": 100, "TEN_THOUSAND": 10000, "MILLION": 1000000}[m.Denominator]
	if ok {
		v.numerator, v.denominator = m.Numerator, denominator
	}
}
