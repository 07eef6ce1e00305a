package accesslog

import (
	"fmt"

	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// EnvoyFormat is Envoy's default format, used where a configuration names none.
const EnvoyFormat = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" ` +
	`%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ` +
	`%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" ` +
	`"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"` + "\n"

// Logger is one compiled access logger, shared by the workers.
type Logger struct {
	file    *File
	filter  filter // nil: everything
	text    *format.Formatter
	omit    bool
	json    *format.JSON
	scratch [][]byte // by worker
}

// New compiles an access logger and opens its file. Errors name the logger and what is wrong
// with it.
func New(cfg *xdsresource.AccessLog, files *Files, workers int) (*Logger, error) {
	l := &Logger{scratch: make([][]byte, workers), omit: cfg.OmitEmptyValues}
	fail := func(err error) (*Logger, error) { return nil, fmt.Errorf("access log %q: %w", cfg.Name, err) }
	var err error
	if cfg.Filter != nil {
		if l.filter, err = compileFilter(cfg.Filter); err != nil {
			return fail(fmt.Errorf("filter: %w", err))
		}
	}
	if cfg.JSON != nil {
		if l.json, err = format.CompileJSON(cfg.JSON, cfg.TypedJSON, cfg.OmitEmptyValues); err != nil {
			return fail(err)
		}
	} else {
		text := cfg.Text
		if text == "" {
			text = EnvoyFormat
		}
		if l.text, err = format.Compile(text); err != nil {
			return fail(err)
		}
	}
	if l.file, err = files.Open(cfg.Path); err != nil {
		return fail(err)
	}
	return l, nil
}

// Log writes a line for a stream, unless the filter says no. It runs on the worker whose
// number it is given.
func (l *Logger) Log(worker int, c *format.Context) {
	if l.filter != nil && !l.filter.pass(c) {
		return
	}
	b := l.scratch[worker][:0]
	switch {
	case l.json != nil:
		b = append(l.json.Append(b, c), '\n')
	case l.omit:
		b = l.text.AppendOrEmpty(b, c)
	default:
		b = l.text.Append(b, c)
	}
	l.scratch[worker] = b
	l.file.Write(b)
}

// Close gives the logger's file back. No stream may log any more.
func (l *Logger) Close() { l.file.Close() }
