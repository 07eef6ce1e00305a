package xdsclient

import (
	"context"

	clusterservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	endpointservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	extensionservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/extension/v3"
	listenerservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/listener/v3"
	routeservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/route/v3"
	runtimeservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// ServiceOf returns the protocol of the service that serves one type alone.
func ServiceOf(typeURL string, delta bool) Protocol {
	var sotw, incremental Protocol
	switch typeURL {
	case xdsresource.TypeListener:
		sotw, incremental = SotwLDS, DeltaLDS
	case xdsresource.TypeCluster:
		sotw, incremental = SotwCDS, DeltaCDS
	case xdsresource.TypeRoute:
		sotw, incremental = SotwRDS, DeltaRDS
	case xdsresource.TypeScopedRoutes:
		sotw, incremental = SotwSRDS, DeltaSRDS
	case xdsresource.TypeVirtualHost:
		return DeltaVHDS // the service has no other variant
	case xdsresource.TypeExtension:
		sotw, incremental = SotwECDS, DeltaECDS
	case xdsresource.TypeEndpoints:
		sotw, incremental = SotwEDS, DeltaEDS
	case xdsresource.TypeRuntime:
		sotw, incremental = SotwRTDS, DeltaRTDS
	case xdsresource.TypeSecret:
		sotw, incremental = SotwSDS, DeltaSDS
	default:
		panic("BUG: xdsclient: no service serves " + typeURL)
	}
	if delta {
		return incremental
	}
	return sotw
}

// open begins the stream of the configured protocol.
func (c *Client) open(ctx context.Context, conn *grpc.ClientConn) (transport, error) {
	switch c.cfg.Protocol {
	case DeltaADS:
		return delta(c)(discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx))
	case SotwADS:
		return sotw(c)(discoveryv3.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx))
	case SotwSDS:
		return sotw(c)(secretv3.NewSecretDiscoveryServiceClient(conn).StreamSecrets(ctx))
	case DeltaSDS:
		return delta(c)(secretv3.NewSecretDiscoveryServiceClient(conn).DeltaSecrets(ctx))
	case SotwLDS:
		return sotw(c)(listenerservicev3.NewListenerDiscoveryServiceClient(conn).StreamListeners(ctx))
	case DeltaLDS:
		return delta(c)(listenerservicev3.NewListenerDiscoveryServiceClient(conn).DeltaListeners(ctx))
	case SotwCDS:
		return sotw(c)(clusterservicev3.NewClusterDiscoveryServiceClient(conn).StreamClusters(ctx))
	case DeltaCDS:
		return delta(c)(clusterservicev3.NewClusterDiscoveryServiceClient(conn).DeltaClusters(ctx))
	case SotwRDS:
		return sotw(c)(routeservicev3.NewRouteDiscoveryServiceClient(conn).StreamRoutes(ctx))
	case DeltaRDS:
		return delta(c)(routeservicev3.NewRouteDiscoveryServiceClient(conn).DeltaRoutes(ctx))
	case SotwSRDS:
		return sotw(c)(routeservicev3.NewScopedRoutesDiscoveryServiceClient(conn).StreamScopedRoutes(ctx))
	case DeltaSRDS:
		return delta(c)(routeservicev3.NewScopedRoutesDiscoveryServiceClient(conn).DeltaScopedRoutes(ctx))
	case DeltaVHDS:
		return delta(c)(routeservicev3.NewVirtualHostDiscoveryServiceClient(conn).DeltaVirtualHosts(ctx))
	case SotwECDS:
		return sotw(c)(extensionservicev3.NewExtensionConfigDiscoveryServiceClient(conn).StreamExtensionConfigs(ctx))
	case DeltaECDS:
		return delta(c)(extensionservicev3.NewExtensionConfigDiscoveryServiceClient(conn).DeltaExtensionConfigs(ctx))
	case SotwEDS:
		return sotw(c)(endpointservicev3.NewEndpointDiscoveryServiceClient(conn).StreamEndpoints(ctx))
	case DeltaEDS:
		return delta(c)(endpointservicev3.NewEndpointDiscoveryServiceClient(conn).DeltaEndpoints(ctx))
	case SotwRTDS:
		return sotw(c)(runtimeservicev3.NewRuntimeDiscoveryServiceClient(conn).StreamRuntime(ctx))
	case DeltaRTDS:
		return delta(c)(runtimeservicev3.NewRuntimeDiscoveryServiceClient(conn).DeltaRuntime(ctx))
	}
	panic("BUG: xdsclient: unknown protocol")
}

// sotw and delta wrap what a service's method returns; all of them share a shape.
func sotw(c *Client) func(sotwStream, error) (transport, error) {
	return func(s sotwStream, err error) (transport, error) { return &sotwTransport{c: c, s: s}, err }
}

func delta(c *Client) func(deltaStream, error) (transport, error) {
	return func(s deltaStream, err error) (transport, error) { return &deltaTransport{c: c, s: s}, err }
}

type sotwStream interface {
	Send(*discoveryv3.DiscoveryRequest) error
	Recv() (*discoveryv3.DiscoveryResponse, error)
}

type deltaStream interface {
	Send(*discoveryv3.DeltaDiscoveryRequest) error
	Recv() (*discoveryv3.DeltaDiscoveryResponse, error)
}
