package log

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

func TestTextForm(t *testing.T) {
	var buf bytes.Buffer
	var levels Levels
	l, err := New(&buf, &levels, "text")
	if err != nil {
		t.Fatal(err)
	}
	Scope(l, "ads").With("proxy", "web-1.shop").Info("push\nforged\tline", "err", errors.New("no route"), slog.Group("n", "a", 1))
	l.Debug("hidden")
	time, rest, _ := strings.Cut(buf.String(), "\t")
	if len(time) != len("2006-01-02T15:04:05.000000Z") {
		t.Errorf("time is %q", time)
	}
	want := "info\tads\tpush\\nforged\\tline proxy=web-1.shop err=\"no route\" n.a=1\n"
	if rest != want {
		t.Errorf("line is\n%q, want\n%q", rest, want)
	}
}

func TestLevels(t *testing.T) {
	var buf bytes.Buffer
	var levels Levels
	l, _ := New(&buf, &levels, "")
	if err := levels.Set("default:error,ads:debug"); err != nil {
		t.Fatal(err)
	}
	l.Info("no")
	Scope(l, "ads").Debug("yes")
	Scope(l, "ca").Warn("no")
	if n := strings.Count(buf.String(), "\n"); n != 1 || !strings.Contains(buf.String(), "yes") {
		t.Errorf("got %q", buf.String())
	}
	if err := levels.Set("ads:loud"); err == nil {
		t.Error("an unknown level was taken")
	}
	if err := levels.Set("none"); err != nil {
		t.Fatal(err)
	}
	buf.Reset()
	l.Error("no")
	if buf.Len() != 0 {
		t.Errorf("level none wrote %q", buf.String())
	}
}

func TestJSON(t *testing.T) {
	var buf bytes.Buffer
	l, _ := New(&buf, &Levels{}, "json")
	Scope(l, "ca").Info("root made", "days", 3650)
	var got map[string]any
	if err := json.Unmarshal(buf.Bytes(), &got); err != nil || got["scope"] != "ca" || got["msg"] != "root made" {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := New(&buf, &Levels{}, "xml"); err == nil {
		t.Error("an unknown format was taken")
	}
}
