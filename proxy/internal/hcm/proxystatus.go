package hcm

import (
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// proxyError is an error type of Proxy-Status (RFC 9209, section 2.3), with the status that the RFC recommends for it.
type proxyError struct {
	name string
	code int
}

// proxyErrors says which error a response flag stands for, as Envoy does: the first in this order of those that a stream has.
var proxyErrors = [...]struct {
	flag streaminfo.Flags
	err  proxyError
}{
	{streaminfo.FailedLocalHealthCheck, proxyError{"destination_unavailable", 503}},
	{streaminfo.NoHealthyUpstream, proxyError{"destination_unavailable", 503}},
	{streaminfo.UpstreamRequestTimeout, proxyError{"http_response_timeout", 504}},
	{streaminfo.LocalReset, proxyError{"connection_timeout", 504}},
	{streaminfo.UpstreamRemoteReset, proxyError{"connection_terminated", 502}},
	{streaminfo.UpstreamConnectionFailure, proxyError{"connection_refused", 502}},
	{streaminfo.UpstreamConnectionTermination, proxyError{"connection_terminated", 502}},
	{streaminfo.UpstreamOverflow, proxyError{"connection_limit_reached", 503}},
	{streaminfo.NoRouteFound, proxyError{"destination_not_found", 500}},
	{streaminfo.RateLimited, proxyError{"connection_limit_reached", 503}},
	{streaminfo.RateLimitServiceError, proxyError{"connection_limit_reached", 503}},
	{streaminfo.UpstreamRetryLimitExceeded, proxyError{"destination_unavailable", 503}},
	{streaminfo.StreamIdleTimeout, proxyError{"http_response_timeout", 504}},
	{streaminfo.InvalidEnvoyRequestHeaders, proxyError{"http_request_error", 400}},
	{streaminfo.DownstreamProtocolError, proxyError{"http_request_error", 400}},
	{streaminfo.UpstreamMaxStreamDurationReached, proxyError{"http_response_timeout", 504}},
	{streaminfo.NoFilterConfigFound, proxyError{"proxy_configuration_error", 500}},
	{streaminfo.UpstreamProtocolError, proxyError{"http_protocol_error", 502}},
	{streaminfo.NoClusterFound, proxyError{"destination_unavailable", 503}},
	{streaminfo.DNSResolutionFailed, proxyError{"dns_error", 502}},
}

// proxyName is the name by which the header knows this proxy.
func proxyName(cfg *xdsresource.HTTPConnectionManager, d *Deps) string {
	switch c := cfg.ProxyStatus; {
	case c == nil:
		return ""
	case c.NodeID:
		return d.NodeID
	case c.Name != "":
		return c.Name
	}
	return cfg.ServerName
}

// proxyStatus adds Proxy-Status to an answer that is an error of ours, or of the way to a host.
func (s *stream) proxyStatus(h *header.Map) {
	cfg := s.w.m.cfg.ProxyStatus
	for i := range proxyErrors {
		e := &proxyErrors[i]
		if s.info.Flags&e.flag == 0 {
			continue
		}
		old, _ := h.GetKey(proxyStatusKey)
		b := h.Build()
		if len(old) > 0 {
			b = append(append(b, old...), ", "...)
		}
		b = append(append(append(b, s.w.m.proxyName...), "; error="...), e.err.name...)
		if !cfg.NoDetails && s.info.Details != "" {
			b = append(append(append(b, `; details="`...), s.proxyDetails(cfg)...), '"')
		}
		h.SetBuilt(proxyStatusKey, b)
		if cfg.SetsCode {
			h.SetBuilt(header.Key{ID: header.Status}, strconv.AppendInt(h.Build(), int64(e.err.code), 10))
			s.code = e.err.code
			s.info.ResponseCode = s.code
		}
		return
	}
}

// proxyDetails are more words on an error; what would end the quoted string is escaped (RFC 8941, 3.3.3).
func (s *stream) proxyDetails(cfg *xdsresource.ProxyStatus) string {
	parts := []string{s.info.Details}
	if t := s.info.TerminationDetails; t != "" && !cfg.NoTermination {
		parts = append(parts, t)
	}
	if !cfg.NoFlags {
		parts = append(parts, string(s.info.AppendFlags(nil)))
	}
	return quotedEscapes.Replace(strings.Join(parts, "; "))
}

var (
	proxyStatusKey = header.KeyOf("proxy-status")
	quotedEscapes  = strings.NewReplacer(`\`, `\\`, `"`, `\"`)
)
