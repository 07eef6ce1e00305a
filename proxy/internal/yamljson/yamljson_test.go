package yamljson

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestConvert compares with what is written here, and with the converter of Kubernetes, which reads YAML 1.1 as well.
func TestConvert(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"nothing", "", `null`},
		{"null", "~", `null`},
		{"json", `{"a": [1, "x", null, true, 1.5, "\u00e9\n"], "b": {}}`, `{"a":[1,"x",null,true,1.5,"é\n"],"b":{}}`},
		{"block", "a:\n- b: c\n  d: {e: f}\n- |\n  two\n  lines\n- >\n  folded\n  text\n", `{"a":[{"b":"c","d":{"e":"f"}},"two\nlines\n","folded text\n"]}`},
		{"words", "[yes, No, ON, off, y, n, true, False, 'yes', \"no\", !!str on, yes sir]", `[true,false,true,false,true,false,true,false,"yes","no","on","yes sir"]`},
		{"integers", "[0, 7, -7, +7, 0x1F, 0b11, 017, 1_000, 18446744073709551615, 123456789012345678901]",
			`[0,7,-7,7,31,3,15,1000,18446744073709551615,123456789012345680000]`},
		{"floats", "[1.5, -0.25, 1e3, 1.0, .5]", `[1.5,-0.25,1000,1,0.5]`},
		{"quoted numbers", `["1", '2.5', !!str 3]`, `["1","2.5","3"]`},
		{"dates are text", "[2001-01-01, 2001-12-14t21:59:43.10-05:00]", `["2001-01-01","2001-12-14t21:59:43.10-05:00"]`},
		{"durations are text", "{a: 5s, b: 0.25s}", `{"a":"5s","b":"0.25s"}`},
		{"bytes", "!!binary aGVsbG8=", `"hello"`},
		{"keys", "{1: a, true: b, 0x10: c, 'q': d}", `{"1":"a","true":"b","16":"c","q":"d"}`},
		{"other letters", "한국어: 값 # 설명\n", `{"한국어":"값"}`},
		{"escapes", `["\t\"\\\x01", "<&>", 'a\b']`, `["\t\"\\\u0001","<&>","a\\b"]`},
		{"an anchor and its alias", "a: &x {b: 1}\nc: [*x, *x]\n", `{"a":{"b":1},"c":[{"b":1},{"b":1}]}`},
		{"merged", "a: &x {b: 1, c: 2}\nd: {<<: *x, e: 3}\n", `{"a":{"b":1,"c":2},"d":{"e":3,"b":1,"c":2}}`},
		{"merged, what is there stays", "a: &x {b: 1, c: 2}\nd: {b: 4, <<: *x}\n", `{"a":{"b":1,"c":2},"d":{"b":4,"c":2}}`},
		{"merged, the first of several", "a: &x {b: 1}\nc: &y {b: 2, d: 3}\ne: {<<: [*x, *y]}\n", `{"a":{"b":1},"c":{"b":2,"d":3},"e":{"b":1,"d":3}}`},
		{"merged into what is merged", "a: &x {b: 1}\nc: &y {<<: *x, d: 2}\ne: {<<: *y}\n", `{"a":{"b":1},"c":{"d":2,"b":1},"e":{"d":2,"b":1}}`},
		{"the first document", "a: 1\n---\nb: 2\n", `{"a":1}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Convert([]byte(test.in))
			if err != nil {
				t.Fatal(err)
			}
			if !json.Valid(got) || !same(t, got, []byte(test.want)) {
				t.Errorf("%s\nwant %s", got, test.want)
			}
			theirs, err := yaml.YAMLToJSONStrict([]byte(test.in))
			if err != nil && strings.HasPrefix(test.name, "merged, ") {
				return // it refuses a merge of what is there
			}
			if err != nil || !same(t, got, theirs) {
				t.Errorf("%s\nKubernetes' has %s, %v", got, theirs, err)
			}
		})
	}
}

func same(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		t.Fatalf("%s: %v", a, err)
	}
	if err := json.Unmarshal(b, &y); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return reflect.DeepEqual(x, y)
}

// TestConvertRefuses: each with its line.
func TestConvertRefuses(t *testing.T) {
	var bomb strings.Builder // nine lines that stand for a billion nodes
	bomb.WriteString("a: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := range 8 {
		fmt.Fprintf(&bomb, "b%d: &a%d [%s]\n", i, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
	}
	long := "a: &a \"" + strings.Repeat("x", 1<<20) + "\"\nb: [" + strings.TrimSuffix(strings.Repeat("*a, ", 100), ", ") + "]\n"
	var wide strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&wide, "k%d: 1\n", i)
	}
	wide.WriteString("k17: 1\n")
	for _, test := range []struct{ name, in, want string }{
		{"no YAML", "a: [", "did not find"},
		{"a tab", "a:\n\tb: 1", "cannot start any token"},
		{"a key twice", "a: 1\nb: {c: 1,\n c: 2}", `line 3: key "c" stands twice`},
		{"a key twice, as another text", "{on: 1, true: 2}", `stands twice`},
		{"a key twice among many", wide.String(), `line 5001: key "k17" stands twice`},
		{"a mapping as key", "? {a: 1}\n: b", "line 1: a key must be a word"},
		{"null as key", "{~: b}", "a key must be a word"},
		{"infinity", "a:\n  b: .inf", "line 2: .inf is no number"},
		{"no number", "[.nan]", ".nan is no number"},
		{"no bytes", "!!binary '?'", "line 1"},
		{"an unknown anchor", "a: *b", "unknown anchor"},
		{"an anchor within itself", "a: &a [*a]", "stands within itself"},
		{"a merge of text", "{<<: x}", "only mappings can be merged"},
		{"a merge of itself", "a: &a {<<: *a}", "aliases repeat too much"},
		{"aliases of aliases", bomb.String(), "aliases repeat too much"},
		{"aliases of long text", long, "aliases repeat too much"},
	} {
		if got, err := Convert([]byte(test.in)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %.100s, %v; want an error with %q", test.name, got, err, test.want)
		}
	}
}

// FuzzConvert: whatever a file holds, what comes out is JSON, and is bounded.
func FuzzConvert(f *testing.F) {
	for _, s := range []string{"a: &x {b: [1, yes, 0x1f, 2.5, '']}\nc: {<<: *x, d: *x}\n", "- |\n  x\n- !!binary aGk=\n", "{\"a\":\"\\u0000\"}", "? a\n: b"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out, err := Convert(in)
		if err == nil && !json.Valid(out) {
			t.Errorf("%q became %q", in, out)
		}
		if len(out) > maxRepeatedBytes+64*len(in)+1<<10 {
			t.Errorf("%d bytes became %d", len(in), len(out))
		}
	})
}
