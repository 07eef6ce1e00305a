package peermetadata

import (
	"encoding/base64"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// keys of the node metadata that peers are told; the rest stays private (Istio's
// extractNodeMetadata).
var keys = []string{
	"APP_CONTAINERS", "CLUSTER_ID", "INSTANCE_IPS", "ISTIO_VERSION", "LABELS", "MESH_ID", "NAME",
	"NAMESPACE", "OWNER", "PLATFORM_METADATA", "WORKLOAD_NAME",
}

// Encode returns the value of x-envoy-peer-metadata for a node's metadata (the JSON-like
// value of Envoy's node.metadata): standard base64 of the Struct of the keys that it has, in
// sorted order, so that equal metadata gives equal bytes.
func Encode(node map[string]any) (string, error) {
	s := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(keys))}
	for _, k := range keys {
		v, ok := node[k]
		if !ok {
			continue
		}
		pv, err := structpb.NewValue(generic(v))
		if err != nil {
			return "", fmt.Errorf("node metadata %s: %w", k, err)
		}
		s.Fields[k] = pv
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(s)
	if err != nil {
		return "", fmt.Errorf("node metadata: %w", err)
	}
	return base64.StdEncoding.EncodeToString(b), nil
}

// generic gives the maps of Go callers the type that structpb knows.
func generic(v any) any {
	if m, ok := v.(map[string]string); ok {
		out := make(map[string]any, len(m))
		for k, s := range m {
			out[k] = s
		}
		return out
	}
	return v
}

// Decode reads the value of x-envoy-peer-metadata.
func Decode(id string, encoded []byte) (*Peer, error) {
	raw := make([]byte, base64.StdEncoding.DecodedLen(len(encoded)))
	n, err := base64.StdEncoding.Decode(raw, encoded)
	if err != nil {
		return nil, fmt.Errorf("peer metadata of %q: %w", id, err)
	}
	s := &structpb.Struct{}
	if err := proto.Unmarshal(raw[:n], s); err != nil {
		return nil, fmt.Errorf("peer metadata of %q: %w", id, err)
	}
	return FromNode(id, s.AsMap()), nil
}

// FromNode returns the peer that a node's metadata describes; of our own node, too.
func FromNode(id string, node map[string]any) *Peer {
	str := func(k string) string {
		s, _ := node[k].(string)
		return s
	}
	p := &Peer{
		ID: id, Name: str("NAME"), Namespace: str("NAMESPACE"), Workload: str("WORKLOAD_NAME"), Owner: str("OWNER"),
		Cluster: str("CLUSTER_ID"), Mesh: str("MESH_ID"), InstanceIPs: str("INSTANCE_IPS"),
	}
	labels, _ := generic(node["LABELS"]).(map[string]any)
	p.Labels = make(map[string]string, len(labels))
	for k, v := range labels {
		if s, ok := v.(string); ok {
			p.Labels[k] = s
		}
	}
	p.App, p.Version = p.Labels["app"], p.Labels["version"]
	p.CanonicalName = p.Labels["service.istio.io/canonical-name"]
	p.CanonicalRevision = p.Labels["service.istio.io/canonical-revision"]
	// Istio's fallbacks: the workload's name, and "latest" where there is a workload at all.
	if p.CanonicalName == "" {
		p.CanonicalName = p.Workload
	}
	if p.CanonicalRevision == "" && p.CanonicalName != "" {
		p.CanonicalRevision = "latest"
	}
	if p.Workload == "" {
		p.Workload = workloadOf(p.Owner)
	}
	return p
}

// workloadOf is the last element of an owner,
// "kubernetes://apis/apps/v1/namespaces/ns/deployments/web".
func workloadOf(owner string) string {
	return owner[strings.LastIndexByte(owner, '/')+1:]
}
