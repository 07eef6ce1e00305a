package snapshot

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/credential"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// gateway converts a Gateway. A server that cannot be served is left out and reported; the others go on.
func (b *Builder) gateway(o object, g *networking.Gateway, p *problems) *model.Gateway {
	out := &model.Gateway{Namespace: o.Namespace, Name: o.Name, Selector: cloneMap(g.Selector), Created: o.Created, Origin: o.origin()}
	if o.made {
		_, behind, _ := strings.Cut(o.Annotations[config.GatewayServiceAnnotation], ".")
		out.Within, _, _ = strings.Cut(behind, ".")
	}
	for i, s := range g.Servers {
		field := indexed("spec.servers", i)
		if s == nil || s.Port == nil || s.Port.Number == 0 || s.Port.Number > 65535 {
			p.add(field+".port", "is missing; the server is left out")
			continue
		}
		if srv, ok := server(o, s, field, p); ok {
			out.Servers = append(out.Servers, srv)
		}
	}
	return out
}

func server(o object, s *networking.Server, field string, p *problems) (model.Server, bool) {
	out := model.Server{Port: s.Port.Number, PortName: s.Port.Name, Bind: s.Bind, Name: s.Name, Origin: o.at(field)}
	var ok bool
	if out.Protocol, ok = model.ParseProtocol(s.Port.Protocol); !ok || out.Protocol == model.ProtocolUDP {
		p.add(field+".port.protocol", "%q is not supported on gateways, nor is HTTP/3; the server is left out", s.Port.Protocol)
		return out, false
	}
	switch name := strings.ToUpper(s.Port.Protocol); name {
	case "MONGO", "MYSQL", "REDIS":
		p.add(field+".port.protocol", "%s is served as TCP: its commands are neither read nor counted", name)
	}
	if strings.HasPrefix(s.Bind, "unix://") {
		p.add(field+".bind", "Unix sockets are not supported on gateways; the server is left out")
		return out, false
	}
	if s.DefaultEndpoint != "" {
		p.add(field+".defaultEndpoint", "has no effect, as in Istio; route with a VirtualService")
	}
	for _, h := range s.Hosts {
		out.Hosts = append(out.Hosts, serverHost(h, o.Namespace))
	}
	switch t := s.Tls; {
	case out.Protocol.IsHTTP():
		out.HTTPSRedirect = t.GetHttpsRedirect()
	case out.Protocol.IsTLS() && t == nil:
		p.add(field+".tls", "is missing for protocol %s; the server is left out", s.Port.Protocol)
		return out, false
	case out.Protocol.IsTLS():
		out.HTTPSRedirect = t.HttpsRedirect
		if out.TLS, ok = serverTLS(o, t, field+".tls", p); !ok {
			return out, false
		}
	}
	return out, true
}

// serverHost reads "[namespace/]host", where the namespace may be "*" for any and "." for the
// gateway's own.
func serverHost(h, ns string) model.ServerHost {
	n, host, ok := strings.Cut(h, "/")
	switch {
	case !ok:
		n, host = "*", h
	case n == ".":
		n = ns
	}
	return model.ServerHost{Namespace: n, Host: strings.ToLower(host)}
}

// serverTLS converts a server's TLS. The second result is false when the server cannot take
// connections.
func serverTLS(o object, t *networking.ServerTLSSettings, field string, p *problems) (*model.ServerTLS, bool) {
	out := &model.ServerTLS{Mode: model.ServerTLSMode(t.Mode)}
	if out.Mode.Passthrough() {
		for _, f := range []struct {
			name string
			set  bool
		}{
			{"credentialName", t.CredentialName != ""}, {"credentialNames", len(t.CredentialNames) > 0}, {"serverCertificate", t.ServerCertificate != ""},
			{"privateKey", t.PrivateKey != ""}, {"caCertificates", t.CaCertificates != ""}, {"tlsCertificates", len(t.TlsCertificates) > 0},
			{"caCertCredentialName", t.CaCertCredentialName != ""}, {"caCrl", t.CaCrl != ""}, {"subjectAltNames", len(t.SubjectAltNames) > 0},
			{"cipherSuites", len(t.CipherSuites) > 0}, {"minProtocolVersion", t.MinProtocolVersion != 0}, {"maxProtocolVersion", t.MaxProtocolVersion != 0},
			{"verifyCertificateSpki", len(t.VerifyCertificateSpki) > 0}, {"verifyCertificateHash", len(t.VerifyCertificateHash) > 0},
			{"insecureSkipVerify", t.InsecureSkipVerify.GetValue()},
		} {
			if f.set {
				p.add(field+"."+f.name, "has no effect with mode %s: the server behind the gateway ends the TLS", t.Mode)
			}
		}
		return out, true
	}
	out.SANs, out.CRLFile = slices.Clone(t.SubjectAltNames), t.CaCrl
	if out.Mode == model.ServerIstioMutual {
		return out, true // the mesh's certificates and parameters
	}
	out.MinVersion, out.MaxVersion = model.TLSVersion(t.MinProtocolVersion), model.TLSVersion(t.MaxProtocolVersion)
	out.Ciphers = cipherSuites(t.CipherSuites, field, p)
	out.AcceptUntrusted = t.InsecureSkipVerify.GetValue()
	out.SPKI, out.Hashes = slices.Clone(t.VerifyCertificateSpki), slices.Clone(t.VerifyCertificateHash)
	if !serverCertificates(o, out, t, field, p) {
		return nil, false
	}
	if !out.Mode.ChecksClients() {
		// Nothing asks for a client's certificate, so nothing can be said of it.
		out.SANs, out.CRLFile, out.SPKI, out.Hashes, out.AcceptUntrusted = nil, "", nil, nil, false
		return out, true
	}
	return out, clientRoots(o, out, t, field, p)
}

func serverCertificates(o object, out *model.ServerTLS, t *networking.ServerTLSSettings, field string, p *problems) bool {
	names, at := t.CredentialNames, func(i int) string { return indexed(field+".credentialNames", i) }
	if len(names) == 0 && t.CredentialName != "" {
		names, at = []string{t.CredentialName}, func(int) string { return field + ".credentialName" }
	}
	for i, name := range names {
		if o.made && strings.HasPrefix(name, model.GatewayCredentialPrefix) {
			out.Credentials = append(out.Credentials, name)
			continue
		}
		resource, err := credentialResource(name)
		if err != nil {
			p.add(at(i), "%v; the server is left out", err)
			return false
		}
		out.Credentials = append(out.Credentials, resource)
	}
	if len(names) > 0 {
		return true
	}
	for _, c := range t.TlsCertificates {
		out.Files = append(out.Files, model.CertificateFile{Certificate: c.GetServerCertificate(), Key: c.GetPrivateKey()})
	}
	if len(out.Files) == 0 && t.ServerCertificate != "" {
		out.Files = []model.CertificateFile{{Certificate: t.ServerCertificate, Key: t.PrivateKey}}
	}
	if len(out.Files) == 0 {
		p.add(field, "names no certificate; the server is left out")
		return false
	}
	return true
}

// clientRoots finds what clients' certificates are checked with.
func clientRoots(o object, out *model.ServerTLS, t *networking.ServerTLSSettings, field string, p *problems) bool {
	switch {
	case o.made && strings.HasPrefix(t.CaCertCredentialName, model.GatewayCredentialPrefix):
		out.CACredential = withCASuffix(t.CaCertCredentialName)
	case t.CaCertCredentialName != "":
		resource, err := credentialResource(t.CaCertCredentialName)
		if err != nil {
			p.add(field+".caCertCredentialName", "%v; the server is left out", err)
			return false
		}
		out.CACredential = withCASuffix(resource)
	case len(out.Credentials) > 0:
		// Of several certificates the first one's companion counts.
		out.CACredential = withCASuffix(out.Credentials[0])
	case t.CaCertificates != "":
		out.CAFile = t.CaCertificates
	default:
		p.add(field+".caCertificates", "is missing for mode %s; the server is left out", t.Mode)
		return false
	}
	return true
}

func withCASuffix(resource string) string { return resource + model.CASuffix }

// credentialResource names the resource for a credentialName, as Istio does: the name of a
// Secret in the gateway's own namespace, or what is written with a scheme: another Secret, or a provider of the mesh's settings.
func credentialResource(name string) (string, error) {
	scheme, _, given := strings.Cut(name, "://")
	if !given {
		return model.CredentialPrefix + name, nil
	}
	switch scheme + "://" {
	case model.CredentialPrefix:
	case model.ProviderCredentialPrefix:
		if name == model.ProviderCredentialPrefix {
			return "", fmt.Errorf("%q names no provider of the mesh's settings (extensionProviders: sds)", name)
		}
	default:
		return "", fmt.Errorf("%q: certificates of %s:// are not supported, only those of Secrets and, by sds://, of providers", name, scheme)
	}
	return name, nil
}

// suites are the cipher suites of Istio's API that a proxy can be given. Triple DES is not
// among them: neither crypto/tls nor today's BoringSSL offer it by that name.
var suites = []string{
	"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
	"ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA",
	"ECDHE-ECDSA-AES256-SHA", "ECDHE-RSA-AES256-SHA", "AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA", "AES256-SHA",
}

// cipherSuites leaves out those that a proxy would refuse the whole listener for, and doubles,
// and says so. Istio ignores both with a warning.
func cipherSuites(list []string, field string, p *problems) []string {
	var out []string
	for i, s := range list {
		switch {
		case !slices.Contains(suites, s):
			p.add(indexed(field+".cipherSuites", i), "%q is not a cipher suite that proxies have; it is left out", s)
		case slices.Contains(out, s):
			p.add(indexed(field+".cipherSuites", i), "%q is given twice; it counts once", s)
		default:
			out = append(out, s)
		}
	}
	return out
}

// secret converts a Secret, nil for one that has nothing to do with TLS.
func (b *Builder) secret(o object, s *corev1.Secret, p *problems) *model.Credential {
	c, err := credential.Parse(s)
	if err != nil {
		// What can be used of it is; config/analyze names the gateways that lack the rest.
		p.add("", "%v", err)
	}
	if c.Empty() {
		return nil
	}
	return &model.Credential{
		Namespace: o.Namespace, Name: o.Name, Certificate: c.Certificate, Key: c.Key, Staple: c.Staple, CA: c.CA, CRL: c.CRL,
		Created: o.Created, Origin: o.origin(),
	}
}
