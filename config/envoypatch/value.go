package envoypatch

import (
	"fmt"
	"slices"
	"strings"

	bootstrappb "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterpb "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corepb "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerpb "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routepb "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmpb "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/structpb"
	networking "istio.io/api/networking/v1alpha3"
)

// newMessage returns an empty message of what a patch applies to, nil for a kind that is not known.
func newMessage(to networking.EnvoyFilter_ApplyTo) proto.Message {
	switch to {
	case networking.EnvoyFilter_LISTENER:
		return &listenerpb.Listener{}
	case networking.EnvoyFilter_LISTENER_FILTER:
		return &listenerpb.ListenerFilter{}
	case networking.EnvoyFilter_FILTER_CHAIN:
		return &listenerpb.FilterChain{}
	case networking.EnvoyFilter_NETWORK_FILTER:
		return &listenerpb.Filter{}
	case networking.EnvoyFilter_HTTP_FILTER:
		return &hcmpb.HttpFilter{}
	case networking.EnvoyFilter_ROUTE_CONFIGURATION:
		return &routepb.RouteConfiguration{}
	case networking.EnvoyFilter_VIRTUAL_HOST:
		return &routepb.VirtualHost{}
	case networking.EnvoyFilter_HTTP_ROUTE:
		return &routepb.Route{}
	case networking.EnvoyFilter_CLUSTER:
		return &clusterpb.Cluster{}
	case networking.EnvoyFilter_EXTENSION_CONFIG:
		return &corepb.TypedExtensionConfig{}
	case networking.EnvoyFilter_BOOTSTRAP:
		return &bootstrappb.Bootstrap{}
	}
	return nil
}

// Value returns a patch's value as the message that it applies to; nil for none. It is strict: a field that Envoy's API does not have is an
// error, and so is a type that is not known here. Field names may be given as in the protos or in camel case.
func Value(to networking.EnvoyFilter_ApplyTo, value *structpb.Struct) (proto.Message, error) {
	msg := newMessage(to)
	if value == nil || msg == nil {
		return nil, nil
	}
	js, err := protojson.Marshal(structpb.NewStructValue(wrapForeign(value)))
	if err != nil {
		return nil, fmt.Errorf("is not JSON: %w", err)
	}
	if err := protojson.Unmarshal(js, msg); err != nil {
		return nil, fmt.Errorf("is not a valid %s: %s", msg.ProtoReflect().Descriptor().FullName(), plain(err))
	}
	return msg, nil
}

// plain takes what belongs to the library out of its message: its name, the place in a text that the user has not written, and the
// unbreakable space by which it tells its errors apart.
func plain(err error) string {
	s := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	s = strings.TrimPrefix(s, "proto: ")
	if rest, ok := strings.CutPrefix(s, "(line "); ok {
		if _, text, ok := strings.Cut(rest, "): "); ok {
			s = text
		}
	}
	if i := strings.Index(s, "unable to resolve "); i >= 0 {
		if name := strings.Split(s[i:], `"`); len(name) > 2 {
			return fmt.Sprintf("there is no type %q", name[1])
		}
	}
	return s
}

const typedStruct = "type.googleapis.com/xds.type.v3.TypedStruct"

// wrapForeign puts the configuration of Istio's own extensions, which have no Go types, into TypedStructs: that is the form in which the
// control plane sends them, so that patches merge with it.
func wrapForeign(s *structpb.Struct) *structpb.Struct {
	out := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(s.GetFields()))}
	for name, v := range s.GetFields() {
		out.Fields[name] = wrapValue(v)
	}
	url := s.GetFields()["@type"].GetStringValue()
	if url == "" || !foreign(url) {
		return out
	}
	delete(out.Fields, "@type")
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		"@type": structpb.NewStringValue(typedStruct), "type_url": structpb.NewStringValue(url), "value": structpb.NewStructValue(out),
	}}
}

func wrapValue(v *structpb.Value) *structpb.Value {
	switch k := v.GetKind().(type) {
	case *structpb.Value_StructValue:
		return structpb.NewStructValue(wrapForeign(k.StructValue))
	case *structpb.Value_ListValue:
		list := &structpb.ListValue{}
		for _, e := range k.ListValue.GetValues() {
			list.Values = append(list.Values, wrapValue(e))
		}
		return structpb.NewListValue(list)
	}
	return v
}

// foreign says that a type is one of Istio's extensions of Envoy for which there is no Go type.
func foreign(url string) bool {
	name := url[strings.LastIndexByte(url, '/')+1:]
	if !slices.ContainsFunc([]string{"stats.", "io.istio.", "istio.", "envoy.tcp.metadataexchange.", "extensions."}, func(p string) bool { return strings.HasPrefix(name, p) }) {
		return false
	}
	_, err := protoregistry.GlobalTypes.FindMessageByURL(url)
	return err != nil
}

var (
	insert  = []networking.EnvoyFilter_Patch_Operation{networking.EnvoyFilter_Patch_INSERT_BEFORE, networking.EnvoyFilter_Patch_INSERT_AFTER, networking.EnvoyFilter_Patch_INSERT_FIRST}
	merge   = []networking.EnvoyFilter_Patch_Operation{networking.EnvoyFilter_Patch_MERGE, networking.EnvoyFilter_Patch_MERGE_AND_REPLACE_LIST}
	add     = []networking.EnvoyFilter_Patch_Operation{networking.EnvoyFilter_Patch_ADD}
	remove  = []networking.EnvoyFilter_Patch_Operation{networking.EnvoyFilter_Patch_REMOVE}
	replace = []networking.EnvoyFilter_Patch_Operation{networking.EnvoyFilter_Patch_REPLACE}

	// operations says what can be done to what, as in Istio.
	operations = map[networking.EnvoyFilter_ApplyTo][]networking.EnvoyFilter_Patch_Operation{
		networking.EnvoyFilter_LISTENER:            slices.Concat(add, remove, merge),
		networking.EnvoyFilter_LISTENER_FILTER:     slices.Concat(add, insert, replace, remove),
		networking.EnvoyFilter_FILTER_CHAIN:        slices.Concat(add, remove, merge),
		networking.EnvoyFilter_NETWORK_FILTER:      slices.Concat(add, insert, replace, remove, merge),
		networking.EnvoyFilter_HTTP_FILTER:         slices.Concat(add, insert, replace, remove, merge),
		networking.EnvoyFilter_ROUTE_CONFIGURATION: merge,
		networking.EnvoyFilter_VIRTUAL_HOST:        slices.Concat(add, remove, merge, replace),
		networking.EnvoyFilter_HTTP_ROUTE:          slices.Concat(add, insert, remove, merge),
		networking.EnvoyFilter_CLUSTER:             slices.Concat(add, remove, merge),
		networking.EnvoyFilter_EXTENSION_CONFIG:    add,
		networking.EnvoyFilter_BOOTSTRAP:           merge,
	}
)

// Operation returns what a patch does: an INSERT where there is no order to insert into is an ADD, as in Istio. ok is false for an
// operation that does nothing to what the patch applies to.
func Operation(to networking.EnvoyFilter_ApplyTo, op networking.EnvoyFilter_Patch_Operation) (is networking.EnvoyFilter_Patch_Operation, ok bool) {
	if slices.Contains(insert, op) && !slices.Contains(operations[to], op) {
		op = networking.EnvoyFilter_Patch_ADD
	}
	return op, slices.Contains(operations[to], op)
}
