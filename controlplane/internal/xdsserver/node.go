package xdsserver

import (
	"fmt"

	corepb "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// proxyOf reads the node of a stream's first request and checks that the caller may be it: id is what the caller proved, zero on the
// plaintext listener, where nothing is proved. The error is a gRPC status that the client is sent.
func proxyOf(node *corepb.Node, id spiffe.ID) (*model.Proxy, error) {
	if node == nil || node.GetId() == "" {
		return nil, status.Error(codes.InvalidArgument, "the first request of a stream must carry the node with its id")
	}
	loc := node.GetLocality()
	p, err := model.ParseProxy(node.GetId(), node.GetCluster(), node.GetMetadata().AsMap(),
		model.Locality{Region: loc.GetRegion(), Zone: loc.GetZone(), SubZone: loc.GetSubZone()})
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	p.Lacks = lacks(node.GetExtensions())
	if id.IsZero() {
		return p, nil
	}
	if p.Namespace != id.Namespace {
		return nil, status.Error(codes.PermissionDenied,
			fmt.Sprintf("node %q is of namespace %q and the caller is %s; a proxy may ask for its own namespace's configuration only", p.ID, p.Namespace, id))
	}
	if p.ServiceAccount == "" {
		p.ServiceAccount = id.ServiceAccount
	}
	p.Verified = true
	if p.ServiceAccount != id.ServiceAccount {
		return nil, status.Error(codes.PermissionDenied,
			fmt.Sprintf("node %q has SERVICE_ACCOUNT %q and the caller is %s", p.ID, p.ServiceAccount, id))
	}
	return p, nil
}

// istioFilters are the types by which a program's list of extensions names Istio's filters
// (github.com/istio/proxy, source/extensions/filters).
var istioFilters = map[string]model.IstioFilters{
	"io.istio.http.peer_metadata.Config":                 model.PeerMetadata,
	"stats.PluginConfig":                                 model.IstioStats,
	"envoy.tcp.metadataexchange.config.MetadataExchange": model.MetadataExchange,
}

// lacks returns which of Istio's filters a program has not. One that lists no extensions, or none with their types, as Envoy did before
// 1.26, has all: Istio's proxies of that time are more than Envoys.
func lacks(extensions []*corepb.Extension) model.IstioFilters {
	var all, has model.IstioFilters
	for _, f := range istioFilters {
		all |= f
	}
	typed := false
	for _, e := range extensions {
		for _, t := range e.GetTypeUrls() {
			typed = true
			has |= istioFilters[t]
		}
	}
	if !typed {
		return 0
	}
	return all &^ has
}
