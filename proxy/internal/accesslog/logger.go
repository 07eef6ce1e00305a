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
	sink   Sink
	filter filter // nil: everything
}

// New compiles an access logger that writes to a file, and opens it. Errors name the logger and
// what is wrong with it.
func New(cfg *xdsresource.AccessLog, files *Files, workers int) (*Logger, error) {
	if cfg.Service != nil {
		return nil, fmt.Errorf("access log %q: writes to no file", cfg.Name)
	}
	return WithSink(cfg, func() (Sink, error) { return newFileSink(cfg, files, workers) })
}

// WithSink compiles an access logger over a sink.
func WithSink(cfg *xdsresource.AccessLog, open func() (Sink, error)) (*Logger, error) {
	l := &Logger{}
	fail := func(err error) (*Logger, error) { return nil, fmt.Errorf("access log %q: %w", cfg.Name, err) }
	var err error
	if cfg.Filter != nil {
		if l.filter, err = compileFilter(cfg.Filter); err != nil {
			return fail(fmt.Errorf("filter: %w", err))
		}
	}
	if l.sink, err = open(); err != nil {
		return fail(err)
	}
	return l, nil
}

// Log logs a stream, unless the filter says no. It runs on the worker whose number it is given.
func (l *Logger) Log(worker int, c *format.Context) {
	if l.filter != nil && !l.filter.pass(c) {
		return
	}
	l.sink.Log(worker, c)
}

// Close gives the logger's sink back. No stream may log any more.
func (l *Logger) Close() { l.sink.Close() }
