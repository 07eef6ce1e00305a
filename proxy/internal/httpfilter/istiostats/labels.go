package istiostats

import (
	"slices"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/peermetadata"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

const unknown = "unknown"

// series is what varies between the streams of one listener: the key of a metric's series.
type series struct {
	peer       *peermetadata.Peer
	cluster    *xdsresource.Cluster
	clusterID  string // the cluster's name, where there is no cluster of that name
	workload   string // endpoint metadata "istio.workload", in place of a peer
	host       string // host header, only where it stands in for the service
	peerURI    string
	mutual     bool
	protocol   string
	code       int
	grpcStatus int // -1: no gRPC
	flags      streaminfo.Flags
}

// service is what a cluster's metadata says about the service behind it.
type service struct{ host, name, namespace string }

// serviceOf reads metadata istio.services, as Istio's control plane writes it.
func serviceOf(md xdsresource.Metadata) service {
	list, _ := md["istio"]["services"].([]any)
	if len(list) == 0 {
		return service{}
	}
	m, _ := list[0].(map[string]any)
	str := func(k string) string {
		s, _ := m[k].(string)
		return s
	}
	return service{str("host"), str("name"), str("namespace")}
}

// labels returns all labels of a series in Istio's order.
func (r *Reporter) labels(k *series) []stats.Tag {
	source, destination := &r.deps.Own, k.peer
	if r.server {
		source, destination = k.peer, &r.deps.Own
	}
	if !r.server && destination == nil {
		destination = peerOfWorkload(k.workload)
	}
	var none peermetadata.Peer
	if source == nil {
		source = &none
	}
	if destination == nil {
		destination = &none
	}
	srcPrincipal, dstPrincipal := unknown, unknown
	if k.mutual {
		if r.server {
			srcPrincipal, dstPrincipal = or(k.peerURI), or(r.deps.Own.Principal)
		} else {
			srcPrincipal, dstPrincipal = or(r.deps.Own.Principal), or(k.peerURI)
		}
	}
	svc := r.destination(k, destination)
	reporter, security := "source", unknown // the source cannot know what the server demands
	if r.server {
		reporter, security = "destination", "none"
		if k.mutual {
			security = "mutual_tls"
		}
	}
	tags := []stats.Tag{
		{Name: "reporter", Value: reporter},
		{Name: "source_workload", Value: or(source.Workload)},
		{Name: "source_canonical_service", Value: or(source.CanonicalName)},
		{Name: "source_canonical_revision", Value: revision(source)},
		{Name: "source_workload_namespace", Value: or(source.Namespace)},
		{Name: "source_principal", Value: srcPrincipal},
		{Name: "source_app", Value: or(source.App)},
		{Name: "source_version", Value: or(source.Version)},
		{Name: "source_cluster", Value: or(source.Cluster)},
		{Name: "destination_workload", Value: or(destination.Workload)},
		{Name: "destination_workload_namespace", Value: or(destination.Namespace)},
		{Name: "destination_principal", Value: dstPrincipal},
		{Name: "destination_app", Value: or(destination.App)},
		{Name: "destination_version", Value: or(destination.Version)},
		{Name: "destination_service", Value: or(svc.host)},
		{Name: "destination_canonical_service", Value: or(destination.CanonicalName)},
		{Name: "destination_canonical_revision", Value: revision(destination)},
		{Name: "destination_service_name", Value: or(svc.name)},
		{Name: "destination_service_namespace", Value: or(svc.namespace)},
		{Name: "destination_cluster", Value: or(destination.Cluster)},
		{Name: "request_protocol", Value: k.protocol},
	}
	if k.protocol != "tcp" {
		grpc := ""
		if k.grpcStatus >= 0 {
			grpc = strconv.Itoa(k.grpcStatus)
		}
		tags = append(tags,
			stats.Tag{Name: "response_code", Value: strconv.Itoa(k.code)},
			stats.Tag{Name: "grpc_response_status", Value: grpc})
	}
	return append(tags,
		stats.Tag{Name: "response_flags", Value: k.flags.String()},
		stats.Tag{Name: "connection_security_policy", Value: security})
}

// destination names the service: from the cluster's metadata, else from the cluster's name
// or the host header.
func (r *Reporter) destination(k *series, dst *peermetadata.Peer) service {
	var svc service
	name := k.clusterID
	if k.cluster != nil {
		svc, name = serviceOf(k.cluster.Metadata), k.cluster.Name
	}
	if svc.host == "" {
		svc.host = k.host
	}
	if svc.name == "" {
		switch name {
		case "PassthroughCluster", "BlackHoleCluster", "InboundPassthroughCluster",
			"InboundPassthroughClusterIpv4", "InboundPassthroughClusterIpv6":
			svc.name = name
		default:
			svc.name = svc.host
		}
	}
	if svc.namespace == "" {
		svc.namespace = dst.Namespace
	}
	return svc
}

// peerOfWorkload reads an endpoint's metadata istio.workload,
// "workload;namespace;canonical-name;canonical-revision;cluster": what the control plane
// says of a server that did not answer with metadata of its own.
func peerOfWorkload(s string) *peermetadata.Peer {
	f := strings.Split(s, ";")
	if len(f) < 5 {
		return nil
	}
	return &peermetadata.Peer{
		Workload: f[0], Namespace: f[1], CanonicalName: f[2], CanonicalRevision: f[3], Cluster: f[4], App: f[2], Version: f[3],
	}
}

func or(s string) string {
	if s == "" {
		return unknown
	}
	return s
}

func revision(p *peermetadata.Peer) string {
	if p.CanonicalRevision == "" && p.CanonicalName != "" {
		return "latest"
	}
	return or(p.CanonicalRevision)
}

// without drops the labels that an override removes.
func without(tags []stats.Tag, names []string) []stats.Tag {
	if len(names) == 0 {
		return tags
	}
	return slices.DeleteFunc(slices.Clone(tags), func(t stats.Tag) bool { return slices.Contains(names, t.Name) })
}
