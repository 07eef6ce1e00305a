package xdsresource

import (
	"fmt"
	"strings"

	udpatype "github.com/cncf/xds/go/udpa/type/v1"
	xdstype "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
)

// The two forms of TypedStruct must be registered for Any.UnmarshalNew to find them.
var (
	_ proto.Message = (*udpatype.TypedStruct)(nil)
	_ proto.Message = (*xdstype.TypedStruct)(nil)
)

// TypeName returns the message that a configuration is about: the inner type of a
// TypedStruct, else the Any's own.
func TypeName(a *anypb.Any) string {
	if url, _, ok, err := AsTypedStruct(a); ok && err == nil {
		return strings.TrimPrefix(url, "type.googleapis.com/")
	}
	return string(a.MessageName())
}

// fromTypedStruct turns a TypedStruct whose inner type is a proto that this program links
// into an Any of that proto, as Envoy does. Other TypedStructs come back in today's form
// (xds.type.v3), so that filters read one only. Anything else comes back as it was.
func fromTypedStruct(a *anypb.Any) (*anypb.Any, error) {
	url, value, ok, err := AsTypedStruct(a)
	if err != nil || !ok {
		return a, err
	}
	mt, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(strings.TrimPrefix(url, "type.googleapis.com/")))
	if err != nil {
		// A type without a linked proto, such as Istio's: its filter reads the Struct itself.
		return anypb.New(&xdstype.TypedStruct{TypeUrl: url, Value: value})
	}
	raw, err := protojson.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("typed struct of %s: %w", url, err)
	}
	msg := mt.New().Interface()
	if err := protojson.Unmarshal(raw, msg); err != nil {
		return nil, fmt.Errorf("typed struct of %s: %w", url, err)
	}
	return anypb.New(msg)
}
