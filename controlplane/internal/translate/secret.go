package translate

import (
	"maps"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// Secrets returns the secrets with these names, in their order: those that exist and that the proxy may read. That is a proxy with a
// proven identity, of the Secret's own namespace or served a Gateway of the Gateway API that may refer to it, which one of a gateway's Gateway objects or a destination rule sends to it; so no
// proxy can read other Secrets that happen to be in its namespace.
func Secrets(s *model.Snapshot, p *model.Proxy, names []string) []Resource {
	if !p.Verified || len(names) == 0 {
		return nil
	}
	named := clientCredentials(s, p)
	if p.Type == model.Router {
		maps.Copy(named, gatewayCredentials(s, p))
	}
	var out []Resource
	for _, name := range names {
		if !named[name] {
			continue
		}
		if r, ok := secret(s, p, name); ok {
			out = append(out, r)
		}
	}
	return out
}

// gatewayCredentials are the names of secrets that the proxy's Gateway objects refer to.
func gatewayCredentials(s *model.Snapshot, p *model.Proxy) map[string]bool {
	out := map[string]bool{}
	for _, gw := range s.GatewaysFor(p) {
		for _, srv := range gw.Servers {
			if srv.TLS == nil {
				continue
			}
			for _, name := range srv.TLS.Credentials {
				out[name] = true
			}
			if srv.TLS.CACredential != "" {
				out[srv.TLS.CACredential] = true
			}
		}
	}
	return out
}

// clientCredentials are the names of secrets that destination rules refer to for the proxy.
func clientCredentials(s *model.Snapshot, p *model.Proxy) map[string]bool {
	out := map[string]bool{}
	for _, rules := range s.MergedRules.Values() {
		for _, r := range rules {
			if !r.MayUseCredentials(p) {
				continue
			}
			for _, name := range r.Credentials() {
				out[name] = true
			}
		}
	}
	return out
}

// secret makes one secret. Roots for clients, "NAME-cacert", stand in a Secret of that name, else in NAME itself.
func secret(s *model.Snapshot, p *model.Proxy, name string) (Resource, bool) {
	ns, object, ok := model.ParseCredentialName(name, p.Namespace)
	if !ok || ns != p.Namespace && !strings.HasPrefix(name, model.GatewayCredentialPrefix) {
		return Resource{}, false
	}
	c, found := s.Credentials.Get(ns + "/" + object)
	if base, isRoots := strings.CutSuffix(object, model.CASuffix); isRoots {
		if !found {
			c, found = s.Credentials.Get(ns + "/" + base)
		}
		if !found || c.CA == nil {
			return Resource{}, false
		}
		return Resource{Name: name, Key: credentialKey(c, "roots"), build: func() proto.Message { return rootsSecret(name, c) }}, true
	}
	if !found || c.Certificate == nil {
		return Resource{}, false
	}
	return Resource{Name: name, Key: credentialKey(c, "certificate"), build: func() proto.Message { return certificateSecret(name, c) }}, true
}

func credentialKey(c *model.Credential, part string) string {
	return (&keyHash{}).str(c.TableKey(), part).num(c.Rev).String()
}

func certificateSecret(name string, c *model.Credential) *tlsv3.Secret {
	t := &tlsv3.TlsCertificate{CertificateChain: inlineBytes(c.Certificate), PrivateKey: inlineBytes(c.Key)}
	if c.Staple != nil {
		t.OcspStaple = inlineBytes(c.Staple)
	}
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: t}}
}

func rootsSecret(name string, c *model.Credential) *tlsv3.Secret {
	v := &tlsv3.CertificateValidationContext{TrustedCa: inlineBytes(c.CA)}
	if c.CRL != nil {
		v.Crl = inlineBytes(c.CRL)
	}
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_ValidationContext{ValidationContext: v}}
}

func inlineBytes(b []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
}
