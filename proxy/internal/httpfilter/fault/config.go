package fault

import (
	"cmp"

	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/runtimekey"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// ParseConfig reads a fault.v3.HTTPFault, for a filter chain or a route. It returns a *Config.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &faultv3.HTTPFault{}
	r := d.ReadFilter(Name, a, m)
	if err := r.Err(); err != nil {
		return nil, err
	}
	c := &Config{
		Headers:         r.HeaderMatchers("headers", m.GetHeaders()),
		UpstreamCluster: m.GetUpstreamCluster(),
		MaxActive:       int64(m.GetMaxActiveFaults().GetValue()),
	}
	key := func(own, def string) *runtimekey.Key { return r.RuntimeKey(cmp.Or(own, "fault.http."+def)) }
	c.MaxActiveKey = key(m.GetMaxActiveFaultsRuntime(), "max_active_faults")
	if d := m.GetDelay(); d != nil {
		c.Delay = &Delay{Fixed: d.GetFixedDelay().AsDuration(), FixedKey: key(m.GetDelayDurationRuntime(), "delay.fixed_duration_ms")}
		_, c.Delay.FromHeader = d.GetFaultDelaySecifier().(*commonv3.FaultDelay_HeaderDelay_)
		if p := r.Fraction("delay.percentage", d.GetPercentage()); p != nil {
			c.Delay.Percent = *p
		}
		c.Delay.Percent.Denominator = max(c.Delay.Percent.Denominator, 100)
		c.Delay.Percent.Key = key(m.GetDelayPercentRuntime(), "delay.fixed_delay_percent")
	}
	if b := m.GetAbort(); b != nil {
		c.Abort = &Abort{}
		switch t := b.GetErrorType().(type) {
		case *faultv3.FaultAbort_HttpStatus:
			c.Abort.Status, c.Abort.StatusKey = int(t.HttpStatus), key(m.GetAbortHttpStatusRuntime(), "abort.http_status")
		case *faultv3.FaultAbort_GrpcStatus:
			code := int(t.GrpcStatus)
			c.Abort.GRPC, c.Abort.StatusKey = &code, key(m.GetAbortGrpcStatusRuntime(), "abort.grpc_status")
		case *faultv3.FaultAbort_HeaderAbort_:
			c.Abort.FromHeader = true
		}
		if p := r.Fraction("abort.percentage", b.GetPercentage()); p != nil {
			c.Abort.Percent = *p
		}
		c.Abort.Percent.Denominator = max(c.Abort.Percent.Denominator, 100)
		c.Abort.Percent.Key = key(m.GetAbortPercentRuntime(), "abort.abort_percent")
	}
	for i := range c.Headers {
		c.matchers = append(c.matchers, route.NewHeaderMatcher(&c.Headers[i]))
	}
	return c, r.Err()
}
