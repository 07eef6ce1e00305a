package validate

import (
	"math"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	mesh "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/config/internal/field"
)

// ConnectionSettings returns what of a ProxyConfig's connectionSettings no proxy would take, with fields from the ProxyConfig.
func ConnectionSettings(s *mesh.ProxyConfig_ConnectionSettings) []Problem {
	c := &checker{}
	c.connectionSettings((*field.Path)(nil).Child("connectionSettings"), s)
	return c.problems
}

func (c *checker) connectionSettings(at *field.Path, s *mesh.ProxyConfig_ConnectionSettings) {
	number := func(name string, v *wrapperspb.Int32Value, least int32) {
		if v != nil && v.Value < least {
			c.add(at.Child(name), "%d is too small; the least is %d", v.Value, least)
		}
	}
	number("listenerPerConnectionBufferLimitBytes", s.GetListenerPerConnectionBufferLimitBytes(), 1)
	number("clusterPerConnectionBufferLimitBytes", s.GetClusterPerConnectionBufferLimitBytes(), 1)
	number("httpMaxConcurrentStreams", s.GetHttpMaxConcurrentStreams(), 1)
	number("http2InitialStreamWindowSize", s.GetHttp2InitialStreamWindowSize(), math.MaxUint16)
	number("http2InitialConnectionWindowSize", s.GetHttp2InitialConnectionWindowSize(), math.MaxUint16)
	number("listenerConnectionLimit", s.GetListenerConnectionLimit(), 1)
	number("globalDownstreamConnectionLimit", s.GetGlobalDownstreamConnectionLimit(), 1)
	for _, d := range []struct {
		name  string
		value *durationpb.Duration
	}{
		{"httpIdleTimeout", s.GetHttpIdleTimeout()}, {"httpMaxConnectionDuration", s.GetHttpMaxConnectionDuration()}, {"httpDrainTimeout", s.GetHttpDrainTimeout()},
		{"httpRequestTimeout", s.GetHttpRequestTimeout()}, {"httpRequestHeadersTimeout", s.GetHttpRequestHeadersTimeout()},
		{"httpStreamIdleTimeout", s.GetHttpStreamIdleTimeout()}, {"httpMaxStreamDuration", s.GetHttpMaxStreamDuration()},
	} {
		c.duration(at.Child(d.name), d.value, notNegative)
	}
}
