package validate

import (
	"net/netip"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/config/internal/field"
)

func gateway(c *checker, root *field.Path, spec any) {
	gw := spec.(*networking.Gateway)
	if len(gw.Servers) == 0 {
		c.add(root.Child("servers"), "missing; a gateway needs at least one server")
	}
	c.selectorLabels(root.Child("selector"), gw.Selector)
	names := map[string]int{}
	for i, s := range gw.Servers {
		at := root.Child("servers").Index(i)
		c.server(at, s)
		if s.Port == nil || s.Port.Name == "" {
			continue
		}
		if first, dup := names[s.Port.Name]; dup {
			c.add(at.Child("port", "name"), "%q is the name of servers[%d]'s port as well; rename one", s.Port.Name, first)
		} else {
			names[s.Port.Name] = i
		}
	}
}

func (c *checker) server(p *field.Path, s *networking.Server) {
	if s.Bind != "" && !strings.HasPrefix(s.Bind, "unix://") {
		if _, err := netip.ParseAddr(s.Bind); err != nil {
			c.add(p.Child("bind"), "%q is not an address", s.Bind)
		}
	}
	if s.DefaultEndpoint != "" {
		c.add(p.Child("defaultEndpoint"), "has no meaning; route with a VirtualService")
	}
	if len(s.Hosts) == 0 {
		c.add(p.Child("hosts"), `missing; name the hosts that are served, or "*"`)
	}
	for i, h := range s.Hosts {
		c.gatewayHost(p.Child("hosts").Index(i), h)
	}
	if s.Port == nil {
		c.add(p.Child("port"), "missing; a server needs a port with number, name and protocol")
		return
	}
	c.port(p.Child("port", "number"), int64(s.Port.Number), false)
	if s.Port.Name == "" {
		c.add(p.Child("port", "name"), "missing; a port needs a name")
	}
	c.protocol(p.Child("port", "protocol"), s.Port.Protocol)
	c.serverTLS(p, s)
}

// gatewayHost checks [namespace/]host, where either part may be "*" and the namespace ".".
func (c *checker) gatewayHost(p *field.Path, h string) {
	ns, host, ok := strings.Cut(h, "/")
	if !ok {
		ns, host = "*", h
	}
	if ns != "*" && ns != "." && !label1123.MatchString(ns) {
		c.add(p, `%q: the part before the slash must be a namespace, "." or "*"`, h)
		return
	}
	c.host(p, host, anyHost)
}

func (c *checker) serverTLS(p *field.Path, s *networking.Server) {
	protocol := strings.ToUpper(s.Port.Protocol)
	tls, at := s.Tls, p.Child("tls")
	encrypted := protocol == "HTTPS" || protocol == "TLS"
	if tls == nil {
		if encrypted {
			c.add(at, "missing; protocol %s needs it, with a mode and a credentialName", protocol)
		}
		return
	}
	if !encrypted {
		if !tls.HttpsRedirect && (tls.Mode != networking.ServerTLSSettings_PASSTHROUGH || tls.CredentialName != "" || tls.ServerCertificate != "") {
			c.add(at, "has no meaning with protocol %s; use HTTPS or TLS", protocol)
		}
		return
	}
	if tls.HttpsRedirect && protocol == "TLS" {
		c.add(at.Child("httpsRedirect"), "needs an HTTP protocol")
	}
	switch tls.Mode {
	case networking.ServerTLSSettings_SIMPLE, networking.ServerTLSSettings_MUTUAL, networking.ServerTLSSettings_OPTIONAL_MUTUAL:
		c.serverCertificates(at, tls)
	case networking.ServerTLSSettings_PASSTHROUGH, networking.ServerTLSSettings_AUTO_PASSTHROUGH, networking.ServerTLSSettings_ISTIO_MUTUAL:
		for name, v := range map[string]string{"credentialName": tls.CredentialName, "serverCertificate": tls.ServerCertificate,
			"privateKey": tls.PrivateKey} {
			if v != "" {
				c.add(at.Child(name), "has no meaning with mode %s; remove it", tls.Mode)
			}
		}
	}
	if tls.MinProtocolVersion != networking.ServerTLSSettings_TLS_AUTO && tls.MaxProtocolVersion != networking.ServerTLSSettings_TLS_AUTO &&
		tls.MinProtocolVersion > tls.MaxProtocolVersion {
		c.add(at.Child("minProtocolVersion"), "%s is above maxProtocolVersion %s", tls.MinProtocolVersion, tls.MaxProtocolVersion)
	}
	seen := map[string]bool{}
	for i, suite := range tls.CipherSuites {
		if seen[suite] {
			c.add(at.Child("cipherSuites").Index(i), "%q is given twice; remove one", suite)
		}
		seen[suite] = true
	}
}

func (c *checker) serverCertificates(at *field.Path, tls *networking.ServerTLSSettings) {
	ways := 0
	for _, set := range []bool{tls.CredentialName != "", len(tls.CredentialNames) > 0, tls.ServerCertificate != "" || tls.PrivateKey != "", len(tls.TlsCertificates) > 0} {
		if set {
			ways++
		}
	}
	if ways > 1 {
		c.add(at, "set one of credentialName, credentialNames, tlsCertificates and serverCertificate")
	}
	if ways == 0 {
		c.add(at.Child("credentialName"), "missing; mode %s needs the name of a secret, or files in serverCertificate and privateKey", tls.Mode)
		return
	}
	if tls.ServerCertificate != "" && tls.PrivateKey == "" {
		c.add(at.Child("privateKey"), "missing; a certificate file needs its key")
	}
	if tls.ServerCertificate == "" && tls.PrivateKey != "" {
		c.add(at.Child("serverCertificate"), "missing; a key file needs its certificate")
	}
	if tls.Mode == networking.ServerTLSSettings_MUTUAL && tls.ServerCertificate != "" && tls.CaCertificates == "" {
		c.add(at.Child("caCertificates"), "missing; mode MUTUAL must know which CAs sign its clients")
	}
}
