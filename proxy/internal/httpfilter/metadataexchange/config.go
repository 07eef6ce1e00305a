package metadataexchange

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// typeURL is the type within the TypedStruct. The message is not in any published Go module,
// so it is read as a Struct, whose field names may be written in both of JSON's ways.
const typeURL = "type.googleapis.com/io.istio.http.peer_metadata.Config"

// Config is a parsed io.istio.http.peer_metadata.Config.
type Config struct {
	DownstreamDiscovery, UpstreamDiscovery     bool
	DownstreamPropagation, UpstreamPropagation bool
	// SkipExternal: nothing is told to clusters outside of the mesh (skip_external_clusters
	// of upstream_propagation).
	SkipExternal bool
	// Ignored names methods that have no effect here; New reports them.
	Ignored []string
}

// ParseConfig reads a TypedStruct of typeURL.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	have, value, ok, err := xdsresource.AsTypedStruct(a)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, fmt.Errorf("want a TypedStruct of %s, have %q", typeURL, a.GetTypeUrl())
	case have != typeURL:
		return nil, fmt.Errorf("want a TypedStruct of %s, have one of %q", typeURL, have)
	}
	c := &Config{}
	for name, v := range value.GetFields() {
		if err := c.field(name, v); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return c, nil
}

// ParseRouteConfig refuses: the filter has no configuration per route.
func ParseRouteConfig(_ *xdsresource.Decoder, _ *anypb.Any) (any, error) {
	return nil, errors.New("istio.metadata_exchange takes no configuration per route")
}

func (c *Config) field(name string, v *structpb.Value) error {
	var on *bool
	switch name {
	case "downstream_discovery", "downstreamDiscovery":
		on = &c.DownstreamDiscovery
	case "upstream_discovery", "upstreamDiscovery":
		on = &c.UpstreamDiscovery
	case "downstream_propagation", "downstreamPropagation":
		on = &c.DownstreamPropagation
	case "upstream_propagation", "upstreamPropagation":
		on = &c.UpstreamPropagation
	case "shared_with_upstream", "sharedWithUpstream":
		if v.GetBoolValue() {
			c.Ignored = append(c.Ignored, name)
		}
		return nil
	default:
		return errors.New("is not supported")
	}
	for _, m := range v.GetListValue().GetValues() {
		for method, arg := range m.GetStructValue().GetFields() {
			switch method {
			case "istio_headers", "istioHeaders":
				*on = true
				if err := c.headers(on, arg.GetStructValue()); err != nil {
					return err
				}
			case "workload_discovery", "workloadDiscovery":
				// Istio configures it beside the headers for ambient workloads; refusing it would
				// refuse every configuration of a recent Istio.
				c.Ignored = append(c.Ignored, name+"."+method)
			default:
				return fmt.Errorf("method %q is not supported", method)
			}
		}
	}
	return nil
}

func (c *Config) headers(on *bool, s *structpb.Struct) error {
	for k, v := range s.GetFields() {
		if k != "skip_external_clusters" && k != "skipExternalClusters" {
			return fmt.Errorf("istio_headers.%s: is not supported", k)
		}
		if on == &c.UpstreamPropagation {
			c.SkipExternal = v.GetBoolValue()
		}
	}
	return nil
}
