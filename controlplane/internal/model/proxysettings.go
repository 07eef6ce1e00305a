package model

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/config/validate"
)

// ProxySettings are what ProxyConfig, the mesh's defaultConfig or a node's own (PROXY_CONFIG), says of headers and connections. Nil: nothing. The messages
// must not be changed.
// https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig
type ProxySettings struct {
	Headers     *meshconfig.ProxyConfig_ProxyHeaders
	Connections *meshconfig.ProxyConfig_ConnectionSettings
	// OutboundPort and InboundPort are where connections are redirected to, as the node says (LATEEN_CAPTURE_PORTS); 0: it does not.
	OutboundPort, InboundPort uint16
	// Key names a node's own; "" for none.
	Key string
}

// parseCapturePorts reads LATEEN_CAPTURE_PORTS, "OUTBOUND,INBOUND".
func (s *ProxySettings) parseCapturePorts(text string) error {
	if text == "" {
		return nil
	}
	out, in, _ := strings.Cut(text, ",")
	for _, p := range []struct {
		text string
		port *uint16
	}{{out, &s.OutboundPort}, {in, &s.InboundPort}} {
		n, err := strconv.ParseUint(p.text, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("LATEEN_CAPTURE_PORTS %q: want OUTBOUND,INBOUND", text)
		}
		*p.port = uint16(n)
	}
	s.Key += text
	return nil
}

// HeadersOf is what a proxy does with headers: as its node says, else the mesh. May be nil.
func (s *Snapshot) HeadersOf(p *Proxy) *meshconfig.ProxyConfig_ProxyHeaders {
	if p.Settings.Headers != nil {
		return p.Settings.Headers
	}
	return s.Mesh.Settings.Headers
}

// ConnectionsOf is how a proxy treats its connections: as its node says, else the mesh. Gateways have what the profile EDGE says where nothing else is said. May be nil.
func (s *Snapshot) ConnectionsOf(p *Proxy) *meshconfig.ProxyConfig_ConnectionSettings {
	c := p.Settings.Connections
	if c == nil {
		c = s.Mesh.Settings.Connections
	}
	if c.GetProfile() != meshconfig.ProxyConfig_ConnectionSettings_EDGE || p.Type != Router {
		return c
	}
	out := edgeProfile()
	proto.Merge(out, c)
	return out
}

// edgeProfile is what Envoy recommends for a proxy that anybody can reach
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/best_practices/edge), as Istio has it.
func edgeProfile() *meshconfig.ProxyConfig_ConnectionSettings {
	return &meshconfig.ProxyConfig_ConnectionSettings{
		ListenerPerConnectionBufferLimitBytes: wrapperspb.Int32(32 << 10),
		ClusterPerConnectionBufferLimitBytes:  wrapperspb.Int32(32 << 10),
		HttpIdleTimeout:                       durationpb.New(time.Hour),
		HttpStreamIdleTimeout:                 durationpb.New(5 * time.Minute),
		HttpRequestTimeout:                    durationpb.New(5 * time.Minute),
		HttpRequestHeadersTimeout:             durationpb.New(time.Minute),
		HttpMaxConcurrentStreams:              wrapperspb.Int32(100),
		Http2InitialStreamWindowSize:          wrapperspb.Int32(64 << 10),
		Http2InitialConnectionWindowSize:      wrapperspb.Int32(1 << 20),
		HttpHeadersWithUnderscoresAction:      meshconfig.ProxyConfig_ConnectionSettings_HEADERS_WITH_UNDERSCORES_REJECT_REQUEST,
		HttpMergeSlashes:                      wrapperspb.Bool(true),
		HttpPathWithEscapedSlashesAction:      meshconfig.ProxyConfig_ConnectionSettings_UNESCAPE_AND_REDIRECT,
	}
}

// parseSettings reads them from a node's own proxy configuration, as JSON-like values. Fields that are not known are another Istio's.
func parseSettings(config map[string]any) (ProxySettings, error) {
	own := map[string]any{}
	for _, name := range []string{"proxyHeaders", "connectionSettings"} {
		if v, ok := config[name]; ok {
			own[name] = v
		}
	}
	if len(own) == 0 {
		return ProxySettings{}, nil
	}
	text, err := json.Marshal(own) // with sorted keys
	if err != nil {
		return ProxySettings{}, err
	}
	var c meshconfig.ProxyConfig
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(text, &c); err != nil {
		return ProxySettings{}, err
	}
	if problems := validate.ConnectionSettings(c.ConnectionSettings); len(problems) > 0 {
		return ProxySettings{}, fmt.Errorf("%s: %s", problems[0].Field, problems[0].Text)
	}
	return ProxySettings{Headers: c.ProxyHeaders, Connections: c.ConnectionSettings, Key: string(text)}, nil
}
