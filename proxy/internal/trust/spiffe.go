package trust

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"slices"
	"time"
)

// verifySPIFFE judges an X.509-SVID by the bundle of the trust domain that it names, so that no domain can speak for another one
// (https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md).
func (t *Trust) verifySPIFFE(certs []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) error {
	leaf := certs[0]
	// 5.2: a leaf is no authority, and must not sign certificates. One that does not say what its key is for could.
	if leaf.IsCA || leaf.KeyUsage == 0 || leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 {
		return errSPIFFE
	}
	bundle := t.bundle(leaf.URIs)
	if bundle == nil {
		return fmt.Errorf("%w: %s", errDomain, describeSANs(leaf))
	}
	if err := t.verifyChain(bundle, certs, usage, now); err != nil {
		return err
	}
	if len(t.sans) == 0 {
		return nil
	}
	for i := range t.sans {
		m := t.sans[i]
		m.Type = "URI" // whatever it says: an SVID has no other name
		if matchSAN(&m, leaf) {
			return nil
		}
	}
	return fmt.Errorf("%w: %s", errSAN, describeSANs(leaf))
}

// ambiguous says that names have a SPIFFE ID and something beside it. "Validators encountering an SVID containing more than one URI SAN MUST reject the
// SVID" (X509-SVID, section 2), or each side could take another of them for who it is: the one that is trusted, and the one that a policy knows.
func ambiguous(names []*url.URL) bool {
	return len(names) > 1 && slices.ContainsFunc(names, func(u *url.URL) bool { return u.Scheme == "spiffe" })
}

// bundle is that of the first name whose trust domain is known.
func (t *Trust) bundle(names []*url.URL) *x509.CertPool {
	for _, u := range names {
		if u.Scheme != "spiffe" {
			continue
		}
		if p := t.domains[u.Host]; p != nil {
			return p
		}
	}
	return nil
}
