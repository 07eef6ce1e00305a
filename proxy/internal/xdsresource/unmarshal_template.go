package xdsresource

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matchv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	rewritev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/rewrite/uri_template/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/pathtemplate"
)

// pathTemplate reads path_match_policy; nil where it is wrong.
func (p *parser) pathTemplate(path string, m *corev3.TypedExtensionConfig) *pathtemplate.Pattern {
	var c matchv3.UriTemplateMatchConfig
	if !p.message(join(path, "typed_config"), m.GetTypedConfig(), &c) {
		return nil
	}
	t, err := pathtemplate.Compile(c.GetPathTemplate())
	if err != nil {
		p.bad(join(path, "typed_config.path_template"), "%v", err)
	}
	return t
}

// templateRewrite reads path_rewrite_policy, which takes its variables from the route's match.
func (p *parser) templateRewrite(path string, m *routev3.RouteAction, r *Route) {
	if r.Match.Kind == PathTemplate && m.GetPrefixRewrite() != "" {
		p.bad(join(path, "prefix_rewrite"), "a path template has no prefix that could be replaced; use path_rewrite_policy")
	}
	ext := m.GetPathRewritePolicy()
	if ext == nil {
		return
	}
	path = join(path, "path_rewrite_policy")
	var c rewritev3.UriTemplateRewriteConfig
	if !p.message(join(path, "typed_config"), ext.GetTypedConfig(), &c) {
		return
	}
	if m.GetPrefixRewrite() != "" || m.GetRegexRewrite() != nil {
		p.bad(path, "stands beside prefix_rewrite or regex_rewrite; only one of them may be set")
	}
	if r.Match.Kind != PathTemplate {
		p.bad(path, "needs path_match_policy in the route's match, whose variables it uses")
		return
	}
	if r.Match.Template == nil {
		return // named already
	}
	w, err := pathtemplate.CompileRewrite(c.GetPathTemplateRewrite(), r.Match.Template)
	if err != nil {
		p.bad(join(path, "typed_config.path_template_rewrite"), "%v", err)
	}
	r.Forward.TemplateRewrite = w
}
