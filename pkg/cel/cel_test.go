package cel

import (
	"encoding/json"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"

	"cel.dev/cel-go/interpreter"
)

// jsonString is quote for what is read as JSON again.
func jsonString(dst, s []byte) []byte {
	b, _ := json.Marshal(string(s))
	return append(dst, b...)
}

// TestValues: what does not depend on a stream prints as in Envoy.
func TestValues(t *testing.T) {
	b, err := os.ReadFile("testdata/values.txt")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 3 {
			t.Fatalf("%q has not three columns", line)
		}
		rows++
		e, err := Compile(f[0], nil)
		if err != nil {
			t.Errorf("%s: %v", f[0], err)
			continue
		}
		v, err := e.Eval(interpreter.EmptyActivation())
		text, typed := "-", "null"
		if err == nil {
			text = string(jsonString(nil, latin1(v.AppendText(nil))))
			if b, ok := v.AppendJSON(nil, jsonString); ok {
				typed = string(b)
			}
		}
		if text != f[1] {
			t.Errorf("%s: %s, Envoy %s", f[0], text, f[1])
		}
		var got, want any
		if err := json.Unmarshal([]byte(typed), &got); err != nil {
			t.Errorf("%s: %s: %v", f[0], typed, err)
		}
		if err := json.Unmarshal([]byte(f[2]), &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: typed %s, Envoy %s", f[0], typed, f[2])
		}
	}
	if rows < 200 {
		t.Errorf("only %d rows", rows)
	}
}

// latin1 writes bytes that are no UTF-8 as Envoy's JSON has them; ours has a sign of its own for them.
func latin1(b []byte) []byte {
	var out []byte
	for len(b) > 0 {
		if b[0] < 0x80 || len(b) > 1 && b[1]&0xc0 == 0x80 {
			out, b = append(out, b[0]), b[1:]
			for len(b) > 0 && b[0]&0xc0 == 0x80 {
				out, b = append(out, b[0]), b[1:]
			}
			continue
		}
		out, b = append(out, string(rune(b[0]))...), b[1:]
	}
	return out
}

func TestRefused(t *testing.T) {
	for in, want := range map[string]string{
		"":                                      "mismatched input",
		"request.":                              "column 9",
		"1 +":                                   "column 4",
		"nofunc(1)":                             "no function nofunc() of 1 arguments",
		"request.path.nofunc()":                 "no function nofunc() of 1 arguments",
		"size('a', 'b')":                        "no function size() of 2 arguments",
		"'a'.startsWith()":                      "no function startsWith() of 1 arguments",
		"[1].exists(x, x == 1)":                 "exists() is switched off",
		"[1].all(x, true)":                      "all() is switched off",
		"'%d'.format([1])":                      "format() is not supported",
		"strings.quote('a')":                    "strings.quote() is not supported",
		"google.protobuf.Duration{}":            "messages cannot be made",
		"'a'.matches('(')":                      "invalid regular expression",
		"'a'.matches('[a-z]{1000}')":            "instructions, more than 1000",
		"re.capture('a', '(')":                  "invalid regular expression",
		"{1.5: 'a'}":                            "a double cannot be the key of a map",
		"a.?b":                                  "unsupported syntax",
		strings.Repeat("(", 300):                "recursion",
		"'" + strings.Repeat("a", 40_000) + "'": "exceeds limit",
		strings.Repeat("1+", 20_000) + "1":      "",
	} {
		_, err := Compile(in, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", in, err, want)
		}
	}
}

// TestBounds: what an expression makes of large headers is bounded, and so are the patterns that come with them.
func TestBounds(t *testing.T) {
	names, err := interpreter.NewActivation(map[string]any{
		"big": strings.Repeat("a", 60_000), "pattern": "[a-z]{60}", "heavy": "[a-z]{900}", "long": strings.Repeat("a", 300),
	})
	if err != nil {
		t.Fatal(err)
	}
	big := "big"
	for in, want := range map[string]string{
		big + ".replace('', " + big + ")":                           "-",
		big + ".replace('a', " + big + ", 2).size()":                "179998",
		"[" + big + "," + big + "].join(" + big + ").size()":        "180000",
		"[" + strings.Repeat(big+",", 30) + big + "].join().size()": "-",
		big + ".split('')": "-",
		"(" + strings.Repeat(big+"+", 20) + big + ").size()": "-",
		"(" + big + "+" + big + ").size()":                   "120000",
		big + ".matches(pattern)":                            "true",
		big + ".matches(heavy)":                              "-",
		big + ".matches(long)":                               "-",
		"re.extract(" + big + ", 'a*', '" + strings.Repeat(`\\0`, 30) + "').size()": "-",
	} {
		e, err := Compile(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := "-"
		if v, err := e.Eval(names); err == nil {
			got = string(v.AppendText(nil))
		}
		if got != want {
			t.Errorf("%.80s: %s, want %s", in, got, want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{
		1: "1", 1e4: "10000", 1e5: "1e+05", 123456: "123456", 0.5: "0.5", 1e-4: "1e-04", 1e21: "1e+21", 10.0 / 3: "3.3333333333333335",
		math.MaxInt64: "9223372036854775808", math.MaxUint64: "18446744073709551616",
	} {
		if got := string(AppendNumber(nil, v)); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}
