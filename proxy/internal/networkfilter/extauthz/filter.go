// Package extauthz is the network filter envoy.filters.network.ext_authz: it asks a service over gRPC
// whether a connection may be served, and holds it until there is an answer.
//
// The service is asked when the connection is there, after the TLS handshake, so that nothing
// passes in either direction before it has agreed. Envoy asks at the client's first byte, and what
// an upstream says before that reaches the client unasked. While the service thinks nothing is read,
// and a client that breaks off ends the call.
//
// What the service is told of the connection, and the call, are package extauthz of the data path.
// Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/listeners/network_filters/ext_authz_filter
package extauthz

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/ext_authz/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/proxy/internal/asyncclient"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/extauthz"
	"github.com/lateen-mesh/lateen/proxy/internal/listener"
	"github.com/lateen-mesh/lateen/proxy/internal/networkfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Name is the filter's canonical name, and that of its dynamic metadata.
const Name = "envoy.filters.network.ext_authz"

// defaultTimeout is how long the service may take where nothing is configured.
const defaultTimeout = 200 * time.Millisecond

// Config is a validated ext_authz.v3.ExtAuthz of a network filter.
type Config struct {
	StatPrefix              string
	Service                 xdsresource.GRPCTarget
	FailureAllow            bool                         // failure_mode_allow
	Certificate, TLSSession bool                         // include_peer_certificate, include_tls_session
	Enabled                 *xdsresource.MetadataMatcher // filter_enabled_metadata; nil: always
	LabelsKey               string                       // bootstrap_metadata_labels_key
	Metadata                []string                     // metadata_context_namespaces
}

// ParseConfig reads the configuration. It returns a *Config.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &extauthzv3.ExtAuthz{}
	r := d.ReadFilter(Name, a, m)
	c := &Config{
		StatPrefix: m.GetStatPrefix(), FailureAllow: m.GetFailureModeAllow(), Certificate: m.GetIncludePeerCertificate(),
		TLSSession: m.GetIncludeTlsSession(), LabelsKey: m.GetBootstrapMetadataLabelsKey(), Metadata: m.GetMetadataContextNamespaces(),
	}
	if m.GetTransportApiVersion() != corev3.ApiVersion_V3 {
		r.Bad("transport_api_version", "must be V3")
	}
	if m.GetGrpcService() == nil {
		r.Bad("grpc_service", "is required")
	} else if c.Service = r.GRPCTarget("grpc_service", m.GetGrpcService()); m.GetGrpcService().GetTimeout() == nil {
		c.Service.Timeout = defaultTimeout
	}
	if f := m.GetFilterEnabledMetadata(); f != nil {
		mm := r.MetadataMatcher("filter_enabled_metadata", f)
		c.Enabled = &mm
	}
	return c, r.Err()
}

// Deps is what a filter works with.
type Deps struct {
	Clients *asyncclient.Clients
	Stats   *stats.Store
	// Node is the node's metadata, of which bootstrap_metadata_labels_key names a part.
	Node *structpb.Struct
}

// New makes the filter.
func New(cfg any, d Deps) networkfilter.Filter {
	c := cfg.(*Config)
	return &filter{
		Config: c, deps: d, labels: extauthz.Labels(d.Node, c.LabelsKey),
		stats: d.Stats.Scope("ext_authz").Scope(c.StatPrefix).Block(statSet),
	}
}

// Statistics, "ext_authz.<stat_prefix>.*", in the order of statSet.
const (
	total = iota
	ok
	denied
	failed
	failureAllowed
	disabled
	cxClosed
	active // a gauge
)

var statSet = stats.NewSet(
	stats.Item{Name: "total"}, stats.Item{Name: "ok"}, stats.Item{Name: "denied"}, stats.Item{Name: "error"},
	stats.Item{Name: "failure_mode_allowed"}, stats.Item{Name: "disabled"}, stats.Item{Name: "cx_closed"},
	stats.Item{Name: "active", Kind: stats.KindGauge},
)

type filter struct {
	*Config
	deps   Deps
	labels map[string]string
	stats  stats.Block
}

// OnNewConnection implements networkfilter.Filter; a Holder's is not called.
func (f *filter) OnNewConnection(*conn.Conn, *listener.Context) bool { return true }

// HoldConnection implements networkfilter.Holder.
func (f *filter) HoldConnection(c *conn.Conn, _ *listener.Context, proceed func()) {
	shard := f.deps.Stats.Shard(c.Loop().ID())
	info := c.Info()
	if f.Enabled != nil && !f.Enabled.Match(info.Metadata) {
		shard.Inc(f.stats.Counter(disabled))
		proceed()
		return
	}
	h := &held{f: f, shard: shard, asked: c.Loop().Now()}
	h.Hold(c, proceed, h.over)
	h.inc(total)
	shard.GaugeAdd(f.stats.Gauge(active), 1)
	cancel, err := extauthz.Check(f.deps.Clients.On(c.Loop()), &f.Service, f.request(info), nil, h.answered)
	if err != nil {
		h.answered(nil)
		return
	}
	h.Await(cancel)
}

// request is what the service is told.
func (f *filter) request(info *conn.Info) *authv3.CheckRequest {
	a := &authv3.AttributeContext{Source: extauthz.Source(info, f.Certificate), Destination: extauthz.Destination(info, f.labels)}
	a.Destination.Service = extauthz.UTF8(info.SNI)
	if f.TLSSession {
		a.TlsSession = extauthz.TLSSession(info)
	}
	a.MetadataContext = extauthz.MetadataContext(f.Metadata, info.Metadata, nil)
	return &authv3.CheckRequest{Attributes: a}
}

// held is a connection that waits.
type held struct {
	networkfilter.Held
	f     *filter
	shard *stats.Shard
	asked int64
}

func (h *held) inc(i int) { h.shard.Inc(h.f.stats.Counter(i)) }

// answered serves the connection, or closes it. nil is no answer.
func (h *held) answered(r *authv3.CheckResponse) {
	h.Answered()
	info := h.Conn().Info()
	for k, v := range r.GetDynamicMetadata().AsMap() {
		info.SetMetadata(Name, k, v)
	}
	switch {
	case r != nil && r.GetStatus().GetCode() == 0:
		h.inc(ok)
		if r.GetDynamicMetadata() != nil {
			info.SetMetadata(Name, "ext_authz_duration", float64((h.Conn().Loop().Now()-h.asked)/int64(time.Millisecond)))
		}
	case r == nil || r.GetErrorResponse() != nil:
		h.inc(failed)
		if !h.f.FailureAllow {
			h.refuse()
			return
		}
		h.inc(failureAllowed)
	default:
		h.inc(denied)
		h.refuse()
		return
	}
	h.Proceed()
}

func (h *held) refuse() {
	h.inc(cxClosed)
	networkfilter.Refuse(h.Conn(), 0)
}

// over ends the waiting.
func (h *held) over() { h.shard.GaugeAdd(h.f.stats.Gauge(active), -1) }
