// Package log makes the *slog.Logger that programs pass to their parts.
//
// Lines look like Istio's: time, level, scope and message between tabs, then key=value pairs, so that tools and eyes used to those logs
// keep working. The scope is the attribute "scope" (Scope adds it), and each may have a level of its own. JSON lines come from log/slog itself.
// The package keeps no global logger; programs make one and pass it on. Standard library only; any package may import it.
package log

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
)

// ScopeKey is the attribute that names the part of the program a line comes from.
const ScopeKey = "scope"

// defaultScope stands where no scope was given, as in Istio.
const defaultScope = "default"

// Levels says from which level on lines are written; it may be changed while loggers use it. The zero value writes Info and above.
type Levels struct {
	v atomic.Pointer[levelSet]
}

type levelSet struct {
	all    slog.Level
	scopes map[string]slog.Level
}

// Set reads Istio's form: "info", or "default:info,ads:debug", where levels are debug, info, warn, error and none. Levels not named keep
// their value. On error nothing changes.
func (l *Levels) Set(spec string) error {
	next := levelSet{scopes: map[string]slog.Level{}}
	if old := l.v.Load(); old != nil {
		next.all = old.all
		maps.Copy(next.scopes, old.scopes)
	}
	for _, part := range strings.Split(spec, ",") {
		scope, name, ok := strings.Cut(strings.TrimSpace(part), ":")
		if !ok {
			scope, name = defaultScope, scope
		}
		level, err := parseLevel(name)
		if err != nil {
			return fmt.Errorf("log level %q: %w", part, err)
		}
		if scope == defaultScope || scope == "all" {
			next.all = level
		} else {
			next.scopes[scope] = level
		}
	}
	l.v.Store(&next)
	return nil
}

func parseLevel(name string) (slog.Level, error) {
	switch strings.ToLower(name) {
	case "trace", "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "error", "critical":
		return slog.LevelError, nil
	case "none", "off":
		return slog.LevelError + 100, nil
	default:
		return 0, fmt.Errorf("%q is none of debug, info, warn, error, none", name)
	}
}

func (l *Levels) level(scope string) slog.Level {
	set := l.v.Load()
	if set == nil {
		return slog.LevelInfo
	}
	if lv, ok := set.scopes[scope]; ok {
		return lv
	}
	return set.all
}

// New returns a logger that writes one line per record to w, in one Write. format is "text" or "" for Istio's form and "json".
func New(w io.Writer, levels *Levels, format string) (*slog.Logger, error) {
	out := &output{w: w}
	switch format {
	case "", "text":
		return slog.New(&handler{out: out, levels: levels, scope: defaultScope}), nil
	case "json":
		inner := slog.NewJSONHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})
		return slog.New(&handler{out: out, levels: levels, scope: defaultScope, json: inner}), nil
	default:
		return nil, fmt.Errorf("log format %q is not known: use text or json", format)
	}
}

// Scope returns a logger whose lines carry the scope.
func Scope(l *slog.Logger, scope string) *slog.Logger { return l.With(ScopeKey, scope) }

// output serialises writes of all handlers made by one New.
type output struct {
	mu sync.Mutex
	w  io.Writer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(p)
}

type handler struct {
	out    *output
	levels *Levels
	scope  string
	attrs  string // already printed, each with a leading blank
	group  string // prefix of keys, with its dot
	json   slog.Handler
}

func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.levels.level(h.scope)
}

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if h.json != nil {
		return h.json.Handle(ctx, r)
	}
	line := make([]byte, 0, 256)
	line = r.Time.UTC().AppendFormat(line, "2006-01-02T15:04:05.000000Z")
	line = append(line, '\t')
	line = append(line, strings.ToLower(r.Level.String())...)
	line = append(line, '\t')
	line = append(line, h.scope...)
	line = append(line, '\t')
	line = append(line, oneLine(r.Message)...)
	line = append(line, h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		line = appendAttr(line, h.group, a)
		return true
	})
	line = append(line, '\n')
	_, err := h.out.Write(line)
	return err
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	printed := []byte(h.attrs)
	for _, a := range attrs {
		if a.Key == ScopeKey && h.group == "" {
			next.scope = a.Value.String()
			continue
		}
		printed = appendAttr(printed, h.group, a)
	}
	next.attrs = string(printed)
	if h.json != nil {
		next.json = h.json.WithAttrs(attrs)
	}
	return &next
}

func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	next := *h
	next.group += name + "."
	if h.json != nil {
		next.json = h.json.WithGroup(name)
	}
	return &next
}

func appendAttr(dst []byte, group string, a slog.Attr) []byte {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, inner := range v.Group() {
			dst = appendAttr(dst, group, inner)
		}
		return dst
	}
	if a.Key == "" {
		return dst
	}
	dst = append(dst, ' ')
	dst = append(dst, group...)
	dst = append(dst, a.Key...)
	dst = append(dst, '=')
	if v.Kind() == slog.KindTime {
		return v.Time().UTC().AppendFormat(dst, time.RFC3339Nano)
	}
	return append(dst, quoteIfNeeded(v.String())...)
}

// quoteIfNeeded keeps one value one word, so that lines can be cut apart again.
func quoteIfNeeded(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r == ' ' || r == '"' || r == '=' || !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// oneLine keeps what came from outside from writing lines of its own.
func oneLine(s string) string {
	if !strings.ContainsFunc(s, unicode.IsControl) {
		return s
	}
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}
