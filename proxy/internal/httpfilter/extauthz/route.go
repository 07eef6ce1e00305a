package extauthz

import (
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// RouteConfig is a validated ext_authz.v3.ExtAuthzPerRoute.
type RouteConfig struct {
	disabled   bool
	extensions map[string]string // context_extensions
	noBody     bool              // disable_request_body_buffering
	body       *bodyRules        // nil: as the filter has it
	service    service           // neither: the filter's
}

// ParseRouteConfig reads what a route, virtual host or weighted cluster says of the filter.
func ParseRouteConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &extauthzv3.ExtAuthzPerRoute{}
	r := reader{d.ReadFilter(Name, a, m)}
	s := m.GetCheckSettings()
	c := &RouteConfig{
		disabled: m.GetDisabled(), extensions: s.GetContextExtensions(), noBody: s.GetDisableRequestBodyBuffering(), body: r.bodyRules(s.GetWithRequestBody()),
	}
	if c.noBody && c.body != nil {
		r.Bad("check_settings.disable_request_body_buffering", "stands beside with_request_body; keep one of the two")
	}
	r.noSpan("check_settings.emit_client_span", s.GetEmitClientSpan())
	switch o := s.GetServiceOverride().(type) {
	case *extauthzv3.CheckSettings_GrpcService:
		c.service.grpc = r.grpc("check_settings.grpc_service", o.GrpcService)
	case *extauthzv3.CheckSettings_HttpService:
		c.service.http = r.http("check_settings.http_service", o.HttpService)
		if o.HttpService.GetAuthorizationRequest().GetAllowedHeaders() != nil {
			r.Bad("check_settings.http_service.authorization_request.allowed_headers", "this field is not supported; the filter's own decides")
		}
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

// extensions are the context_extensions of all levels, the most specific last.
func extensions(s httpfilter.Stream) map[string]string {
	var out map[string]string
	merged := false
	s.EachFilterConfig(func(cfg any) {
		c, ok := cfg.(*RouteConfig)
		switch {
		case !ok || len(c.extensions) == 0:
		case out == nil:
			out = c.extensions
		default:
			if !merged {
				merged = true
				first := out
				out = make(map[string]string, len(first)+len(c.extensions))
				for k, v := range first {
					out[k] = v
				}
			}
			for k, v := range c.extensions {
				out[k] = v
			}
		}
	})
	return out
}
