package proxycmd

import (
	"bytes"
	"log/slog"
	"regexp"
	"testing"
	"time"
)

func TestPattern(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 89_000_000, time.UTC)
	for _, tt := range []struct {
		pattern string
		escaped bool
		want    string // regular expression
	}{
		{"[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v", false, `^\[2026-03-04 05:06:07.089\]\[\d+\]\[warning\]\[upstream\] \[.*:\d+\] no host cluster=a b="c d"\n$`},
		{"%L%% %v", false, `^W% no host cluster=a b="c d"\n$`},
		{"%f %F", false, `^089000 089000000\n$`},
		{"%v", true, `^no host cluster=a b="c d"\n$`},
		{"%+", false, `^\[2026-03-04 05:06:07.089\] \[upstream\] \[warning\] no host`},
	} {
		var out bytes.Buffer
		h, err := newPatternHandler(&out, tt.pattern, tt.escaped)
		if err != nil {
			t.Fatal(err)
		}
		r := slog.NewRecord(at, slog.LevelWarn, "no host", 0)
		r.Add("b", "c d")
		if err := h.WithAttrs([]slog.Attr{slog.String("logger", "upstream"), slog.String("cluster", "a")}).Handle(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(tt.want).MatchString(out.String()) {
			t.Errorf("%q: %q does not match %q", tt.pattern, out.String(), tt.want)
		}
	}
	for _, bad := range []string{"%", "%Q"} {
		if _, err := newPatternHandler(nil, bad, false); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
