package translate

import (
	"time"

	xdstype "github.com/cncf/xds/go/xds/type/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// toAny packs a message with stable bytes. A message of ours always marshals.
func toAny(m proto.Message) *anypb.Any {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic("BUG: a resource does not marshal: " + err.Error())
	}
	return &anypb.Any{TypeUrl: "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName()), Value: b}
}

func typedStruct(typeURL string, value map[string]any) *anypb.Any {
	return toAny(&xdstype.TypedStruct{TypeUrl: typeURL, Value: toStruct(value)})
}

// toStruct converts JSON-like values (string, float64, bool, map[string]any, []any).
func toStruct(v map[string]any) *structpb.Struct {
	s, err := structpb.NewStruct(v)
	if err != nil {
		panic("BUG: not a JSON-like value: " + err.Error())
	}
	return s
}

func seconds(d time.Duration) *durationpb.Duration { return durationpb.New(d) }

func zeroDuration() *durationpb.Duration { return &durationpb.Duration{} }

func u32(v uint32) *wrapperspb.UInt32Value { return wrapperspb.UInt32(v) }

func boolean(v bool) *wrapperspb.BoolValue { return wrapperspb.Bool(v) }

// adsSource is the config source of everything that travels on the ADS stream (D13).
func adsSource() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		InitialFetchTimeout:   zeroDuration(),
		ResourceApiVersion:    corev3.ApiVersion_V3,
	}
}

// sdsSource is the agent's secret service on the proxy's own host.
func sdsSource() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
			ApiType:             corev3.ApiConfigSource_GRPC,
			TransportApiVersion: corev3.ApiVersion_V3,
			GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "sds-grpc"},
			}}},
			SetNodeOnFirstMessageOnly: true,
		}},
		InitialFetchTimeout: zeroDuration(),
		ResourceApiVersion:  corev3.ApiVersion_V3,
	}
}

func socketAddress(ip string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

// additional are the addresses of a listener beside its first: what there is at one family's wildcard or loopback is at the other's too.
func additional(ips []string, port uint32) []*listenerv3.AdditionalAddress {
	var out []*listenerv3.AdditionalAddress
	for _, ip := range ips {
		out = append(out, &listenerv3.AdditionalAddress{Address: socketAddress(ip, port)})
	}
	return out
}

// others are the addresses that belong to the first of a list; none when ip is not that.
func others(ip string, list []string) []string {
	if ip != list[0] {
		return nil
	}
	return list[1:]
}

func pipeAddress(path string) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}}
}

// millionths is a percentage in Envoy's finest fraction, as Istio writes given percentages.
func millionths(percent float64) *typev3.FractionalPercent {
	return &typev3.FractionalPercent{Numerator: uint32(min(max(percent, 0), 100)*10000 + 0.5), Denominator: typev3.FractionalPercent_MILLION}
}
