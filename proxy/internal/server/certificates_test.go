package server

import (
	"crypto/x509"
	"log/slog"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/pkg/certtest"
	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestCertificates: what live configurations show and trust is known, by whatever way it came, and only
// while they live.
func TestCertificates(t *testing.T) {
	ca := certtest.New(t)
	now := time.Now()
	ends := func(days int) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.NotAfter = now.Add(time.Duration(days)*24*time.Hour + time.Hour) }
	}
	file, sds, anchor := ca.Issue(t, ends(5)), ca.Issue(t, ends(3)), ca.Issue(t, ends(9))
	s := &Server{secrets: newSecrets(slog.New(slog.DiscardHandler))}
	s.secrets.subscribe, s.secrets.unsubscribe = func(secretKey) {}, func(secretKey) {}
	if got := s.firstExpiry(now); got != noCertificate {
		t.Errorf("without certificates the first expires in %d days", got)
	}
	in, err := transportsocket.NewServer(&xdsresource.DownstreamTLS{CommonTLS: xdsresource.CommonTLS{
		Certificates: []xdsresource.TLSSource[xdsresource.TLSCertificate]{
			{Inline: &xdsresource.TLSCertificate{Chain: file.Chain, Key: file.Key, Path: "/chain.pem"}}, {SDS: "default"},
		},
		Validation: &xdsresource.TLSSource[xdsresource.ValidationContext]{Inline: &xdsresource.ValidationContext{TrustedCA: anchor.Chain}},
	}}, s.secrets)
	if err != nil {
		t.Fatal(err)
	}
	out, err := transportsocket.NewClient(&xdsresource.UpstreamTLS{}, s.secrets)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.firstExpiry(now); got != 5 {
		t.Errorf("the first expires in %d days, want 5", got)
	}
	s.secrets.set(secretKey{name: "default"}, &xdsresource.Secret{Certificate: &xdsresource.TLSCertificate{Chain: sds.Chain, Key: sds.Key}}, "1", nil)
	all := s.Certificates()
	if len(all) != 2 || len(all[0].Own) != 2 || len(all[1].Own)+len(all[1].Trusted.Certificates) != 0 {
		t.Fatalf("certificates: %+v", all)
	}
	if b := all[0].Own[0]; b.Path != "/chain.pem" || !b.Certificates[0].Equal(file.Cert) {
		t.Errorf("the first is %+v", b)
	}
	if b := all[0].Own[1]; b.Path != "" || !b.Certificates[0].Equal(sds.Cert) {
		t.Errorf("the one of SDS is %+v", b)
	}
	if b := all[0].Trusted; len(b.Certificates) != 1 || !b.Certificates[0].Equal(anchor.Cert) {
		t.Errorf("%+v is trusted", b)
	}
	if got := s.firstExpiry(now); got != 3 {
		t.Errorf("the first expires in %d days, want 3", got)
	}
	if got := s.firstExpiry(now.Add(100 * 24 * time.Hour)); got != 0 {
		t.Errorf("after the end it expires in %d days", got)
	}
	in.Close()
	out.Close()
	if got := s.Certificates(); len(got) != 0 {
		t.Errorf("%d configurations are left", len(got))
	}
}
