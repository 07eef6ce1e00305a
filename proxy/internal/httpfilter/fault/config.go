package fault

import (
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// ParseConfig reads a fault.v3.HTTPFault, for a filter chain or a route. It returns a *Config.
func ParseConfig(a *anypb.Any) (any, error) {
	m := &faultv3.HTTPFault{}
	r := xdsresource.ReadFilter(Name, a, m)
	if err := r.Err(); err != nil {
		return nil, err
	}
	c := &Config{
		Headers:         r.HeaderMatchers("headers", m.GetHeaders()),
		UpstreamCluster: m.GetUpstreamCluster(),
		MaxActive:       int64(m.GetMaxActiveFaults().GetValue()),
	}
	if d := m.GetDelay(); d != nil {
		c.Delay = &Delay{Fixed: d.GetFixedDelay().AsDuration()}
		_, c.Delay.FromHeader = d.GetFaultDelaySecifier().(*commonv3.FaultDelay_HeaderDelay_)
		if p := r.Fraction("delay.percentage", d.GetPercentage()); p != nil {
			c.Delay.Percent = *p
		}
	}
	if b := m.GetAbort(); b != nil {
		c.Abort = &Abort{}
		switch t := b.GetErrorType().(type) {
		case *faultv3.FaultAbort_HttpStatus:
			c.Abort.Status = int(t.HttpStatus)
		case *faultv3.FaultAbort_GrpcStatus:
			code := int(t.GrpcStatus)
			c.Abort.GRPC = &code
		case *faultv3.FaultAbort_HeaderAbort_:
			c.Abort.FromHeader = true
		}
		if p := r.Fraction("abort.percentage", b.GetPercentage()); p != nil {
			c.Abort.Percent = *p
		}
	}
	for i := range c.Headers {
		c.matchers = append(c.matchers, route.NewHeaderMatcher(&c.Headers[i]))
	}
	return c, r.Err()
}
