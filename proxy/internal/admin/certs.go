package admin

import (
	"crypto/x509"
	"encoding/hex"
	"net/http"
	"reflect"
	"slices"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
)

// certs serves /certs: what the live configurations of TLS show and trust, without keys. Those that
// have the same are one entry.
func (a *Admin) certs(w http.ResponseWriter, _ *http.Request) {
	var seen []transportsocket.Inventory
	out := &adminv3.Certificates{}
	for _, inv := range a.server.Certificates() {
		if slices.ContainsFunc(seen, func(o transportsocket.Inventory) bool { return reflect.DeepEqual(o, inv) }) {
			continue
		}
		seen = append(seen, inv)
		c := &adminv3.Certificate{CaCert: certificateDetails(inv.Trusted, time.Now())}
		for _, b := range inv.Own {
			c.CertChain = append(c.CertChain, certificateDetails(b, time.Now())...)
		}
		if len(c.CaCert)+len(c.CertChain) > 0 {
			out.Certificates = append(out.Certificates, c)
		}
	}
	a.writeJSON(w, out, true)
}

func certificateDetails(b transportsocket.Bundle, now time.Time) []*adminv3.CertificateDetails {
	var out []*adminv3.CertificateDetails
	path := b.Path
	if path == "" {
		path = "<inline>"
	}
	for _, c := range b.Certificates {
		d := &adminv3.CertificateDetails{
			Path: path, SerialNumber: hex.EncodeToString(c.SerialNumber.Bytes()), SubjectAltNames: names(c),
			ValidFrom: timestamppb.New(c.NotBefore), ExpirationTime: timestamppb.New(c.NotAfter),
		}
		if left := c.NotAfter.Sub(now); left > 0 {
			d.DaysUntilExpiration = uint64(left / (24 * time.Hour))
		}
		out = append(out, d)
	}
	return out
}

func names(c *x509.Certificate) []*adminv3.SubjectAlternateName {
	var out []*adminv3.SubjectAlternateName
	for _, n := range c.DNSNames {
		out = append(out, &adminv3.SubjectAlternateName{Name: &adminv3.SubjectAlternateName_Dns{Dns: n}})
	}
	for _, u := range c.URIs {
		out = append(out, &adminv3.SubjectAlternateName{Name: &adminv3.SubjectAlternateName_Uri{Uri: u.String()}})
	}
	for _, ip := range c.IPAddresses {
		out = append(out, &adminv3.SubjectAlternateName{Name: &adminv3.SubjectAlternateName_IpAddress{IpAddress: ip.String()}})
	}
	return out
}
