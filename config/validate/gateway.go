package validate

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
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
	switch strings.ToUpper(s.Port.Protocol) {
	case "HTTP3", "HTTP/3", "QUIC":
		c.add(p.Child("port", "protocol"), "HTTP/3 is not supported; use HTTPS, whose clients speak HTTP/2")
	default:
		c.protocol(p.Child("port", "protocol"), s.Port.Protocol)
	}
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
		c.clientChecks(at, tls)
	case networking.ServerTLSSettings_ISTIO_MUTUAL:
		for name, set := range map[string]bool{
			"credentialName": tls.CredentialName != "", "credentialNames": len(tls.CredentialNames) > 0, "serverCertificate": tls.ServerCertificate != "",
			"privateKey": tls.PrivateKey != "", "caCertificates": tls.CaCertificates != "", "tlsCertificates": len(tls.TlsCertificates) > 0,
			"caCertCredentialName": tls.CaCertCredentialName != "",
		} {
			if set {
				c.add(at.Child(name), "has no meaning with mode ISTIO_MUTUAL, which uses the gateway's own identity; remove it")
			}
		}
	}
	if tls.MinProtocolVersion != networking.ServerTLSSettings_TLS_AUTO && tls.MaxProtocolVersion != networking.ServerTLSSettings_TLS_AUTO &&
		tls.MinProtocolVersion > tls.MaxProtocolVersion {
		c.add(at.Child("minProtocolVersion"), "%s is above maxProtocolVersion %s", tls.MinProtocolVersion, tls.MaxProtocolVersion)
	}
}

// serverCertificates checks that a server has certificates, in one way of four.
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
	c.certificateFiles(at, tls.ServerCertificate, tls.PrivateKey)
	for i, f := range tls.TlsCertificates {
		here := at.Child("tlsCertificates").Index(i)
		c.certificateFiles(here, f.GetServerCertificate(), f.GetPrivateKey())
		if f.GetServerCertificate() == "" && f.GetPrivateKey() == "" {
			c.add(here, "names neither a certificate nor a key")
		}
		if f.GetCaCertificates() != "" {
			c.add(here.Child("caCertificates"), "has no meaning: roots for clients are the same for all certificates; use tls.caCertificates")
		}
	}
	// Two are for RSA and ECDSA keys beside each other.
	if len(tls.CredentialNames) > 2 {
		c.add(at.Child("credentialNames"), "%d secrets; at most 2 are allowed", len(tls.CredentialNames))
	}
	if len(tls.TlsCertificates) > 2 {
		c.add(at.Child("tlsCertificates"), "%d certificates; at most 2 are allowed", len(tls.TlsCertificates))
	}
	for i, name := range tls.CredentialNames {
		if name == "" {
			c.add(at.Child("credentialNames").Index(i), "empty; name a secret")
		}
	}
}

func (c *checker) certificateFiles(at *field.Path, certificate, key string) {
	if certificate != "" && key == "" {
		c.add(at.Child("privateKey"), "missing; a certificate file needs its key")
	}
	if certificate == "" && key != "" {
		c.add(at.Child("serverCertificate"), "missing; a key file needs its certificate")
	}
}

// clientChecks checks what is asked of clients' certificates.
func (c *checker) clientChecks(at *field.Path, tls *networking.ServerTLSSettings) {
	if tls.Mode == networking.ServerTLSSettings_SIMPLE {
		return
	}
	fromFiles := tls.ServerCertificate != "" || len(tls.TlsCertificates) > 0
	if fromFiles && tls.CaCertificates == "" && tls.CaCertCredentialName == "" {
		c.add(at.Child("caCertificates"), "missing; mode %s must know which CAs sign its clients", tls.Mode)
	}
	for i, pin := range tls.VerifyCertificateSpki {
		if sum, err := base64.StdEncoding.DecodeString(pin); err != nil || len(sum) != sha256.Size {
			c.add(at.Child("verifyCertificateSpki").Index(i), "%q is not the SHA-256 of a public key in base64 (44 characters)", pin)
		}
	}
	for i, pin := range tls.VerifyCertificateHash {
		if sum, err := hex.DecodeString(strings.ReplaceAll(pin, ":", "")); err != nil || len(sum) != sha256.Size {
			c.add(at.Child("verifyCertificateHash").Index(i), "%q is not the SHA-256 of a certificate in hex (64 digits, with or without colons)", pin)
		}
	}
}
