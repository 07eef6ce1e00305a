package bootstrap

import (
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// packed is the static resources as bytes: what the admin API shows, and what they are read from.
type packed struct {
	secrets, clusters, listeners []*anypb.Any
	size                         int
}

func pack(s *bootstrapv3.Bootstrap_StaticResources) (p packed, err error) {
	buf := make([]byte, 0, proto.Size(s)) // one piece for all: their lengths are less than the whole's
	if p.secrets, buf, err = packList(buf, s.GetSecrets()); err != nil {
		return p, err
	}
	if p.clusters, buf, err = packList(buf, s.GetClusters()); err != nil {
		return p, err
	}
	p.listeners, buf, err = packList(buf, s.GetListeners())
	p.size = len(buf)
	return p, err
}

// packList appends the messages to buf, of which the result's values are parts.
func packList[M proto.Message](buf []byte, list []M) ([]*anypb.Any, []byte, error) {
	out := make([]*anypb.Any, len(list))
	if len(list) == 0 {
		return out, buf, nil
	}
	// One piece and one name for all: each small piece would keep a page of what is garbage after this.
	whole := make([]anypb.Any, len(list))
	url := "type.googleapis.com/" + string(list[0].ProtoReflect().Descriptor().FullName())
	for i, m := range list {
		from := len(buf)
		var err error
		if buf, err = (proto.MarshalOptions{}).MarshalAppend(buf, m); err != nil {
			return nil, nil, err
		}
		whole[i].TypeUrl, whole[i].Value = url, buf[from:len(buf):len(buf)]
		out[i] = &whole[i]
	}
	return out, buf, nil
}

func mustUnpack(raw *anypb.Any, m proto.Message) {
	if err := raw.UnmarshalTo(m); err != nil {
		panic("BUG: bootstrap: what was encoded cannot be decoded: " + err.Error())
	}
}

func unpack[T any, M interface {
	*T
	proto.Message
}](list []xdsresource.Resource) []M {
	out := make([]M, len(list))
	for i, r := range list {
		out[i] = new(T)
		mustUnpack(r.Raw, out[i])
	}
	return out
}
