package fault

import (
	"cmp"
	"math"
	"time"

	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/runtimekey"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Config is a validated fault.v3.HTTPFault.
type Config struct {
	Delay *Delay // nil: none
	Abort *Abort // nil: none
	Rate  *Rate  // nil: none
	// Headers must all match for a request to be concerned; none: every request is.
	Headers []xdsresource.HeaderMatcher
	// UpstreamCluster limits faults to requests for this cluster; "": all.
	UpstreamCluster string
	// MaxActive bounds the faults of this filter in progress at once; 0: no bound. MaxActiveKey
	// overrides it.
	MaxActive    int64
	MaxActiveKey *runtimekey.Key

	// DownstreamNodes limits faults to requests that name one of them in x-envoy-downstream-service-node; nil: all.
	DownstreamNodes map[string]bool
	// Metadata becomes dynamic metadata, under the filter's name, of requests that are delayed or aborted.
	Metadata map[string]any

	matchers []route.HeaderMatcher
}

// Delay holds a share of the requests back.
type Delay struct {
	Fixed      time.Duration
	FixedKey   *runtimekey.Key // overrides Fixed, in milliseconds
	FromHeader bool            // x-envoy-fault-delay-request, in milliseconds, instead of Fixed
	Percent    xdsresource.FractionalPercent
}

// Rate slows a share of the answers down.
type Rate struct {
	Fixed      uint64 // KiB a second
	FromHeader bool   // x-envoy-fault-throughput-response, in KiB a second, instead of Fixed
	Percent    xdsresource.FractionalPercent
}

// Abort answers a share of the requests with an error.
type Abort struct {
	Status     int             // HTTP status; 0 with GRPC or FromHeader
	GRPC       *int            // gRPC status instead, nil for none
	StatusKey  *runtimekey.Key // overrides Status, or GRPC
	FromHeader bool            // x-envoy-fault-abort-request
	Body       string          // "": "fault filter abort"
	Percent    xdsresource.FractionalPercent
}

// any reports whether there is a fault to inject at all.
func (c *Config) any() bool { return c.Delay != nil || c.Abort != nil || c.Rate != nil }

// status is the HTTP status; what is none in the runtime does not count.
func (a *Abort) status() int {
	if n := a.StatusKey.Uint(uint64(a.Status)); a.GRPC == nil && n >= 200 && n < 600 {
		return int(n)
	}
	return a.Status
}

// grpc is the gRPC status; nil for none.
func (a *Abort) grpc() *int {
	if n := a.StatusKey.Uint(math.MaxUint64); a.GRPC != nil && n <= math.MaxInt32 {
		code := int(n)
		return &code
	}
	return a.GRPC
}

func (c *Config) mostActive() uint64 {
	if c.MaxActive > 0 {
		return uint64(c.MaxActive)
	}
	return math.MaxInt64
}

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
		c.Abort = &Abort{Body: b.GetResponseBody()}
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
	if l := m.GetResponseRateLimit(); l != nil {
		c.Rate = &Rate{Fixed: l.GetFixedLimit().GetLimitKbps(), FromHeader: l.GetHeaderLimit() != nil}
		if p := r.Fraction("response_rate_limit.percentage", l.GetPercentage()); p != nil {
			c.Rate.Percent = *p
		}
		c.Rate.Percent.Denominator = max(c.Rate.Percent.Denominator, 100)
		c.Rate.Percent.Key = key(m.GetResponseRateLimitPercentRuntime(), "rate_limit.response_percent")
	}
	for _, n := range m.GetDownstreamNodes() {
		if c.DownstreamNodes == nil {
			c.DownstreamNodes = map[string]bool{}
		}
		c.DownstreamNodes[n] = true
	}
	if md := m.GetFilterMetadata(); md != nil {
		c.Metadata = md.AsMap()
	}
	for i := range c.Headers {
		c.matchers = append(c.matchers, route.NewHeaderMatcher(&c.Headers[i]))
	}
	return c, r.Err()
}
