package agent

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	corepb "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlspb "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
)

// caCertificatesField is the number of ProxyConfig.ca_certificates_pem, a list of strings
// (https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig).
const caCertificatesField = 34

// Bounds on the roots that a control plane may tell.
const (
	maxRoots     = 1000
	maxRootBytes = 1 << 20
)

// trustByDomain says in the node that the agent knows the lines below.
const trustByDomain = "LATEEN_TRUST_BY_DOMAIN"

// What a control plane of ours writes before a root's PEM, a line each, to say more of it. Who does not know these lines passes over them, as all do over what stands before a
// certificate in PEM (RFC 7468, section 2).
const (
	// domainsLine: trust domains, with commas, whose certificates the root may sign. Without it: any.
	domainsLine = "lateen.io/trust-domains: "
	// peersLine: it is a root of others, by which workloads are checked and not the control plane.
	peersLine = "lateen.io/peers-only"
)

// anchor is a root that is trusted.
type anchor struct {
	pem     []byte
	domains []string // trust domains that it is for; nil for any
	peers   bool     // by it the control plane is not checked
}

// trustBundle reads the roots of a serialised ProxyConfig; nil when it has none, as of a control plane that tells none.
func trustBundle(config []byte) ([]anchor, error) {
	var out []anchor
	total := 0
	err := eachField(config, func(n protowire.Number, text []byte, _ uint64) error {
		if n != caCertificatesField {
			return nil
		}
		if total += len(text); total > maxRootBytes {
			return fmt.Errorf("ca_certificates_pem has more than %d bytes", maxRootBytes)
		}
		these := splitPEM(text)
		if len(these) == 0 {
			return errors.New("ca_certificates_pem: an element holds no PEM certificate")
		}
		var of anchor
		head, _, _ := strings.Cut(string(text), "-----BEGIN")
		for line := range strings.Lines(head) {
			line = strings.TrimSpace(line)
			if domains, ok := strings.CutPrefix(line, domainsLine); ok {
				of.domains = strings.Split(domains, ",")
			}
			of.peers = of.peers || line == peersLine
		}
		for _, root := range these {
			of.pem = root
			out = append(out, of)
		}
		return nil
	})
	if err == nil {
		err = checkRoots(pems(out))
	}
	return out, err
}

func pems(anchors []anchor) [][]byte {
	var out [][]byte
	for _, a := range anchors {
		out = append(out, a.pem)
	}
	return out
}

// checkRoots says which of some roots, each one PEM, is no certificate.
func checkRoots(roots [][]byte) error {
	if len(roots) > maxRoots {
		return fmt.Errorf("%d roots, and %d are allowed", len(roots), maxRoots)
	}
	for _, root := range roots {
		block, _ := pem.Decode(root)
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return err
		}
	}
	return nil
}

// splitPEM returns the certificates of a PEM text one by one.
func splitPEM(text []byte) [][]byte {
	var out [][]byte
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return out
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes}))
	}
}

// trusting returns the identity with the roots that a control plane has told since it was issued. They are all the roots there are, unless our own
// certificate does not lead to one of them: then they are of a control plane that tells what is to be trusted beside its authority's.
func (id *Identity) trusting(bundle []anchor) *Identity {
	out := *id
	out.Roots = bytes.Join(pems(ofAuthority(bundle)), nil)
	if !id.leadsTo(out.Roots) {
		out.Roots = joinRoots(id.issued, pems(ofAuthority(bundle)))
	}
	out.peers = out.anchors(bundle)
	return &out
}

// beside returns the identity, which has just been issued, with roots that were told before. Which of them is newer than its own cannot be known.
func (id *Identity) beside(bundle []anchor) *Identity {
	out := *id
	out.Roots = joinRoots(id.issued, pems(ofAuthority(bundle)))
	out.peers = out.anchors(bundle)
	return &out
}

// ofAuthority are the roots of the mesh's own authority.
func ofAuthority(bundle []anchor) []anchor {
	return slices.DeleteFunc(slices.Clone(bundle), func(a anchor) bool { return a.peers })
}

// anchors are what workloads are checked by: what was told, and what of the identity's own roots was not, for its own trust domain where some are for certain ones.
func (id *Identity) anchors(bundle []anchor) []anchor {
	var own []string
	if slices.ContainsFunc(bundle, func(a anchor) bool { return a.domains != nil }) {
		own = []string{id.trustDomain}
	}
	var out []anchor
	for _, root := range splitPEM(id.Roots) {
		if !slices.ContainsFunc(bundle, func(a anchor) bool { return bytes.Equal(a.pem, root) }) {
			out = append(out, anchor{pem: root, domains: own})
		}
	}
	return append(out, bundle...)
}

// rootsFor are the roots, PEM, by which workloads of a trust domain are checked.
func (id *Identity) rootsFor(domain string) []byte {
	var out []byte
	for _, a := range id.peers {
		if a.domains == nil || slices.Contains(a.domains, domain) {
			out = joinRoots(out, [][]byte{a.pem})
		}
	}
	return out
}

// domains are the trust domains that some root is for alone, sorted; none where all are for any.
func (id *Identity) domains() []string {
	var out []string
	for _, a := range id.peers {
		out = append(out, a.domains...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// validation is how workloads are checked: by the same roots whichever trust domain they are of, or by those of their own. Then only X.509-SVIDs will do
// (https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md).
func (id *Identity) validation() (*tlspb.CertificateValidationContext, error) {
	domains := id.domains()
	if len(domains) == 0 {
		return &tlspb.CertificateValidationContext{TrustedCa: inline(id.rootsFor(""))}, nil
	}
	validator := &tlspb.SPIFFECertValidatorConfig{}
	for _, d := range domains {
		validator.TrustDomains = append(validator.TrustDomains, &tlspb.SPIFFECertValidatorConfig_TrustDomain{Name: d, TrustBundle: inline(id.rootsFor(d))})
	}
	config, err := anypb.New(validator)
	if err != nil {
		return nil, err
	}
	return &tlspb.CertificateValidationContext{CustomValidatorConfig: &corepb.TypedExtensionConfig{Name: "envoy.tls.cert_validator.spiffe", TypedConfig: config}}, nil
}

// leadsTo reports whether the certificate leads to one of the roots. Its time does not matter: which roots are trusted does not follow from it.
func (id *Identity) leadsTo(roots []byte) bool {
	pool, between := x509.NewCertPool(), x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	between.AppendCertsFromPEM(id.Chain)
	_, err := id.Certificate.Leaf.Verify(x509.VerifyOptions{
		Roots: pool, Intermediates: between, CurrentTime: id.NotAfter, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err == nil
}

// joinRoots puts roots behind a PEM text that it does not have.
func joinRoots(text []byte, roots [][]byte) []byte {
	out := slices.Clone(text)
	for _, root := range roots {
		if !bytes.Contains(out, root) {
			out = append(out, root...)
		}
	}
	return out
}
