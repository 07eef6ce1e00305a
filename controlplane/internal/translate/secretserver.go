package translate

import (
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// secretServer is a provider of certificates (extensionProviders.sds) as a proxy reaches it.
type secretServer struct {
	name string
	to   collector
}

// secretServers are those that a proxy reaches; a mesh without such providers has none.
type secretServers []secretServer

func secretServersOf(s *model.Snapshot, p *model.Proxy) secretServers {
	var out secretServers
	for _, pr := range s.Mesh.Providers {
		if pr.Secrets == nil {
			continue
		}
		if to, ok := collectorOf(s, p, pr); ok {
			out = append(out, secretServer{pr.Secrets.Name, to})
		}
	}
	return out
}

// SecretServerClusters are the names of the clusters by which a proxy reaches providers of certificates.
func SecretServerClusters(s *model.Snapshot, p *model.Proxy) []string {
	var out []string
	for _, srv := range secretServersOf(s, p) {
		out = append(out, srv.to.cluster)
	}
	return out
}

// servesSecrets reports whether one of the hosts is that of a provider of certificates, or would be if it were there, or may be what it is an alias of.
func servesSecrets(s *model.Snapshot, hosts map[string]bool) bool {
	return len(hosts) > 0 && slices.ContainsFunc(s.Mesh.Providers, func(pr *model.Provider) bool {
		return pr.Secrets != nil && (hosts[pr.Secrets.To.Host] || s.Aliases.Len() > 0)
	})
}

// key names what secrets' configurations depend on beside their names.
func (l secretServers) key(k *keyHash) {
	for _, srv := range l {
		k.str(srv.name, srv.to.cluster)
	}
}

// secret refers to a certificate, or to roots, by name: one of the control plane's, or of the provider that the name names. One that no provider serves is asked of the
// control plane too, as in Istio, which has none. Unlike the workload's own certificate it may not exist, so the proxy waits for its default
// time alone: a listener has other servers than the one that lacks a certificate.
func (l secretServers) secret(name string) *tlsv3.SdsSecretConfig {
	out := &tlsv3.SdsSecretConfig{Name: name, SdsConfig: &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		ResourceApiVersion:    corev3.ApiVersion_V3,
	}}
	if provider, ok := strings.CutPrefix(name, model.ProviderCredentialPrefix); ok {
		if srv := l.find(provider); srv != nil {
			out.SdsConfig.ConfigSourceSpecifier = &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
				ApiType: corev3.ApiConfigSource_GRPC, TransportApiVersion: corev3.ApiVersion_V3,
				GrpcServices: []*corev3.GrpcService{srv.to.grpc()}, SetNodeOnFirstMessageOnly: true,
			}}
		}
	}
	return out
}

// find returns the server of a name, which may be the name of its roots: where no server has that, they are the business of the one that has the certificate.
func (l secretServers) find(provider string) *secretServer {
	for _, name := range []string{provider, strings.TrimSuffix(provider, model.CASuffix)} {
		if i := slices.IndexFunc(l, func(srv secretServer) bool { return srv.name == name }); i >= 0 {
			return &l[i]
		}
	}
	return nil
}
