package xdsserver

import (
	"strings"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// frame is a message that is serialised already, in pieces. The pieces of resources are shared by all streams and are never copied
// together: gRPC reads them as they lie.
type frame struct {
	parts [][]byte
	size  int
}

func (f *frame) append(parts ...[]byte) {
	for _, p := range parts {
		f.size += len(p)
	}
	f.parts = append(f.parts, parts...)
}

// Codec returns the codec that a gRPC server with this package's service must be made with (grpc.ForceServerCodecV2). It passes on what
// is serialised already, reads delta requests by hand, and leaves all else to gRPC's own codec for protobuf, whose name it bears.
func Codec() encoding.CodecV2 {
	return codec{encoding.GetCodecV2(proto.Name)}
}

type codec struct{ encoding.CodecV2 }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	f, ok := v.(*frame)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	out := make(mem.BufferSlice, 0, len(f.parts))
	for _, p := range f.parts {
		out = append(out, mem.SliceBuffer(p))
	}
	return out, nil
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	r, ok := v.(*wireRequest)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	var text strings.Builder
	text.Grow(data.Len())
	for _, part := range data {
		text.Write(part.ReadOnlyData())
	}
	return r.unmarshal(text.String())
}
