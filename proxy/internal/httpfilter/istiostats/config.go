package istiostats

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

const typeURL = "type.googleapis.com/stats.PluginConfig"

// Config is a parsed stats.PluginConfig.
type Config struct {
	// NoHostFallback: the host header does not stand in for an unknown destination service.
	NoHostFallback bool
	// ServerGateway: report as the server although the listener is outbound (waypoints).
	ServerGateway bool
	// Overrides by metric name without "istio_"; "" is for all.
	Overrides map[string]Override
	// Ignored names fields that have no effect here; New reports them.
	Ignored []string
}

// Override changes one metric.
type Override struct {
	Drop   bool
	Remove []string // labels
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
	c := &Config{Overrides: make(map[string]Override)}
	for name, v := range value.GetFields() {
		if err := c.field(name, v); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	slices.Sort(c.Ignored)
	return c, nil
}

// ParseRouteConfig refuses: the filter has no configuration per route.
func ParseRouteConfig(_ *xdsresource.Decoder, _ *anypb.Any) (any, error) {
	return nil, errors.New("istio.stats takes no configuration per route")
}

func (c *Config) field(name string, v *structpb.Value) error {
	switch name {
	case "disable_host_header_fallback", "disableHostHeaderFallback":
		c.NoHostFallback = v.GetBoolValue()
	case "reporter":
		switch v.GetStringValue() {
		case "SERVER_GATEWAY":
			c.ServerGateway = true
		case "", "UNSPECIFIED":
		default:
			return fmt.Errorf("%q is none of UNSPECIFIED, SERVER_GATEWAY", v.GetStringValue())
		}
	case "metrics":
		for _, m := range v.GetListValue().GetValues() {
			if err := c.metric(m.GetStructValue()); err != nil {
				return err
			}
		}
	case "tcp_reporting_duration", "tcpReportingDuration", "rotation_interval", "rotationInterval",
		"graceful_deletion_interval", "gracefulDeletionInterval", "debug", "max_peer_cache_size", "maxPeerCacheSize",
		"enable_destination_source_ip", "field_separator", "fieldSeparator", "value_separator", "valueSeparator",
		"stat_prefix", "statPrefix":
		// How Istio's proxy keeps its own house; the metrics are the same without them.
		c.Ignored = append(c.Ignored, name)
	default:
		return errors.New("is not supported")
	}
	return nil
}

func (c *Config) metric(s *structpb.Struct) error {
	name := s.GetFields()["name"].GetStringValue()
	o := c.Overrides[name]
	for k, v := range s.GetFields() {
		switch k {
		case "name":
		case "drop":
			o.Drop = v.GetBoolValue()
		case "tags_to_remove", "tagsToRemove":
			for _, t := range v.GetListValue().GetValues() {
				o.Remove = append(o.Remove, t.GetStringValue())
			}
		default:
			return fmt.Errorf("metric %q: %s is not supported", name, k)
		}
	}
	c.Overrides[name] = o
	return nil
}

// override returns what applies to a metric: its own and that for all.
func (c *Config) override(metric string) Override {
	all, own := c.Overrides[""], c.Overrides[metric]
	return Override{Drop: all.Drop || own.Drop, Remove: append(slices.Clone(all.Remove), own.Remove...)}
}
