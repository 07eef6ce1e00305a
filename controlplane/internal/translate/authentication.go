package translate

import (
	"net"
	"net/url"
	"slices"
	"strconv"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/controlplane/internal/authentication"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/stringmatch"
)

// tokens is the filter that verifies requests' tokens, as the proxy's policies say; none without policies.
func tokens(s *model.Snapshot, p *model.Proxy, d direction) []*hcmv3.HttpFilter {
	if !authorizes(d) {
		return nil
	}
	cluster := func(uri string) string { return keyServerOf(s, p, uri).cluster }
	cfg := authentication.Config(s.RequestAuthenticationsFor(p.Namespace, p.Labels), authentication.Options{Cluster: cluster, Reroute: d == gateway, Refresh: s.KeysRefresh})
	if cfg == nil {
		return nil
	}
	return []*hcmv3.HttpFilter{{Name: jwtFilter, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: toAny(cfg)}}}
}

// keyServer is where a proxy fetches keys.
type keyServer struct {
	cluster string
	own     bool // the cluster is made for it: the mesh knows no such service
	host    string
	port    uint32
	tls     bool
}

// keyServerOf is the server of a jwksUri, which is checked; "", which is not known yet, leads nowhere. One that speaks plaintext may be a service of the mesh, and then goes by its cluster, with what
// the mesh does for it. One that speaks TLS itself does not: its certificate is the public's.
func keyServerOf(s *model.Snapshot, p *model.Proxy, uri string) keyServer {
	u, err := url.Parse(uri)
	if err != nil || u.Hostname() == "" {
		return keyServer{cluster: BlackHoleCluster}
	}
	k := keyServer{host: u.Hostname(), port: 80, tls: u.Scheme == "https"}
	if k.tls {
		k.port = 443
	}
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
		k.port = uint32(n)
	}
	if svc := s.ServiceOf(p, model.ProviderService{Host: k.host, Port: k.port}); svc != nil && !k.tls {
		k.cluster = ClusterName(k.port, "", svc.Host)
		return k
	}
	k.own, k.cluster = true, "jwks|"+u.Scheme+"|"+net.JoinHostPort(k.host, strconv.FormatUint(uint64(k.port), 10))
	return k
}

// keyServerClusters are the clusters that only the proxy's policies need.
func keyServerClusters(s *model.Snapshot, p *model.Proxy) []Resource {
	var out []Resource
	for _, a := range s.RequestAuthenticationsFor(p.Namespace, p.Labels) {
		for _, r := range a.Rules {
			if r.GetJwksUri() == "" || r.GetJwks() != "" {
				continue
			}
			k := keyServerOf(s, p, r.GetJwksUri())
			if !k.own || slices.ContainsFunc(out, func(r Resource) bool { return r.Name == k.cluster }) {
				continue
			}
			mesh, roots := s.Mesh, systemRoots(p)
			out = append(out, Resource{Name: k.cluster, Key: (&keyHash{}).num(mesh.Rev).str(roots).String(), build: func() proto.Message { return k.build(mesh, roots) }})
		}
	}
	return out
}

func (k keyServer) build(mesh *model.Mesh, roots string) *clusterv3.Cluster {
	c := hostCluster(mesh, k.cluster, k.host, k.port)
	if !k.tls {
		return c
	}
	name := &tlsv3.SubjectAltNameMatcher{SanType: tlsv3.SubjectAltNameMatcher_DNS,
		Matcher: stringmatch.Exact(k.host)}
	up := &tlsv3.UpstreamTlsContext{Sni: k.host, CommonTlsContext: &tlsv3.CommonTlsContext{
		TlsParams: ownParams(mesh),
		ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
			TrustedCa:                 &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: roots}},
			MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{name},
		}},
	}}
	if c.GetType() == clusterv3.Cluster_STATIC {
		up.Sni, name.SanType = "", tlsv3.SubjectAltNameMatcher_IP_ADDRESS
	}
	c.TransportSocket = &corev3.TransportSocket{Name: tlsSocket, ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: toAny(up)}}
	return c
}

// fetchesFrom reports whether keys are fetched from one of the hosts, or would be if it were a service, or may be by an alias: then listeners name its cluster.
func fetchesFrom(s *model.Snapshot, hosts map[string]bool) bool {
	for _, a := range s.RequestAuthentications.Values() {
		if slices.ContainsFunc(a.KeyServers(), func(h string) bool { return hosts[h] || s.Aliases.Len() > 0 }) {
			return true
		}
	}
	return false
}
