package envoyfilter

import (
	"strings"

	bootstrappb "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	networking "istio.io/api/networking/v1alpha3"
)

// Bootstrap is what patches merge into a proxy's bootstrap, which its agent makes; empty for nothing.
func (ps *Patches) Bootstrap() *bootstrappb.Bootstrap {
	out := &bootstrappb.Bootstrap{}
	if ps == nil {
		return out
	}
	for _, e := range ps.by[networking.EnvoyFilter_BOOTSTRAP] {
		mergeInto(out, e)
		ps.note(e, "bootstrap")
	}
	return out
}

// BootstrapKey names the patches of Bootstrap.
func (ps *Patches) BootstrapKey() string {
	if ps == nil {
		return ""
	}
	var b strings.Builder
	for _, e := range ps.by[networking.EnvoyFilter_BOOTSTRAP] {
		e.writeKey(&b)
	}
	return b.String()
}
