package bootstrap

import (
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Parse reads a bootstrap from YAML or JSON, as xdsresource.FromText does: beside an
// *xdsresource.Error the message holds what is known.
func Parse(raw []byte) (*bootstrapv3.Bootstrap, error) {
	m, _, err := parse(raw, false)
	return m, err
}

func parse(raw []byte, lenient bool) (*bootstrapv3.Bootstrap, []xdsresource.Problem, error) {
	m := &bootstrapv3.Bootstrap{}
	unknown, err := xdsresource.FromText("bootstrap", raw, m, lenient)
	return m, unknown, err
}

// Merge lays overlay over base as Envoy merges --config-yaml into -c: single fields are
// replaced, messages merged, lists appended to. Either may be nil.
func Merge(base, overlay *bootstrapv3.Bootstrap) *bootstrapv3.Bootstrap {
	if base == nil {
		return overlay
	}
	if overlay != nil {
		proto.Merge(base, overlay)
	}
	return base
}
