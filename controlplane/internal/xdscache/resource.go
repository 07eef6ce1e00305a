package xdscache

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	clusterpb "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Resource is one xDS resource in the bytes that every proxy gets. It is immutable.
type Resource struct {
	// Name as subscribed to.
	Name string
	// Version is a hash of the content: equal content has an equal version after any restart, and in every replica.
	Version string
	// Endpoints names the load assignment that a cluster cannot do without (EDS); "" for everything else.
	Endpoints string
	// any is the serialised google.protobuf.Any, nil for a resource of which only the version is known (see Known).
	any []byte
	// delta is a whole element of DeltaDiscoveryResponse.resources, which ends with any; sotwHead is what stands before any in one of
	// DiscoveryResponse.resources.
	delta, sotwHead []byte

	leadsOnce sync.Once
	leads     []string // see clusterNames
}

// The field numbers of what is written by hand here. Tests read it back with the generated types.
const (
	anyTypeURL, anyValue                            = 1, 2
	resourceVersion, resourceResource, resourceName = 1, 2, 3
)

var deterministic = proto.MarshalOptions{Deterministic: true}

// Encode serialises a resource, deterministically, so that equal messages have equal versions. The error is one of the message (a string
// that is not UTF-8, for instance) and names the resource.
func Encode(name string, msg proto.Message) (*Resource, error) {
	value, err := deterministic.Marshal(msg)
	if err != nil {
		return nil, fmt.Errorf("encode %s %q: %w", msg.ProtoReflect().Descriptor().FullName(), name, err)
	}
	r := FromValue(name, "type.googleapis.com/"+string(msg.ProtoReflect().Descriptor().FullName()), value)
	if c, ok := msg.(*clusterpb.Cluster); ok && c.GetType() == clusterpb.Cluster_EDS {
		if r.Endpoints = c.GetEdsClusterConfig().GetServiceName(); r.Endpoints == "" {
			r.Endpoints = name
		}
	}
	return r, nil
}

// FromValue wraps a message that is serialised already. It keeps no reference to value.
func FromValue(name, typeURL string, value []byte) *Resource {
	sum := sha256.New()
	sum.Write([]byte(typeURL))
	sum.Write([]byte{0})
	sum.Write(value)
	r := &Resource{Name: name, Version: hex.EncodeToString(sum.Sum(nil)[:8])}
	body := make([]byte, 0, len(typeURL)+len(value)+16)
	body = protowire.AppendTag(body, anyTypeURL, protowire.BytesType)
	body = protowire.AppendString(body, typeURL)
	if len(value) > 0 {
		body = protowire.AppendTag(body, anyValue, protowire.BytesType)
		body = protowire.AppendBytes(body, value)
	}
	head := make([]byte, 0, len(name)+len(r.Version)+16)
	head = protowire.AppendTag(head, resourceVersion, protowire.BytesType)
	head = protowire.AppendString(head, r.Version)
	head = protowire.AppendTag(head, resourceName, protowire.BytesType)
	head = protowire.AppendString(head, name)
	head = protowire.AppendTag(head, resourceResource, protowire.BytesType)
	head = protowire.AppendVarint(head, uint64(len(body)))
	r.delta = make([]byte, 0, len(head)+len(body)+8)
	r.delta = protowire.AppendTag(r.delta, resourcesField, protowire.BytesType)
	r.delta = protowire.AppendVarint(r.delta, uint64(len(head)+len(body)))
	r.delta = append(append(r.delta, head...), body...)
	r.any = r.delta[len(r.delta)-len(body):]
	r.sotwHead = protowire.AppendVarint(protowire.AppendTag(nil, resourcesField, protowire.BytesType), uint64(len(body)))
	return r
}

// Known returns a resource of which only name and version are known, as a reconnecting client states what it has.
func Known(name, version string) *Resource { return &Resource{Name: name, Version: version} }

// Size is the length of the serialised Any, in bytes.
func (r *Resource) Size() int { return len(r.any) }

// Any decodes the resource, for printing. It is nil for a Known resource.
func (r *Resource) Any() (*anypb.Any, error) {
	if r.any == nil {
		return nil, nil
	}
	out := &anypb.Any{}
	if err := proto.Unmarshal(r.any, out); err != nil {
		return nil, fmt.Errorf("decode %q: %w", r.Name, err)
	}
	return out, nil
}

// resourcesField is the number of "resources" in DiscoveryResponse and in DeltaDiscoveryResponse alike.
const resourcesField = 2

// AppendSotW appends the pieces of one element of DiscoveryResponse.resources. The resource's bytes are shared, not copied.
func (r *Resource) AppendSotW(parts [][]byte) [][]byte { return append(parts, r.sotwHead, r.any) }

// AppendDelta appends one element of DeltaDiscoveryResponse.resources. The resource's bytes are shared, not copied.
func (r *Resource) AppendDelta(parts [][]byte) [][]byte { return append(parts, r.delta) }
