package transportsocket

import (
	"crypto/x509"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/pkg/certtest"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestBadConfigurations(t *testing.T) {
	type S = xdsresource.TLSSource[xdsresource.TLSCertificate]
	bad := xdsresource.CommonTLS{Certificates: []S{{Inline: &xdsresource.TLSCertificate{Chain: []byte("x"), Key: []byte("y")}}}}
	if _, err := NewServer(&xdsresource.DownstreamTLS{CommonTLS: bad}, nil); err == nil {
		t.Error("a broken certificate was taken")
	}
	sds := xdsresource.CommonTLS{Certificates: []S{{SDS: "default"}}}
	if _, err := NewServer(&xdsresource.DownstreamTLS{CommonTLS: sds}, nil); err == nil || !strings.Contains(err.Error(), `"default"`) {
		t.Errorf("SDS without a provider: %v", err)
	}
	if _, err := NewClient(&xdsresource.UpstreamTLS{AllowRenegotiation: true}, nil); err == nil || !strings.Contains(err.Error(), "allow_renegotiation") {
		t.Errorf("renegotiation: %v", err)
	}
}

// provider is an SDS whose secrets arrive when told.
type provider struct {
	cert      func(xdsresource.TLSCertificate)
	trust     func(xdsresource.ValidationContext)
	tickets   func(xdsresource.TicketKeys)
	cancelled int
}

func (p *provider) Certificate(_, _ string, f func(xdsresource.TLSCertificate)) func() {
	p.cert = f
	return func() { p.cancelled++ }
}

func (p *provider) Validation(_, _ string, f func(xdsresource.ValidationContext)) func() {
	p.trust = f
	return func() { p.cancelled++ }
}

func (p *provider) TicketKeys(_, _ string, f func(xdsresource.TicketKeys)) func() {
	p.tickets = f
	return func() { p.cancelled++ }
}

func TestSecretsArriveOneByOne(t *testing.T) {
	ca := certtest.New(t)
	pair := ca.Issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"a"} })
	cert := xdsresource.TLSCertificate{Chain: pair.Chain, Key: pair.Key}
	p := &provider{}
	s, err := NewServer(&xdsresource.DownstreamTLS{CommonTLS: xdsresource.CommonTLS{
		Certificates: []xdsresource.TLSSource[xdsresource.TLSCertificate]{{SDS: "default"}},
		Validation:   &xdsresource.TLSSource[xdsresource.ValidationContext]{SDS: "ROOTCA"},
	}, Tickets: &xdsresource.TLSSource[xdsresource.TicketKeys]{SDS: "keys"}}, p)
	if err != nil {
		t.Fatal(err)
	}
	waits := func(name string) {
		t.Helper()
		if err := s.Err(); s.Ready() || err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("ready %v, %v; want to wait for %s", s.Ready(), err, name)
		}
	}
	waits(`"default"`)
	p.cert(cert)
	waits(`"ROOTCA"`)
	p.trust(xdsresource.ValidationContext{TrustedCA: ca.PEM})
	waits(`"keys"`)
	p.tickets(xdsresource.TicketKeys{make([]byte, 80)})
	if !s.Ready() || s.Err() != nil {
		t.Errorf("ready %v, %v", s.Ready(), s.Err())
	}
	before := s.config.Load()
	p.trust(xdsresource.ValidationContext{TrustedCA: []byte("nonsense")})
	if s.Err() == nil || s.config.Load() != before {
		t.Error("a broken bundle was taken")
	}
	p.trust(xdsresource.ValidationContext{TrustedCA: ca.PEM})
	if s.Err() != nil || s.config.Load() == before {
		t.Error("a good bundle was not taken")
	}
	s.Close()
	if p.cancelled != 3 {
		t.Errorf("%d subscriptions ended", p.cancelled)
	}
}
