package hcm

import (
	"encoding/pem"
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// xfcc applies forward_client_cert_details
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#x-forwarded-client-cert).
func (s *stream) xfcc() {
	cfg := s.w.m.cfg
	tls := s.info.Downstream.TLS
	mutual := tls != nil && len(tls.PeerCertificates) > 0
	switch {
	case cfg.ForwardClientCert == xdsresource.XFCCAlwaysForwardOnly:
		return
	case !mutual || cfg.ForwardClientCert == xdsresource.XFCCSanitize:
		s.req.Remove(header.XForwardedClientCert)
		return
	case cfg.ForwardClientCert == xdsresource.XFCCForwardOnly:
		return
	}
	b := s.req.Build()
	if cfg.ForwardClientCert == xdsresource.XFCCAppendForward {
		s.join(header.XForwardedClientCert)
		b = s.req.Build()
		if old := s.req.Value(header.XForwardedClientCert); len(old) > 0 {
			b = append(b, old...)
			b = append(b, ',')
		}
	}
	s.req.SetBuilt(keyXFCC, s.c.appendXFCC(b))
}

// makeXFCC builds our element of the header: who we are and the hash always, the rest as asked for.
func makeXFCC(info *conn.Info, cfg *xdsresource.HTTPConnectionManager) []byte {
	var out []byte
	if info.LocalURI != "" {
		out = append(out, "By="...)
		out = appendXFCCValue(out, info.LocalURI)
		out = append(out, ';')
	}
	out = append(out, "Hash="...)
	out = append(out, info.PeerCertHash...)
	cert := info.TLS.PeerCertificates[0]
	if cfg.XFCCCert {
		out = append(out, ";Cert=\""...)
		out = append(out, pemOf(cert.Raw)...)
		out = append(out, '"')
	}
	if cfg.XFCCChain {
		out = append(out, ";Chain=\""...)
		for _, c := range info.TLS.PeerCertificates {
			out = append(out, pemOf(c.Raw)...)
		}
		out = append(out, '"')
	}
	if cfg.XFCCSubject {
		out = append(out, ";Subject=\""...)
		out = header.AppendText(out, cert.Subject.String()) // in RFC 2253's form, which escapes quotes
		out = append(out, '"')
	}
	if cfg.XFCCURI {
		out = append(out, ";URI="...)
		out = appendXFCCValue(out, info.PeerURI)
	}
	if cfg.XFCCDNS {
		for _, n := range cert.DNSNames {
			out = append(out, ";DNS="...)
			out = appendXFCCValue(out, n)
		}
	}
	return out
}

// appendXFCCValue appends a value so that it is one, whatever a client has had written into its certificate: in quotes, with those inside escaped, if it has
// characters that the header's grammar uses.
func appendXFCCValue(dst []byte, v string) []byte {
	if !strings.ContainsAny(v, ",;=\"\\") {
		return header.AppendText(dst, v)
	}
	return append(header.AppendText(append(dst, '"'), quoteEscaper.Replace(v)), '"')
}

var quoteEscaper = strings.NewReplacer(`"`, `\"`, `\`, `\\`)

// pemOf is a certificate as it stands in the header: PEM, URL-encoded.
func pemOf(der []byte) string {
	return urlEncoder.Replace(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

var urlEncoder = strings.NewReplacer("\n", "%0A", " ", "%20", "+", "%2B", "/", "%2F", "=", "%3D")

// appendXFCC appends our element for x-forwarded-client-cert.
func (c *connection) appendXFCC(dst []byte) []byte {
	if c.xfcc == nil {
		c.xfcc = makeXFCC(c.c.Info(), c.m.cfg)
	}
	return append(dst, c.xfcc...)
}

var keyXFCC = header.Key{ID: header.XForwardedClientCert, Name: header.XForwardedClientCert.String()}
