package xdsresource

import (
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Type URLs of the resources that xDS carries.
const (
	TypeListener     = "type.googleapis.com/envoy.config.listener.v3.Listener"
	TypeRoute        = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	TypeScopedRoutes = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
	TypeVirtualHost  = "type.googleapis.com/envoy.config.route.v3.VirtualHost"
	TypeCluster      = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	TypeEndpoints    = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	TypeExtension    = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
	TypeRuntime      = "type.googleapis.com/envoy.service.runtime.v3.Runtime"
	TypeSecret       = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
)

// Resource is a decoded resource: its name, the bytes as they came (for the admin API, which
// shows them unchanged), and the validated form (*Listener, *RouteConfig, *Cluster,
// *VirtualHost, *Endpoints, *Secret, *RouteScope, *FilterExtension, or of the runtime map[string]*runtimekey.Value).
type Resource struct {
	Name  string
	Raw   *anypb.Any
	Value any
}

// Decode unpacks and validates one resource of an xDS response. The name is set whenever it
// could be read, even beside an error.
func (d *Decoder) Decode(a *anypb.Any) (Resource, error) {
	r := Resource{Raw: a}
	unpack := func(m proto.Message) error {
		if err := a.UnmarshalTo(m); err != nil {
			return fmt.Errorf("resource of type %s: %w", a.GetTypeUrl(), err)
		}
		if d.ignoreUnknown {
			dropUnknown(m.ProtoReflect())
		}
		return nil
	}
	var err error
	switch a.GetTypeUrl() {
	case TypeListener:
		m := &listenerv3.Listener{}
		if err = unpack(m); err == nil {
			r.Name = m.GetName()
			r.Value, err = d.Listener(m)
		}
	case TypeRoute:
		m := &routev3.RouteConfiguration{}
		if err = unpack(m); err == nil {
			r.Name = m.GetName()
			r.Value, err = d.RouteConfig(m)
		}
	case TypeScopedRoutes:
		m := &routev3.ScopedRouteConfiguration{}
		if err = unpack(m); err == nil {
			r.Name = m.GetName()
			r.Value, err = d.RouteScope(m)
		}
	case TypeVirtualHost:
		m := &routev3.VirtualHost{}
		if err = unpack(m); err == nil {
			r.Name = m.GetName()
			r.Value, err = d.VirtualHost(m)
		}
	case TypeCluster:
		m := &clusterv3.Cluster{}
		if err = unpack(m); err == nil {
			r.Name = m.GetName()
			r.Value, err = d.Cluster(m)
		}
	case TypeEndpoints:
		m := &endpointv3.ClusterLoadAssignment{}
		if err = unpack(m); err == nil {
			r.Name = m.GetClusterName()
			r.Value, err = d.Endpoints(m)
		}
	case TypeExtension:
		m := &corev3.TypedExtensionConfig{}
		if err = unpack(m); err == nil {
			r.Name = m.GetName()
			r.Value, err = d.FilterExtension(m)
		}
	case TypeRuntime:
		m := &runtimev3.Runtime{}
		if err = unpack(m); err == nil {
			r.Name = m.GetName()
			p := &parser{dec: d}
			p.check("", m)
			r.Value = p.runtimeValues("layer", m.GetLayer())
			err = p.finish("runtime", r.Name)
		}
	case TypeSecret:
		m := &tlsv3.Secret{}
		if err = unpack(m); err == nil {
			r.Name = m.GetName()
			r.Value, err = d.Secret(m)
		}
	default:
		err = fmt.Errorf("resource type %s is not supported", a.GetTypeUrl())
	}
	return r, err
}
