package proxycmd

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/proxy"
)

// patternHandler writes logs in the form of --log-format: the conversions of spdlog
// (https://github.com/gabime/spdlog/wiki/3.-Custom-formatting) and Envoy's two own, %_ and %j.
type patternHandler struct {
	out     *sharedWriter
	steps   []patternStep
	name    string // of the component, as Envoy calls it
	attrs   string // already written, " key=value" each
	group   string
	escaped bool
}

// sharedWriter keeps lines whole.
type sharedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

type patternStep struct {
	text string
	verb byte // 0: literal
}

// patternVerbs are the conversions that are known. Alignment and colours (%^, %$) say nothing in
// a file; the colours are taken and left out.
const patternVerbs = "vtPnlLaAbBcCYDxmdHIMSefFEpRrTXzgs#!@+_j^$%"

func newPatternHandler(w io.Writer, pattern string, escaped bool) (*patternHandler, error) {
	h := &patternHandler{out: &sharedWriter{w: w}, escaped: escaped}
	lit := ""
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '%' {
			lit += pattern[i : i+1]
			continue
		}
		i++
		if i == len(pattern) {
			return nil, fmt.Errorf("--log-format %q: ends in a lone %%", pattern)
		}
		if strings.IndexByte(patternVerbs, pattern[i]) < 0 {
			return nil, fmt.Errorf("--log-format %q: %%%c is not supported", pattern, pattern[i])
		}
		if pattern[i] == '%' {
			lit += "%"
			continue
		}
		h.steps = append(h.steps, patternStep{text: lit}, patternStep{verb: pattern[i]})
		lit = ""
	}
	h.steps = append(h.steps, patternStep{text: lit})
	return h, nil
}

// Enabled lets everything through: levels are the proxy's.
func (h *patternHandler) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs keeps attributes; the component's name is one of them.
func (h *patternHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	for _, a := range attrs {
		if a.Key == "logger" && c.group == "" {
			c.name = a.Value.String()
			continue
		}
		c.attrs += c.attr(a)
	}
	return &c
}

// WithGroup prefixes the keys of what follows.
func (h *patternHandler) WithGroup(name string) slog.Handler {
	c := *h
	c.group += name + "."
	return &c
}

func (h *patternHandler) attr(a slog.Attr) string {
	v := a.Value.Resolve().String()
	if v == "" || strings.ContainsAny(v, " \"=\n\t") {
		v = strconv.Quote(v)
	}
	return " " + h.group + a.Key + "=" + v
}

// Handle writes a line.
func (h *patternHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	message := r.Message + h.attrs
	r.Attrs(func(a slog.Attr) bool { message += h.attr(a); return true })
	if h.escaped {
		q := strconv.Quote(message)
		message = strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
	}
	for _, s := range h.steps {
		if s.verb == 0 {
			b.WriteString(s.text)
			continue
		}
		b.WriteString(h.verb(s.verb, &r, message))
	}
	b.WriteByte('\n')
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	_, err := io.WriteString(h.out.w, b.String())
	return err
}

func (h *patternHandler) verb(v byte, r *slog.Record, message string) string {
	switch v {
	case 'v':
		return message
	case '_':
		return strings.ReplaceAll(message, "\n", `\n`)
	case 'j':
		q := strconv.Quote(message)
		return q[1 : len(q)-1]
	case 'n':
		return h.name
	case 'l':
		return proxy.LevelName(r.Level)
	case 'L':
		return strings.ToUpper(proxy.LevelName(r.Level)[:1])
	case 't', 'P':
		return strconv.Itoa(os.Getpid())
	case 'g', 's', '#', '!', '@':
		return source(v, r.PC)
	case '^', '$':
		return ""
	case '+':
		return fmt.Sprintf("[%s] [%s] [%s] %s", r.Time.Format("2006-01-02 15:04:05.000"), h.name, proxy.LevelName(r.Level), message)
	case 'E':
		return strconv.FormatInt(r.Time.Unix(), 10)
	case 'e':
		return fmt.Sprintf("%03d", r.Time.Nanosecond()/int(time.Millisecond))
	case 'f':
		return fmt.Sprintf("%06d", r.Time.Nanosecond()/int(time.Microsecond))
	case 'F':
		return fmt.Sprintf("%09d", r.Time.Nanosecond())
	}
	return r.Time.Format(patternLayouts[v])
}

// patternLayouts are the conversions that Go's time package knows.
var patternLayouts = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'c': "Mon Jan _2 15:04:05 2006", 'C': "06", 'Y': "2006",
	'D': "01/02/06", 'x': "01/02/06", 'm': "01", 'd': "02", 'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM",
	'R': "15:04", 'r': "03:04:05 PM", 'T': "15:04:05", 'X': "15:04:05", 'z': "-07:00",
}

func source(v byte, pc uintptr) string {
	f, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	switch v {
	case 'g':
		return f.File
	case 's':
		return filepath.Base(f.File)
	case '#':
		return strconv.Itoa(f.Line)
	case '!':
		return f.Function
	}
	return f.File + ":" + strconv.Itoa(f.Line)
}
