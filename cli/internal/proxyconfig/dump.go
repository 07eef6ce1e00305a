// Package proxyconfig reads the configuration dump of an Envoy admin API and prints it as istioctl does.
//
// It is pure: JSON in, tables or JSON out. Fetching the dump and choosing the proxy belong to the commands of package cli, the only
// importer. It works on the dump of any proxy with Envoy's admin API; of an extension that it does not know it shows the type alone.
package proxyconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/emptypb"
	"sigs.k8s.io/yaml"
)

// Resource is one resource of a dump.
type Resource[T proto.Message] struct {
	Msg T
}

// Dump is a parsed /config_dump.
type Dump struct {
	Bootstrap json.RawMessage
	Clusters  []Resource[*clusterv3.Cluster]
	Listeners []Resource[*listenerv3.Listener]
	Routes    []Resource[*routev3.RouteConfiguration]
	Secrets   []Secret
}

// section is the union of the dump types that are read. Envoy prints its field names in snake case, other
// servers in camel case, so both spellings are looked up (see pick).
type section map[string]json.RawMessage

// Parse reads the answer of GET /config_dump. Sections that are missing stay empty.
func Parse(raw []byte) (*Dump, error) {
	var dump struct {
		Configs []section `json:"configs"`
	}
	if err := json.Unmarshal(raw, &dump); err != nil {
		return nil, fmt.Errorf("config dump: %w", err)
	}
	d := &Dump{}
	for _, s := range dump.Configs {
		var kind string
		if err := json.Unmarshal(s["@type"], &kind); err != nil {
			return nil, fmt.Errorf("config dump: a section without @type")
		}
		if err := d.add(kind[strings.LastIndexByte(kind, '.')+1:], s); err != nil {
			return nil, fmt.Errorf("config dump: %s: %w", kind, err)
		}
	}
	return d, nil
}

func (d *Dump) add(kind string, s section) (err error) {
	switch kind {
	case "BootstrapConfigDump":
		d.Bootstrap = s.pick("bootstrap")
	case "ClustersConfigDump":
		d.Clusters, err = gather(s, func() *clusterv3.Cluster { return &clusterv3.Cluster{} }, "cluster",
			"static_clusters", "dynamic_active_clusters")
	case "RoutesConfigDump":
		d.Routes, err = gather(s, func() *routev3.RouteConfiguration { return &routev3.RouteConfiguration{} }, "route_config",
			"static_route_configs", "dynamic_route_configs")
	case "ListenersConfigDump":
		d.Listeners, err = gather(s, func() *listenerv3.Listener { return &listenerv3.Listener{} }, "listener",
			"static_listeners", "dynamic_listeners")
	case "SecretsConfigDump":
		d.Secrets, err = secrets(s)
	}
	return err
}

// pick returns a field by its snake-case name, in either spelling.
func (s section) pick(name string) json.RawMessage {
	if v, ok := s[name]; ok {
		return v
	}
	return s[camel(name)]
}

func camel(name string) string {
	parts := strings.Split(name, "_")
	for i := 1; i < len(parts); i++ {
		parts[i] = strings.ToUpper(parts[i][:1]) + parts[i][1:]
	}
	return strings.Join(parts, "")
}

// items returns the entries of a list field.
func (s section) items(name string) ([]section, error) {
	raw := s.pick(name)
	if raw == nil {
		return nil, nil
	}
	var list []section
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return list, nil
}

// gather decodes the resource under key in every entry of the named lists. A dynamic listener keeps it in its active state; one that
// has none (still warming, or refused) does not serve, so it is left out.
func gather[T proto.Message](s section, blank func() T, key string, lists ...string) ([]Resource[T], error) {
	var out []Resource[T]
	for _, name := range lists {
		items, err := s.items(name)
		if err != nil {
			return nil, err
		}
		for i, item := range items {
			if active := item.pick("active_state"); active != nil {
				item = section{}
				if err := json.Unmarshal(active, &item); err != nil {
					return nil, fmt.Errorf("%s[%d]: %w", name, i, err)
				}
			}
			raw := item.pick(key)
			if raw == nil {
				continue
			}
			r := Resource[T]{Msg: blank()}
			if err := decode(raw, r.Msg); err != nil {
				return nil, fmt.Errorf("%s[%d]: %w", name, i, err)
			}
			out = append(out, r)
		}
	}
	return out, nil
}

// decode reads protojson, passing over what this program has no types for.
func decode(raw []byte, m proto.Message) error {
	return protojson.UnmarshalOptions{DiscardUnknown: true, AllowPartial: true, Resolver: lenient{protoregistry.GlobalTypes}}.Unmarshal(raw, m)
}

// lenient resolves an unknown type in an Any to an empty message, so that one unknown extension does not hide a whole dump: its type
// is shown, its content is not. The types that Lateen's control plane sends are all linked in (types.go).
type lenient struct{ *protoregistry.Types }

func (l lenient) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	t, err := l.Types.FindMessageByURL(url)
	if errors.Is(err, protoregistry.NotFound) {
		return (&emptypb.Empty{}).ProtoReflect().Type(), nil
	}
	return t, err
}

// ParseClusters reads the answer of GET /clusters?format=json.
func ParseClusters(raw []byte) (*adminv3.Clusters, error) {
	c := &adminv3.Clusters{}
	if err := decode(raw, c); err != nil {
		return nil, fmt.Errorf("clusters: %w", err)
	}
	return c, nil
}

// Print writes a value that is already JSON: as istioctl does with four spaces of indent, or as YAML.
func Print(w io.Writer, format string, raw json.RawMessage) error {
	switch format {
	case "json":
		b, err := indent(raw)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s\n", b)
		return err
	case "yaml":
		b, err := yaml.JSONToYAML(raw)
		if err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	}
	return fmt.Errorf("output format %q is none of json, yaml, short", format)
}

// list renders resources as a JSON array with the field names of proto JSON, as istioctl does.
func list[T proto.Message](resources []Resource[T]) (json.RawMessage, error) {
	parts := make([]string, len(resources))
	for i, r := range resources {
		b, err := encode(r.Msg)
		if err != nil {
			return nil, err
		}
		parts[i] = string(b)
	}
	return json.RawMessage("[" + strings.Join(parts, ",") + "]"), nil
}

func encode(m proto.Message) (json.RawMessage, error) {
	return protojson.MarshalOptions{Resolver: lenient{protoregistry.GlobalTypes}}.Marshal(m)
}

// table returns a writer for columns with the padding that istioctl uses for this kind.
func table(w io.Writer, padding int) *tabwriter.Writer {
	return tabwriter.NewWriter(w, 0, 8, padding, ' ', 0)
}

// configName turns the "config" path that the control plane leaves in a resource's Istio metadata,
// /apis/networking.istio.io/v1alpha3/namespaces/NS/destination-rule/NAME, into NAME.NS; empty without one.
func configName(m *corev3.Metadata) string {
	path := m.GetFilterMetadata()["istio"].GetFields()["config"].GetStringValue()
	parts := strings.Split(path, "/")
	if len(parts) < 8 {
		return ""
	}
	return parts[7] + "." + parts[5]
}
