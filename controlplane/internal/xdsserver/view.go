package xdsserver

import (
	"github.com/lateen-mesh/lateen/controlplane/internal/xdscache"
	"github.com/lateen-mesh/lateen/pkg/nametable"
)

// The types that have a place in the order. Others are served after routes.
const (
	TypeCluster  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	TypeEndpoint = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	TypeListener = "type.googleapis.com/envoy.config.listener.v3.Listener"
	TypeRoute    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	TypeHost     = "type.googleapis.com/envoy.config.route.v3.VirtualHost"
	TypeSecret   = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	TypeECDS     = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
)

// The types of agents, as Istio's agent uses them.
const (
	// TypeProxyConfig is what an agent is told: an istio.mesh.v1alpha1.ProxyConfig.
	TypeProxyConfig = "type.googleapis.com/istio.mesh.v1alpha1.ProxyConfig"
	// TypeHealth is what an agent says: a request of this type is a message of its own, without an answer. Its error_detail says what is wrong with the
	// workload; without one the workload is well.
	TypeHealth = "type.googleapis.com/istio.v1.HealthInformation"
	// TypeNames is what an agent answers DNS queries from.
	TypeNames = nametable.TypeURL
)

func agentType(typeURL string) bool {
	return typeURL == TypeProxyConfig || typeURL == TypeHealth || typeURL == TypeNames
}

// View is the mesh at one version, as resources. It is immutable, and its methods may be called from any goroutine.
type View interface {
	// Version grows with every view.
	Version() uint64
	// Resources returns what a proxy is to have of a type, of what it subscribes to.
	// Equal content should be the same pointers, which makes comparing cheap. A type that is not known has no resources.
	Resources(p *xdscache.Proxy, typeURL string, sub xdscache.Subscription) *xdscache.Set
}

// place is where a type stands in the order of sending.
type place int

const (
	placeCluster place = iota
	placeEndpoint
	placeSecret
	placeListener
	placeRoute
	placeHost
	placeOther
)

func placeOf(typeURL string) place {
	switch typeURL {
	case TypeCluster:
		return placeCluster
	case TypeEndpoint:
		return placeEndpoint
	case TypeSecret:
		return placeSecret
	case TypeListener:
		return placeListener
	case TypeRoute:
		return placeRoute
	case TypeHost:
		return placeHost
	default:
		return placeOther
	}
}

// first says that the type is sent before, and removed after, those that refer to it.
func (p place) first() bool { return p <= placeEndpoint }

// free says that the type refers to nothing and waits for nothing: it is served from the latest view, whatever else is being carried
// through. A cluster or listener that is being warmed may be waiting for it.
func (p place) free() bool { return p == placeEndpoint || p == placeSecret }

// named says that clients ask for the type by name alone; there is no "all".
func (p place) named() bool { return p == placeEndpoint || p == placeRoute || p == placeSecret }
