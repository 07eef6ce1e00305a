package hcm

import (
	"encoding/pem"
	"net/url"

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
		if old := s.req.Value(header.XForwardedClientCert); len(old) > 0 {
			b = append(b, old...)
			b = append(b, ',')
		}
	}
	s.req.SetBuilt(keyXFCC, s.c.appendXFCC(b))
}

// makeXFCC builds our element of the header: the hash always, the rest as asked for.
func makeXFCC(info *conn.Info, cfg *xdsresource.HTTPConnectionManager) []byte {
	out := append([]byte("Hash="), info.PeerCertHash...)
	cert := info.TLS.PeerCertificates[0]
	if cfg.XFCCCert {
		out = append(out, ";Cert=\""...)
		out = append(out, url.QueryEscape(pemOf(cert.Raw))...)
		out = append(out, '"')
	}
	if cfg.XFCCChain {
		out = append(out, ";Chain=\""...)
		for _, c := range info.TLS.PeerCertificates {
			out = append(out, url.QueryEscape(pemOf(c.Raw))...)
		}
		out = append(out, '"')
	}
	if cfg.XFCCSubject {
		out = append(out, ";Subject=\""...)
		for _, c := range []byte(cert.Subject.String()) {
			if c == '"' || c == '\\' {
				out = append(out, '\\')
			}
			out = append(out, c)
		}
		out = append(out, '"')
	}
	if cfg.XFCCURI {
		out = append(out, ";URI="...)
		out = append(out, info.PeerURI...)
	}
	if cfg.XFCCDNS {
		for _, n := range cert.DNSNames {
			out = append(out, ";DNS="...)
			out = append(out, n...)
		}
	}
	return out
}

func pemOf(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
