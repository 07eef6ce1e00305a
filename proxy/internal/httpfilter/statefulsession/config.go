package statefulsession

import (
	"net/http"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	sessionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	cookiev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/cookie/v3"
	envelopev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/envelope/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/header/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Config is a validated StatefulSession, or a StatefulSessionPerRoute.
type Config struct {
	session    session // nil: no session is kept
	strict     bool
	status     int // for a session whose host is gone, where strict
	statPrefix string
	disabled   bool // of a route
}

// ParseConfig reads the filter's own configuration. It returns a *Config.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &sessionv3.StatefulSession{}
	r := d.ReadFilter(Name, a, m)
	return parse(r, "", m), r.Err()
}

// ParseRouteConfig reads a StatefulSessionPerRoute.
func ParseRouteConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &sessionv3.StatefulSessionPerRoute{}
	r := d.ReadFilter(Name, a, m)
	if m.GetDisabled() {
		return &Config{disabled: true}, r.Err()
	}
	return parse(r, "stateful_session.", m.GetStatefulSession()), r.Err()
}

func parse(r *xdsresource.FilterReader, at string, m *sessionv3.StatefulSession) *Config {
	c := &Config{strict: m.GetStrict(), status: http.StatusServiceUnavailable, statPrefix: m.GetStatPrefix()}
	if s := m.GetStatusOnStrictDestinationNotFound(); s != 0 && c.strict {
		if s < 200 || s > 599 {
			r.Bad(at+"status_on_strict_destination_not_found", "%d is no status of a response", s)
		}
		c.status = int(s)
	}
	if s := m.GetSessionState(); s != nil {
		c.session = parseSession(r, at+"session_state.typed_config", s)
	}
	return c
}

func parseSession(r *xdsresource.FilterReader, path string, e *corev3.TypedExtensionConfig) session {
	switch kind := xdsresource.TypeName(e.GetTypedConfig()); kind {
	case "envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState":
		m := &cookiev3.CookieBasedSessionState{}
		if !r.Unpack(path, e.GetTypedConfig(), m) {
			return nil
		}
		k := m.GetCookie()
		s := &cookieSession{set: xdsresource.HashCookie{Name: k.GetName(), Path: k.GetPath()}}
		if k.GetTtl() != nil {
			ttl := r.Duration(path+".cookie.ttl", k.GetTtl(), 0).Truncate(time.Second)
			s.set.TTL = &ttl
		}
		for _, a := range k.GetAttributes() {
			s.set.Attributes = append(s.set.Attributes, xdsresource.HashCookieAttribute{Name: a.GetName(), Value: a.GetValue()})
		}
		if k.GetName() == "" {
			r.Bad(path+".cookie.name", "is required")
		}
		return s
	case "envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState":
		m := &headerv3.HeaderBasedSessionState{}
		if !r.Unpack(path, e.GetTypedConfig(), m) {
			return nil
		}
		return &headerSession{header.KeyOf(m.GetName())}
	case "envoy.extensions.http.stateful_session.envelope.v3.EnvelopeSessionState":
		m := &envelopev3.EnvelopeSessionState{}
		if !r.Unpack(path, e.GetTypedConfig(), m) {
			return nil
		}
		return &envelopeSession{header.KeyOf(m.GetHeader().GetName())}
	default:
		r.Bad(path, "session state %q is not supported", kind)
	}
	return nil
}

// override is what a session asks of the balancer.
func (c *Config) override(address string) streaminfo.HostOverride {
	return streaminfo.HostOverride{Address: address, Strict: c.strict, MissingStatus: c.status}
}
