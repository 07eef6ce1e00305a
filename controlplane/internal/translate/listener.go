package translate

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// Ports that a proxy's own machinery listens on; no service's listener may take them on the
// same address.
var reservedPorts = map[uint32]bool{15000: true, outboundPort: true, 15004: true, inboundPort: true, 15008: true, 15020: true, 15021: true, 15080: true, 15090: true}

// Listeners returns all listeners of a proxy: inbound, then outbound, or those of a gateway;
// in a stable order.
func Listeners(s *model.Snapshot, p *model.Proxy) []Resource {
	var all []*listenerv3.Listener
	if p.Type == model.Router {
		all = buildGatewayListeners(s, p)
	} else {
		all = append(inboundListeners(s, p), outboundListeners(s, p)...)
	}
	out := make([]Resource, 0, len(all))
	for _, l := range all {
		out = append(out, Resource{Name: l.Name, build: func() proto.Message { return l }})
	}
	return out
}

// listenerLogs puts the logger for connections without a filter chain on a listener.
func listenerLogs(l *listenerv3.Listener, logs []*accesslogv3.AccessLog) *listenerv3.Listener {
	l.AccessLog = logs
	return l
}

func trafficDirection(d direction) corev3.TrafficDirection {
	if d == inbound {
		return corev3.TrafficDirection_INBOUND
	}
	return corev3.TrafficDirection_OUTBOUND
}
