package extauthz

import (
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"strings"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
)

// Source describes the client's end of a connection. certificate: with the certificate that it has
// shown.
func Source(c *conn.Info, certificate bool) *authv3.AttributeContext_Peer {
	p := &authv3.AttributeContext_Peer{Address: address(c.RemoteAddr, "")}
	if c.TLS == nil {
		return p
	}
	if names := c.PeerNames(); len(names) > 0 {
		p.Principal = UTF8(names[0])
	}
	if certificate && len(c.TLS.PeerCertificates) > 0 {
		p.Certificate = encode(c.TLS.PeerCertificates[0])
	}
	return p
}

// Destination describes our end. labels are those of the node, nil for none.
func Destination(c *conn.Info, labels map[string]string) *authv3.AttributeContext_Peer {
	p := &authv3.AttributeContext_Peer{Address: address(c.Destination(), c.Path), Labels: labels}
	if names := c.LocalNames(); len(names) > 0 {
		p.Principal = UTF8(names[0])
	}
	return p
}

// TLSSession is what a check says about a connection's TLS; it is never nil.
func TLSSession(c *conn.Info) *authv3.AttributeContext_TLSSession {
	return &authv3.AttributeContext_TLSSession{Sni: UTF8(c.SNI)}
}

// Labels are the node's metadata under a key, as far as it is a map of strings.
func Labels(metadata *structpb.Struct, key string) map[string]string {
	fields := metadata.GetFields()[key].GetStructValue().GetFields()
	if key == "" || len(fields) == 0 {
		return nil
	}
	out := make(map[string]string, len(fields))
	for k, v := range fields {
		out[k] = v.GetStringValue()
	}
	return out
}

// MetadataContext is the listed namespaces of metadata, of which the later wins.
func MetadataContext(list []string, early, late map[string]map[string]any) *corev3.Metadata {
	out := &corev3.Metadata{}
	for _, name := range list {
		values, ok := late[name]
		if !ok {
			values, ok = early[name]
		}
		if !ok {
			continue
		}
		if out.FilterMetadata == nil {
			out.FilterMetadata = make(map[string]*structpb.Struct, len(list))
		}
		s := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(values))}
		for k, v := range values {
			// What no Struct can hold is nothing that a service could be told.
			if sv, err := structpb.NewValue(v); err == nil {
				s.Fields[k] = sv
			}
		}
		out.FilterMetadata[name] = s
	}
	return out
}

func address(a netip.AddrPort, path string) *corev3.Address {
	if !a.IsValid() {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}}
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: a.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(a.Port())},
	}}}
}

// encode is a certificate in PEM, URL-encoded.
func encode(c *x509.Certificate) string {
	return urlEncoder.Replace(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})))
}

var urlEncoder = strings.NewReplacer("\n", "%0A", " ", "%20", "+", "%2B", "/", "%2F", "=", "%3D")

// UTF8 makes text of what may be any bytes, since a string of a proto must be: each byte that is
// none becomes an exclamation mark, as in Envoy.
func UTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	out := make([]byte, 0, len(s))
	for i, r := range s {
		if _, n := utf8.DecodeRuneInString(s[i:]); r == utf8.RuneError && n == 1 {
			out = append(out, '!')
		} else {
			out = append(out, s[i:i+n]...)
		}
	}
	return string(out)
}
