package router

import (
	"slices"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.http.router"

// Config is a validated router.v3.Router. The zero value is Envoy's default.
type Config struct {
	// SuppressEnvoyHeaders leaves out x-envoy-upstream-service-time, x-envoy-expected-rq-timeout-ms and the like.
	SuppressEnvoyHeaders bool
	// NoDynamicStats (dynamic_stats: false) leaves out what clusters count by response code, and the times of requests.
	NoDynamicStats bool
	// NoGRPCCodeStats (suppress_grpc_request_failure_code_stats) leaves out what is counted by the response code of calls of gRPC.
	NoGRPCCodeStats bool
	// RespectExpected takes the time-out from x-envoy-expected-rq-timeout-ms, which the proxy before this one has set.
	RespectExpected bool
	// ChildSpans (start_child_span, deprecated): calls upstream have spans of their own, whatever the connection manager says.
	ChildSpans bool
	// UpstreamLogs get an entry for each attempt; LogOnStart and LogInterval are as in Logs.
	UpstreamLogs []xdsresource.AccessLog
	LogOnStart   bool
	LogInterval  time.Duration
	// Strict are headers for the router whose values must be well-formed; a request with another one is refused.
	Strict []StrictHeader
}

// StrictHeader is one of strict_check_headers.
type StrictHeader struct {
	Key   header.Key
	valid func(value string) bool
}

// NewStrictHeader returns the check of a header by its name: lists of conditions for x-envoy-retry-on and
// x-envoy-retry-grpc-on, a number for the others.
func NewStrictHeader(name string) StrictHeader {
	s := StrictHeader{Key: header.KeyOf(name), valid: isNumber}
	switch s.Key.ID {
	case header.XEnvoyRetryOn:
		s.valid = retryWords(false)
	case header.XEnvoyRetryGRPCOn:
		s.valid = retryWords(true)
	}
	return s
}

func isNumber(v string) bool {
	_, ok := milliseconds([]byte(strings.TrimSpace(v)))
	return ok
}

// retryWords takes lists of conditions: those of gRPC, or the others.
func retryWords(grpc bool) func(string) bool {
	return func(v string) bool {
		on, unknown := xdsresource.ParseRetryOn(v)
		return len(unknown) == 0 && (on&xdsresource.RetryOnGRPC == 0 || grpc) && (on&^xdsresource.RetryOnGRPC == 0 || !grpc)
	}
}

// malformed returns the first header that the configuration wants to be well-formed, and is not.
func (c *Config) malformed(h *header.Map) *StrictHeader {
	i := slices.IndexFunc(c.Strict, func(s StrictHeader) bool {
		v, ok := h.GetKey(s.Key)
		return ok && !s.valid(string(v))
	})
	if i < 0 {
		return nil
	}
	return &c.Strict[i]
}
