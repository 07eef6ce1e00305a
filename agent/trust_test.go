package agent

import (
	"bytes"
	"crypto/tls"
	"maps"
	"strings"
	"testing"
	"time"

	tlspb "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	meshpb "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/pkg/certtest"
	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

var catalogID = spiffe.ID{TrustDomain: "cluster.local", Namespace: "istioinaction", ServiceAccount: "catalog"}

// issued is an identity of an authority, as its answer gives it.
func issued(t *testing.T, ca *certtest.Authority, roots ...*certtest.Authority) *Identity {
	t.Helper()
	pair := ca.Issue(t, certtest.Names(catalogID.String()))
	var last []byte
	for _, r := range roots {
		last = append(last, r.PEM...)
	}
	id, err := newIdentity(catalogID, pair.Key, []string{string(pair.Chain), string(last)})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func bundle(roots ...*certtest.Authority) []anchor {
	var out []anchor
	for _, r := range roots {
		out = append(out, anchor{pem: r.PEM})
	}
	return out
}

func joined(roots ...*certtest.Authority) []byte { return bytes.Join(pems(bundle(roots...)), nil) }

// What is trusted, step by step through a rotation.
func TestRootsFollowTheControlPlane(t *testing.T) {
	old, fresh, other := certtest.New(t), certtest.New(t), certtest.New(t)
	s := newSecrets()
	want := func(when string, roots ...*certtest.Authority) {
		t.Helper()
		if got := s.current().Roots; !bytes.Equal(got, joined(roots...)) {
			t.Errorf("%s: %d bytes of roots, want %d roots", when, len(got), len(roots))
		}
	}
	s.set(issued(t, old, old))
	want("at first", old)
	s.trust(bundle(fresh, old))
	want("a new root is on its way", fresh, old)
	_, before, _ := s.get()
	s.trust(bundle(fresh, old))
	if _, after, _ := s.get(); after != before {
		t.Error("what was known already is sent to the proxy again")
	}
	s.set(issued(t, fresh, fresh, old))
	want("it signs", fresh, old)
	s.trust(bundle(fresh))
	want("the old one has retired", fresh)
	// A renewal that was answered before does not bring it back for longer than until the control plane's next word.
	s.set(issued(t, fresh, fresh, old))
	s.trust(bundle(fresh))
	want("it stays retired", fresh)
	// A control plane that tells only what is to be trusted beside its authority's own.
	s.trust(bundle(other))
	want("its own root is not among them", fresh, old, other)
	s.trust(nil)
	s.set(issued(t, fresh, fresh))
	want("nothing is told", fresh)
}

// An answer of the authority in each of its forms.
func TestRootsOfAnAnswer(t *testing.T) {
	root, second := certtest.New(t), certtest.New(t)
	sub := root.Sub(t, "intermediate")
	pair := sub.Issue(t, certtest.Names(catalogID.String()))
	for name, tt := range map[string]struct {
		answer       []string
		chain, roots []byte
	}{
		"leaf, intermediate, root": {[]string{string(pair.Chain), string(sub.PEM), string(root.PEM)}, bytes.Join([][]byte{pair.Chain, sub.PEM}, nil), root.PEM},
		"two roots":                {[]string{string(pair.Chain), string(sub.PEM), string(root.PEM) + string(second.PEM)}, bytes.Join([][]byte{pair.Chain, sub.PEM}, nil), bytes.Join([][]byte{root.PEM, second.PEM}, nil)},
		"all in one":               {[]string{string(pair.Chain) + string(sub.PEM) + string(root.PEM)}, bytes.Join([][]byte{pair.Chain, sub.PEM}, nil), root.PEM},
	} {
		id, err := newIdentity(catalogID, pair.Key, tt.answer)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !bytes.Equal(id.Chain, tt.chain) || !bytes.Equal(id.Roots, tt.roots) {
			t.Errorf("%s: chain and roots are not told apart", name)
		}
	}
}

// The agent's stream: the control plane's roots reach the proxy's secret, and a message that is not good is refused and changes nothing.
func TestTrustBundleIsTakenFromTheStream(t *testing.T) {
	old, fresh := certtest.New(t), certtest.New(t)
	s := newSecrets()
	s.set(issued(t, old, old))
	r := newReporter(Config{Logger: quiet()}, s, nil)
	told := func(certs ...string) *discoverypb.DiscoveryResponse {
		raw, err := proto.Marshal(&meshpb.ProxyConfig{CaCertificatesPem: certs})
		if err != nil {
			t.Fatal(err)
		}
		return &discoverypb.DiscoveryResponse{TypeUrl: proxyConfigType, Nonce: "1", Resources: []*anypb.Any{{TypeUrl: proxyConfigType, Value: raw}}}
	}
	for name, bad := range map[string][]string{
		"no PEM": {string(old.PEM), "x"}, "no certificate": {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
		"too much": {strings.Repeat(string(fresh.PEM), maxRootBytes/len(fresh.PEM)+1)},
	} {
		if answer := r.take(told(bad...)); answer.GetErrorDetail() == nil {
			t.Errorf("%s: accepted", name)
		}
		if got := s.current().Roots; !bytes.Equal(got, old.PEM) {
			t.Errorf("%s: the roots are\n%s", name, got)
		}
	}
	if answer := r.take(told(string(fresh.PEM), string(old.PEM))); answer.GetErrorDetail() != nil {
		t.Fatal(answer.GetErrorDetail())
	}
	secret, err := secret(s.current(), rootSecret)
	if err != nil {
		t.Fatal(err)
	}
	got := decode(t, secret)["ROOTCA"].GetValidationContext().GetTrustedCa().GetInlineBytes()
	if want := joined(fresh, old); !bytes.Equal(got, want) {
		t.Errorf("the proxy is given\n%s", got)
	}
}

// Roots of others: by which workloads are checked, of which trust domains, and that the control plane is not.
func TestRootsByTrustDomain(t *testing.T) {
	own, any, other := certtest.New(t), certtest.New(t), certtest.New(t)
	lines := func(domains string, a *certtest.Authority) string {
		return domainsLine + domains + "\n" + peersLine + "\n" + string(a.PEM)
	}
	for _, tt := range []struct {
		name string
		told []string
		// what ROOTCA has: by trust domain, or under "" for all
		want map[string][]byte
	}{
		{"a root for all", []string{string(own.PEM), peersLine + "\n" + string(any.PEM)}, map[string][]byte{"": joined(own, any)}},
		{"one for a domain", []string{domainsLine + "cluster.local,old.example\n" + string(own.PEM), lines("other.example", other)},
			map[string][]byte{"cluster.local": joined(own), "old.example": joined(own), "other.example": joined(other)}},
		{"several for a domain, and several domains", []string{domainsLine + "cluster.local\n" + string(own.PEM), lines("a.example,b.example", other), lines("cluster.local,a.example,b.example", any)},
			map[string][]byte{"cluster.local": joined(own, any), "a.example": joined(other, any), "b.example": joined(other, any)}},
		{"our own is not told", []string{lines("other.example", other)}, map[string][]byte{"cluster.local": joined(own), "other.example": joined(other)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			raw, err := proto.Marshal(&meshpb.ProxyConfig{CaCertificatesPem: tt.told})
			if err != nil {
				t.Fatal(err)
			}
			told, err := trustBundle(raw)
			if err != nil {
				t.Fatal(err)
			}
			s := newSecrets()
			s.set(issued(t, own, own))
			s.trust(told)
			for _, when := range []string{"told", "renewed"} {
				got := map[string][]byte{}
				made, err := secret(s.current(), rootSecret)
				if err != nil {
					t.Fatal(err)
				}
				v := decode(t, made)[rootSecret].GetValidationContext()
				if c := v.GetCustomValidatorConfig(); c != nil {
					var spiffe tlspb.SPIFFECertValidatorConfig
					if err := c.GetTypedConfig().UnmarshalTo(&spiffe); err != nil {
						t.Fatal(err)
					}
					for _, d := range spiffe.GetTrustDomains() {
						got[d.GetName()] = d.GetTrustBundle().GetInlineBytes()
					}
				} else {
					got[""] = v.GetTrustedCa().GetInlineBytes()
				}
				if !maps.EqualFunc(got, tt.want, bytes.Equal) {
					t.Errorf("%s: ROOTCA has %q", when, got)
				}
				if made, err = secret(s.current(), controlPlaneSecret); err != nil {
					t.Fatal(err)
				}
				if got := decode(t, made)[controlPlaneSecret].GetValidationContext().GetTrustedCa().GetInlineBytes(); !bytes.Equal(got, own.PEM) {
					t.Errorf("%s: the control plane is checked by %q", when, got)
				}
				s.set(issued(t, own, own))
			}
		})
	}
}

// The control plane shows a certificate under a new root while the agent's file has the old one, and the other way round.
func TestEitherRootOfTheControlPlaneIsTrusted(t *testing.T) {
	ca := startCA(t, time.Hour)
	stale := startCA(t, time.Hour)
	cfg := testConfig(t, ca)
	cfg.RootCertFile, _ = stale.files(t)
	cfg = cfg.withDefaults()
	s := newSecrets()
	r := &renewer{cfg: cfg, secrets: s}
	r.cfg.signer = newCAClient(cfg, s)
	if _, err := r.once(t.Context(), false); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Fatalf("a control plane of an unknown root: %v", err)
	}
	s.set(&Identity{Certificate: tls.Certificate{}, NotAfter: time.Now(), issued: ca.rootPEM})
	if _, err := r.once(t.Context(), false); err != nil {
		t.Errorf("its root is known from the mesh: %v", err)
	}
}

// FuzzTrustBundle: whatever a control plane sends, what is trusted of it are whole certificates.
func FuzzTrustBundle(f *testing.F) {
	one := &meshpb.ProxyConfig{CaCertificatesPem: []string{"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"}}
	raw, err := proto.Marshal(one)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte{0x92, 2, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, config []byte) {
		roots, err := trustBundle(config)
		if err != nil {
			return
		}
		if len(roots) > maxRoots {
			t.Errorf("%d roots", len(roots))
		}
		if err := checkRoots(pems(roots)); err != nil {
			t.Error(err)
		}
	})
}
