package translate

import (
	"net"
	"strconv"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// tracerCluster names the cluster that leads to the address of defaultConfig.tracing, where that is no service of the mesh's. The names are Istio's.
func tracerCluster(tracer *model.Provider) string {
	switch {
	case tracer.Datadog != nil:
		return "datadog_agent"
	case tracer.OTLP != nil:
		return "lightstep"
	}
	return "zipkin"
}

// tracerAddress is the host and port of defaultConfig.tracing; false: it has none.
func tracerAddress(m *model.Mesh) (host string, port uint32, ok bool) {
	if m.Tracer == nil {
		return "", 0, false
	}
	host, text, err := net.SplitHostPort(m.TracerAddress)
	if err != nil {
		return "", 0, false
	}
	n, err := strconv.ParseUint(text, 10, 16)
	return host, uint32(n), err == nil
}

// tracerOf finds the collector of defaultConfig.tracing: a service of the mesh's, else what the address says. Istio's
// proxies ask DNS, where Kubernetes knows the services; without Kubernetes nobody does. With TLS of its own it is what the address says in any case, as in Istio:
// how a service of the mesh's is connected to its DestinationRule says.
func tracerOf(s *model.Snapshot, p *model.Proxy) collector {
	host, port, ok := tracerAddress(s.Mesh)
	if !ok {
		return collector{}
	}
	name := tracerCluster(s.Mesh.Tracer)
	if t := s.Mesh.TracerTLS; t != nil && t.Mode != model.TLSDisable {
		return collector{name, host}
	}
	for _, h := range s.Mesh.HostsOf(host) {
		if svc := s.ServiceOf(p, model.ProviderService{Host: h, Port: port}); svc != nil {
			return collector{ClusterName(port, "", svc.Host), host}
		}
	}
	return collector{name, host}
}

// tracerClusters is the cluster for a collector that is no service of the mesh's.
func tracerClusters(s *model.Snapshot, p *model.Proxy) []Resource {
	host, port, ok := tracerAddress(s.Mesh)
	if !ok {
		return nil
	}
	name := tracerCluster(s.Mesh.Tracer)
	if tracerOf(s, p).cluster != name {
		return nil
	}
	system := systemRoots(p)
	var c *clusterv3.Cluster
	if s.Mesh.Tracer.OTLP != nil {
		c = remoteCluster(s.Mesh, name, &model.RemoteService{Host: host, Port: port, TLS: s.Mesh.TracerTLS}, system)
	} else {
		c = hostCluster(s.Mesh, name, host, port)
		c.TransportSocket = hostTLS(s.Mesh, p, s.Mesh.TracerTLS, host)
	}
	return []Resource{{Name: name, Key: (&keyHash{}).num(s.Mesh.Rev).str(system).String(), build: func() proto.Message { return c }}}
}
