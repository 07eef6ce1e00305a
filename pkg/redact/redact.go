// Package redact takes out of Envoy's configuration what nobody should read in a dump of it: the values of headers that go with calls of the proxy's own, to collectors,
// authorizers and control planes (HttpService.request_headers_to_add, GrpcService.initial_metadata, the token of SkyWalking's tracer). They are often credentials, and the proto does not mark them
// as sensitive. Private keys are the concern of who dumps secrets. Proxy and control plane import it, as all may.
package redact

import (
	"errors"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
)

// Hidden stands for a value.
const Hidden = "[redacted]"

// Headers returns a message with the values of such headers hidden, wherever in it they are. What has none is returned as it is; the message that is given is never changed.
// What is of a type that this program does not know stays as it is. An error is of bytes that are not the message that they say they are.
func Headers(a *anypb.Any) (*anypb.Any, error) {
	if a == nil {
		return nil, nil
	}
	m, err := a.UnmarshalNew()
	if errors.Is(err, protoregistry.NotFound) {
		return a, nil
	}
	if err != nil {
		return nil, err
	}
	changed, err := hide(m.ProtoReflect())
	if err != nil || !changed {
		return a, err
	}
	return anypb.New(m)
}

// hide hides them in a message that nobody else has.
func hide(m protoreflect.Message) (changed bool, err error) {
	switch v := m.Interface().(type) {
	case *anypb.Any:
		out, err := Headers(v)
		if err != nil || out == v {
			return false, err
		}
		v.TypeUrl, v.Value = out.TypeUrl, out.Value
		return true, nil
	case *corev3.HttpService:
		for _, h := range v.RequestHeadersToAdd {
			changed = value(h.GetHeader()) || changed
		}
	case *corev3.GrpcService:
		for _, h := range v.InitialMetadata {
			changed = value(h) || changed
		}
	case *tracev3.ClientConfig:
		if v.GetBackendToken() != "" {
			v.BackendTokenSpecifier, changed = &tracev3.ClientConfig_BackendToken{BackendToken: Hidden}, true
		}
	}
	below := func(m protoreflect.Message) bool {
		var c bool
		c, err = hide(m)
		changed = changed || c
		return err == nil
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
			if f.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { return below(v.Message()) })
			}
		case f.Message() == nil:
		case f.IsList():
			for i := 0; i < v.List().Len() && below(v.List().Get(i).Message()); i++ {
			}
		default:
			below(v.Message())
		}
		return err == nil
	})
	return changed, err
}

func value(h *corev3.HeaderValue) bool {
	if h.GetValue() == "" && len(h.GetRawValue()) == 0 {
		return false
	}
	h.Value, h.RawValue = Hidden, nil
	return true
}
