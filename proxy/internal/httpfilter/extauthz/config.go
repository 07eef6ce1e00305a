package extauthz

import (
	"fmt"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/proxy/internal/asyncclient"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Name is the filter's canonical name, and that of its dynamic metadata.
const Name = "envoy.filters.http.ext_authz"

// defaultTimeout is how long a service may take where nothing is configured.
const defaultTimeout = 200 * time.Millisecond

// Config is a validated ext_authz.v3.ExtAuthz.
type Config struct {
	service                 service
	body                    *bodyRules // nil: the body is not sent
	failureAllow            bool       // failure_mode_allow
	failureHeader           bool       // failure_mode_allow_header_add
	errorStatus             int        // status_on_error
	clearRoute              bool
	validate                bool // validate_mutations
	metadata, routeMetadata []string
	enabled                 *xdsresource.FractionalPercent // nil: always
	enabledMetadata         *xdsresource.MetadataMatcher   // nil: always
	denyDisabled            xdsresource.Flag               // deny_at_disable
	certificate, tlsSession bool
	statPrefix, labelsKey   string
	allowed                 *names         // headers that the service is told; nil: all
	disallowed              *names         // but for these; nil: none
	chargeCluster           bool           // charge_cluster_response_stats
	rawHeaders              bool           // encode_raw_headers
	keepMetadata            bool           // enable_dynamic_metadata_ingestion
	maxDenied               int            // max_denied_response_body_bytes; 0: any
	rules                   *mutationRules // decoder_header_mutation_rules; nil: any header may be changed
	routeHeaders            *names         // clear_route_cache_headers; nil: any change may lead elsewhere
}

// service is who is asked: one of the two.
type service struct {
	grpc *xdsresource.GRPCTarget
	http *httpService
}

// httpService is a validated ext_authz.v3.HttpService.
type httpService struct {
	target                            xdsresource.HTTPTarget
	pathPrefix, pathOverride          string
	add                               route.Ops // headers_to_add
	retry                             asyncclient.Retry
	upstream, upstreamAppend          *names // headers of an answer that go to the upstream
	client, clientOnSuccess, metadata *names // to the client, and into the dynamic metadata; client nil: all
}

// bodyRules is ext_authz.v3.BufferSettings.
type bodyRules struct {
	max            int
	partial, bytes bool
}

// names is a set of header names.
type names struct {
	exact map[string]bool
	other []xdsresource.StringMatch
}

func (n *names) has(name []byte) bool {
	if n == nil {
		return false
	}
	if n.exact[string(name)] {
		return true
	}
	for i := range n.other {
		if route.MatchString(&n.other[i], name) {
			return true
		}
	}
	return false
}

func (n *names) empty() bool { return n == nil || len(n.exact) == 0 && len(n.other) == 0 }

// ParseConfig reads the filter's own configuration. It returns a *Config.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &extauthzv3.ExtAuthz{}
	r := reader{d.ReadFilter(Name, a, m)}
	c := &Config{
		body: r.bodyRules(m.GetWithRequestBody()), failureAllow: m.GetFailureModeAllow(), failureHeader: m.GetFailureModeAllowHeaderAdd(),
		errorStatus: 403, clearRoute: m.GetClearRouteCache(), validate: m.GetValidateMutations(),
		metadata: m.GetMetadataContextNamespaces(), routeMetadata: m.GetRouteMetadataContextNamespaces(),
		certificate: m.GetIncludePeerCertificate(), tlsSession: m.GetIncludeTlsSession(), statPrefix: m.GetStatPrefix(),
		labelsKey: m.GetBootstrapMetadataLabelsKey(), chargeCluster: true, rawHeaders: m.GetEncodeRawHeaders(), keepMetadata: true,
		maxDenied: int(m.GetMaxDeniedResponseBodyBytes()),
	}
	if s := m.GetStatusOnError(); s != nil {
		c.errorStatus = int(s.GetCode())
	}
	if v := m.GetChargeClusterResponseStats(); v != nil {
		c.chargeCluster = v.GetValue()
	}
	if v := m.GetEnableDynamicMetadataIngestion(); v != nil {
		c.keepMetadata = v.GetValue()
	}
	if f := m.GetFilterEnabled(); f != nil {
		c.enabled = r.RuntimeFraction("filter_enabled.default_value", f)
	}
	if f := m.GetFilterEnabledMetadata(); f != nil {
		mm := r.MetadataMatcher("filter_enabled_metadata", f)
		c.enabledMetadata = &mm
	}
	c.denyDisabled = r.RuntimeFlag(m.GetDenyAtDisable(), false)
	if m.GetDecoderHeaderMutationRules() != nil {
		c.rules = r.mutationRules("decoder_header_mutation_rules", m.GetDecoderHeaderMutationRules())
	}
	if list := m.GetClearRouteCacheHeaders(); len(list) > 0 {
		c.routeHeaders = (*names)(nil).with(lower(list)...)
	}
	if m.GetAllowedHeaders() != nil {
		c.allowed = r.names("allowed_headers", m.GetAllowedHeaders())
	}
	if m.GetDisallowedHeaders() != nil {
		c.disallowed = r.names("disallowed_headers", m.GetDisallowedHeaders())
	}
	switch s := m.GetServices().(type) {
	case *extauthzv3.ExtAuthz_GrpcService:
		c.service.grpc = r.grpc("grpc_service", s.GrpcService)
		if m.GetTransportApiVersion() != corev3.ApiVersion_V3 {
			r.Bad("transport_api_version", "must be V3")
		}
	case *extauthzv3.ExtAuthz_HttpService:
		c.service.http = r.http("http_service", s.HttpService)
		own := s.HttpService.GetAuthorizationRequest().GetAllowedHeaders()
		if own != nil && c.allowed != nil {
			r.Bad("allowed_headers", "stands in http_service.authorization_request as well; keep one of the two")
		}
		if own != nil {
			c.allowed = r.names("http_service.authorization_request.allowed_headers", own)
		}
		c.allowed = c.allowed.with("authorization", ":method", ":path", ":authority")
	default:
		r.Bad("services", "one of grpc_service and http_service is required")
	}
	r.noSpan("emit_client_span", m.GetEmitClientSpan())
	if err := r.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

// noSpan refuses what asks for spans of the calls. Envoy makes them unless it is told not to; here what the service does shows below the request's own span.
func (r reader) noSpan(path string, emit *wrapperspb.BoolValue) {
	if emit.GetValue() {
		r.Bad(path, "calls to the service have no spans of their own; leave it out, or write false")
	}
}

// with is the set with some names more.
func (n *names) with(more ...string) *names {
	out := &names{exact: map[string]bool{}}
	if n != nil {
		out.other = n.other
		for name := range n.exact {
			out.exact[name] = true
		}
	}
	for _, name := range more {
		out.exact[name] = true
	}
	return out
}

// reader reads what the filter's and the route's configuration share.
type reader struct{ *xdsresource.FilterReader }

func (r reader) bodyRules(m *extauthzv3.BufferSettings) *bodyRules {
	if m == nil {
		return nil
	}
	return &bodyRules{max: int(m.GetMaxRequestBytes()), partial: m.GetAllowPartialMessage(), bytes: m.GetPackAsBytes()}
}

func (r reader) grpc(path string, m *corev3.GrpcService) *xdsresource.GRPCTarget {
	t := r.GRPCTarget(path, m)
	if m.GetTimeout() == nil {
		t.Timeout = defaultTimeout
	}
	return &t
}

func (r reader) http(path string, m *extauthzv3.HttpService) *httpService {
	if m.GetServerUri() == nil {
		r.Bad(path+".server_uri", "is required")
		return nil
	}
	s := &httpService{
		target: r.HTTPTarget(path+".server_uri", m.GetServerUri()), pathPrefix: m.GetPathPrefix(), pathOverride: m.GetPathOverride(),
		retry: asyncclient.RetryFrom(r.Retry(path+".retry_policy", m.GetRetryPolicy())),
	}
	for field, v := range map[string]string{"path_prefix": s.pathPrefix, "path_override": s.pathOverride} {
		if v != "" && !strings.HasPrefix(v, "/") {
			r.Bad(path+"."+field, "%q must begin with a slash", v)
		}
	}
	if s.pathPrefix != "" && s.pathOverride != "" {
		r.Bad(path+".path_override", "stands beside path_prefix; keep one of the two")
	}
	add := path + ".authorization_request.headers_to_add"
	var options []*corev3.HeaderValueOption
	for _, h := range m.GetAuthorizationRequest().GetHeadersToAdd() {
		options = append(options, &corev3.HeaderValueOption{Header: h, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD})
	}
	ops, err := route.CompileOps(&xdsresource.HeaderOps{Add: r.Headers(add, options)})
	if err != nil {
		r.Bad(add, "%v", err)
	}
	s.add = ops
	resp := m.GetAuthorizationResponse()
	list := func(field string, l *matcherv3.ListStringMatcher) *names {
		return r.names(path+".authorization_response."+field, l)
	}
	s.upstream = list("allowed_upstream_headers", resp.GetAllowedUpstreamHeaders())
	s.upstreamAppend = list("allowed_upstream_headers_to_append", resp.GetAllowedUpstreamHeadersToAppend())
	s.clientOnSuccess = list("allowed_client_headers_on_success", resp.GetAllowedClientHeadersOnSuccess())
	s.metadata = list("dynamic_metadata_from_headers", resp.GetDynamicMetadataFromHeaders())
	if s.client = list("allowed_client_headers", resp.GetAllowedClientHeaders()); s.client.empty() {
		s.client = nil
	} else {
		s.client = s.client.with("www-authenticate", "location")
	}
	if s.target.Timeout == 0 {
		s.target.Timeout = defaultTimeout
	}
	return s
}

func (r reader) names(path string, l *matcherv3.ListStringMatcher) *names {
	n := &names{exact: map[string]bool{}}
	for i, p := range l.GetPatterns() {
		m := r.StringMatch(fmt.Sprintf("%s.patterns[%d]", path, i), p)
		if m.Kind == xdsresource.StringExact && !m.IgnoreCase {
			n.exact[m.Value] = true
		} else {
			n.other = append(n.other, m)
		}
	}
	return n
}
