package envoyfilter

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// mergeInto merges a patch's value into a message as protos merge: a field that the value has wins, messages merge field by field, lists grow
// at their end, entries of maps are replaced. With MERGE_AND_REPLACE_LIST lists are replaced. A duration is one value and is replaced whole, as in Istio, and
// so is a wrapper: merged like another message, one that says false or 0 would change nothing.
func mergeInto(dst proto.Message, e *patch) {
	merge(dst.ProtoReflect(), e.Value.ProtoReflect(), e.Operation == opMergeReplaceList)
}

func merge(dst, src protoreflect.Message, replaceLists bool) {
	src.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsList():
			list := dst.Mutable(fd).List()
			if replaceLists {
				list.Truncate(0)
			}
			for i := range v.List().Len() {
				list.Append(copyOf(fd, v.List().Get(i)))
			}
		case fd.IsMap():
			m := dst.Mutable(fd).Map()
			v.Map().Range(func(k protoreflect.MapKey, each protoreflect.Value) bool {
				m.Set(k, copyOf(fd.MapValue(), each))
				return true
			})
		case fd.Message() != nil && !isValue(fd.Message()):
			merge(dst.Mutable(fd).Message(), v.Message(), replaceLists)
		default:
			dst.Set(fd, copyOf(fd, v))
		}
		return true
	})
}

// copyOf is a value that can be put into another message.
func copyOf(fd protoreflect.FieldDescriptor, v protoreflect.Value) protoreflect.Value {
	if fd.Message() == nil {
		return v
	}
	return protoreflect.ValueOfMessage(proto.Clone(v.Message().Interface()).ProtoReflect())
}

// isValue says that a message is one value to those who write it.
func isValue(d protoreflect.MessageDescriptor) bool {
	switch d.FullName() {
	case "google.protobuf.Duration", "google.protobuf.BoolValue", "google.protobuf.StringValue", "google.protobuf.BytesValue", "google.protobuf.DoubleValue", "google.protobuf.FloatValue",
		"google.protobuf.Int32Value", "google.protobuf.Int64Value", "google.protobuf.UInt32Value", "google.protobuf.UInt64Value":
		return true
	}
	return false
}

// mergeAny merges two packed messages of one type. It reports false, and the first stays, when their types differ or are not known.
func mergeAny(dst, src *anypb.Any) (*anypb.Any, bool) {
	if dst.GetTypeUrl() != src.GetTypeUrl() {
		return dst, false
	}
	a, err := dst.UnmarshalNew()
	if err != nil {
		return dst, false
	}
	b, err := src.UnmarshalNew()
	if err != nil {
		return dst, false
	}
	merge(a.ProtoReflect(), b.ProtoReflect(), false)
	return pack(dst.GetTypeUrl(), a), true
}

// pack packs a message with stable bytes.
func pack(typeURL string, m proto.Message) *anypb.Any {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic("BUG: what was unpacked does not marshal: " + err.Error())
	}
	return &anypb.Any{TypeUrl: typeURL, Value: b}
}
