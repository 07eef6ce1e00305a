package envoyfilter

import (
	"strings"

	bootstrappb "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	networking "istio.io/api/networking/v1alpha3"
)

// Bootstrap merges what patches say into out, which is to be merged into the bootstrap that a proxy's agent makes, and returns it.
func (ps *Patches) Bootstrap(out *bootstrappb.Bootstrap) *bootstrappb.Bootstrap {
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
