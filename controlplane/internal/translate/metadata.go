package translate

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// OriginMetadata is the filter_metadata key under which a resource says which object, file
// and line it came from. Compiled tables in the proxy carry it along, for explanations.
const OriginMetadata = "lateen.io/origin"

// metadata joins Istio's metadata (may be nil) and an origin (may be zero).
func metadata(istio map[string]any, origin model.Origin) *corev3.Metadata {
	out := &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{}}
	if len(istio) > 0 {
		out.FilterMetadata["istio"] = toStruct(istio)
	}
	if !origin.IsZero() {
		out.FilterMetadata[OriginMetadata] = toStruct(originFields(origin))
	}
	if len(out.FilterMetadata) == 0 {
		return nil
	}
	return out
}

func originFields(o model.Origin) map[string]any {
	m := map[string]any{"kind": o.Kind, "namespace": o.Namespace, "name": o.Name}
	if o.File != "" {
		m["file"] = o.File
	}
	if o.Line > 0 {
		m["line"] = float64(o.Line)
	}
	if o.Field != "" {
		m["field"] = o.Field
	}
	return m
}

// services is the "services" list of Istio's metadata.
func servicesMetadata(svcs ...*model.Service) []any {
	out := make([]any, 0, len(svcs))
	for _, s := range svcs {
		out = append(out, map[string]any{"host": s.Host, "name": s.Name, "namespace": s.Namespace})
	}
	return out
}
