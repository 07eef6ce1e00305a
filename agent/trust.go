package agent

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// caCertificatesField is the number of ProxyConfig.ca_certificates_pem, a list of strings
// (https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig).
const caCertificatesField = 34

// Bounds on the roots that a control plane may tell.
const (
	maxRoots     = 1000
	maxRootBytes = 1 << 20
)

// trustBundle reads the roots of a serialised ProxyConfig, each one PEM; nil when it has none, as of a control plane that tells none.
func trustBundle(config []byte) ([][]byte, error) {
	var roots [][]byte
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
		roots = append(roots, these...)
		return nil
	})
	if err == nil {
		err = checkRoots(roots)
	}
	return roots, err
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
func (id *Identity) trusting(bundle [][]byte) *Identity {
	out := *id
	out.Roots = bytes.Join(bundle, nil)
	if !id.leadsTo(out.Roots) {
		out.Roots = joinRoots(id.issued, bundle)
	}
	return &out
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
