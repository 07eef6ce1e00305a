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
