package server

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

// Levels are the log levels of the proxy's components, changed while it runs (admin API
// /logging). The components are Envoy's loggers, so that scripts which turn one up find it;
// those that this proxy has no use for are there and stay silent.
type Levels struct {
	base   slog.Handler
	levels map[string]*slog.LevelVar
	names  []string
}

// Levels beside slog's own. Envoy has trace below debug and critical above error.
const (
	LevelTrace    = slog.LevelDebug - 4
	LevelCritical = slog.LevelError + 4
	LevelOff      = slog.LevelError + 8
)

// Loggers of Envoy, in its order.
var loggerNames = strings.Fields(`admin alternate_protocols_cache assert aws backtrace basic_auth cache_filter client
	compression config connection conn_handler decompression dns dynamic_modules ecds envoy_bug ext_authz ext_proc file
	filter forward_proxy geolocation golang grpc happy_eyeballs hc health_checker http http2 http3 hystrix init io jwt
	kafka key_value_store lua main matcher misc mongo multi_connection oauth2 pool quic quic_stream rate_limit_quota
	rbac rds redis router runtime secret stats stats_sinks tap tcp testing thrift tracing udp upstream wasm websocket`)

// NewLevels returns levels over a handler. The handler itself must let everything through.
func NewLevels(base slog.Handler, initial slog.Level) *Levels {
	l := &Levels{base: base, levels: map[string]*slog.LevelVar{}, names: slices.Sorted(slices.Values(loggerNames))}
	for _, n := range l.names {
		v := &slog.LevelVar{}
		v.Set(initial)
		l.levels[n] = v
	}
	return l
}

// Logger returns the logger of a component, one of Envoy's names.
func (l *Levels) Logger(name string) *slog.Logger {
	v := l.levels[name]
	if v == nil {
		panic("BUG: no logger is called " + name)
	}
	return slog.New(&leveled{l.base.WithAttrs([]slog.Attr{slog.String("logger", name)}), v})
}

// Each calls f for every component in order of name.
func (l *Levels) Each(f func(name, level string)) {
	for _, n := range l.names {
		f(n, LevelName(l.levels[n].Level()))
	}
}

// Set changes one component's level, or all with an empty name.
func (l *Levels) Set(name, level string) error {
	lv, err := ParseLevel(level)
	if err != nil {
		return err
	}
	if name == "" {
		for _, v := range l.levels {
			v.Set(lv)
		}
		return nil
	}
	v := l.levels[name]
	if v == nil {
		return fmt.Errorf("no logger is called %q", name)
	}
	v.Set(lv)
	return nil
}

// SetList changes several components: "upstream:debug,http:trace". Empty changes nothing.
func (l *Levels) SetList(list string) error {
	if list == "" {
		return nil
	}
	for pair := range strings.SplitSeq(list, ",") {
		name, level, ok := strings.Cut(pair, ":")
		if !ok || name == "" {
			return fmt.Errorf("%q: want NAME:LEVEL", pair)
		}
		if err := l.Set(name, level); err != nil {
			return err
		}
	}
	return nil
}

// ParseLevel reads one of Envoy's level names.
func ParseLevel(s string) (slog.Level, error) {
	switch s {
	case "trace":
		return LevelTrace, nil
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warning", "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	case "critical":
		return LevelCritical, nil
	case "off":
		return LevelOff, nil
	}
	return 0, fmt.Errorf("%q is no log level: use trace, debug, info, warning, error, critical or off", s)
}

// LevelName is the opposite of ParseLevel.
func LevelName(l slog.Level) string {
	switch {
	case l < slog.LevelDebug:
		return "trace"
	case l < slog.LevelInfo:
		return "debug"
	case l < slog.LevelWarn:
		return "info"
	case l < slog.LevelError:
		return "warning"
	case l < LevelCritical:
		return "error"
	case l < LevelOff:
		return "critical"
	}
	return "off"
}

// leveled is a handler with a level of its own.
type leveled struct {
	slog.Handler
	level *slog.LevelVar
}

func (h *leveled) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

func (h *leveled) WithAttrs(a []slog.Attr) slog.Handler {
	return &leveled{h.Handler.WithAttrs(a), h.level}
}

func (h *leveled) WithGroup(name string) slog.Handler {
	return &leveled{h.Handler.WithGroup(name), h.level}
}
