package status

import (
	"fmt"
	"strings"
	"testing"
)

func TestAnnotations(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                                    "80 /metrics",
		`{"scrape":"true"}`:                     "80 /metrics",
		`{"scrape":"yes","port":"9102"}`:        "9102 /metrics",
		`{"path":"admin/stats?x=1","port":"1"}`: "1 /admin/stats?x=1",
		`{"scrape":"false","port":"none"}`:      "none",
		`{"port":"0"}`:                          `prometheus.io/port: "0" is no port`,
		`{"port":"65536"}`:                      `prometheus.io/port: "65536" is no port`,
		`{"port":"80@evil"}`:                    `prometheus.io/port: "80@evil" is no port`,
		`{"path":"/a b"}`:                       "80 /a b",
		"{\"path\":\"/a\\r\\nHost: b\"}":        `prometheus.io/path: "/a\r\nHost: b" is no path`,
		`{"port":9102}`:                         "want {",
		`{"interval":"1s"}`:                     `unknown field "interval"`,
		`{} {}`:                                 "something stands after the object",
		``:                                      "want {",
	} {
		app, err := ParseAnnotations(text)
		got := "none"
		if app != nil {
			got = fmt.Sprint(app.Port, " ", app.Path)
			if again, err := ParseAnnotations(strings.TrimPrefix(app.Setting(), Variable+"=")); err != nil || *again != *app {
				t.Errorf("%s is read back as %v, %v", app.Setting(), again, err)
			}
		}
		if err != nil {
			got = err.Error()
		}
		if got != want && (err == nil || !strings.Contains(got, want)) {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"9102": "9102 /metrics", "9102/a/b": "9102 /a/b", "9102/": "9102 /", "": "want PORT or PORT/PATH", "/metrics": "want PORT or PORT/PATH", "x/metrics": "want PORT or PORT/PATH",
	} {
		app, err := ParseApplication(text)
		if got := fmt.Sprint(err); err != nil && !strings.Contains(got, want) {
			t.Errorf("%q: %v", text, err)
		} else if err == nil && fmt.Sprint(app.Port, " ", app.Path) != want {
			t.Errorf("%q: %v", text, app)
		}
	}
}

// What is asked for can stand behind the proxy's text.
func TestAccept(t *testing.T) {
	for in, want := range map[string]string{
		"":    "text/plain;version=0.0.4",
		"*/*": "*/*",
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.4,*/*;q=0.1": "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.4,*/*;q=0.1",
		"application/openmetrics-text;version=2.0.0": "text/plain;version=0.0.4",
		"application/json":                           "text/plain;version=0.0.4",
		";;,,":                                       "text/plain;version=0.0.4",
	} {
		if got := accept([]string{in}); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestComplete(t *testing.T) {
	for _, c := range []struct{ contentType, text, want string }{
		{"text/plain; version=0.0.4", "a 1", "text/plain; version=0.0.4; charset=utf-8|a 1\n"},
		{"text/html", "# HELP a\n\na 1\n{\"b.c\"} 2\n", "text/plain; version=0.0.4; charset=utf-8|# HELP a\n\na 1\n{\"b.c\"} 2\n"},
		{"", "", "text/plain; version=0.0.4; charset=utf-8|"},
		{"text/html", "\n<html>", "line 2 of its answer is no metric"},
		{"application/json", "[1]", "line 1 of its answer is no metric"},
		{"text/plain", "a{b=\"\xff\"} 1\n", "bytes that are no text"},
		{"application/openmetrics-text", "a 1\n# EOF\n", "application/openmetrics-text; version=0.0.1; charset=utf-8|a 1\n# EOF\n"},
		{"application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores", "# EOF", "application/openmetrics-text; version=1.0.0; charset=utf-8|# EOF"},
		{"application/openmetrics-text; version=1.0.0", "a 1\n", "do not end with # EOF"},
		{"application/openmetrics-text; version=2.0.0", "# EOF\n", `version "2.0.0" of OpenMetrics`},
		{"application/vnd.google.protobuf", "", "protobuf, which it was not asked for"},
	} {
		format, err := formatOf(c.contentType)
		var text []byte
		if err == nil {
			text, err = complete([]byte(c.text), format)
		}
		got := format + "|" + string(text)
		if err != nil {
			got = err.Error()
		}
		if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
			t.Errorf("%s %q: %q, want %q", c.contentType, c.text, got, c.want)
		}
	}
}
