package xdsresource

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	preservev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_formatters/preserve_case/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// preserveCase reads the one stateful formatter that there is, PreserveCaseFormatterConfig.
func (p *parser) preserveCase(path string, f *corev3.TypedExtensionConfig) *header.CasePolicy {
	var c preservev3.PreserveCaseFormatterConfig
	here := join(path, "typed_config")
	if !p.message(here, f.GetTypedConfig(), &c) {
		return nil
	}
	out := &header.CasePolicy{Reason: c.GetForwardReasonPhrase()}
	switch t := c.GetFormatterTypeOnEnvoyHeaders(); t {
	case preservev3.PreserveCaseFormatterConfig_DEFAULT:
	case preservev3.PreserveCaseFormatterConfig_PROPER_CASE:
		out.Proper = true
	default:
		p.bad(join(here, "formatter_type_on_envoy_headers"), "%d is not known; use DEFAULT or PROPER_CASE", t)
	}
	return out
}
