package trust

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// revocations are the lists of authorities. As in Envoy, where there is one for any authority there must be one for every authority of a
// chain.
type revocations struct {
	lists    []revocationList
	leafOnly bool // of a chain only the leaf is looked up
	anyTime  bool
}

type revocationList struct {
	*x509.RevocationList
	serials map[string]bool
}

func (r *revocations) add(crls []*x509.RevocationList) {
	for _, crl := range crls {
		l := revocationList{crl, make(map[string]bool, len(crl.RevokedCertificateEntries))}
		for i := range crl.RevokedCertificateEntries {
			l.serials[string(crl.RevokedCertificateEntries[i].SerialNumber.Bytes())] = true
		}
		r.lists = append(r.lists, l)
	}
}

// check judges a chain that is good otherwise, leaf first.
func (r *revocations) check(chain []*x509.Certificate, now time.Time) error {
	if len(r.lists) == 0 {
		return nil
	}
	for i, cert := range chain {
		if r.leafOnly && i > 0 {
			break
		}
		issuer := chain[min(i+1, len(chain)-1)]
		if err := r.lookUp(cert, issuer, now); err != nil {
			return fmt.Errorf("%w (%s, serial number %x)", err, cert.Subject, cert.SerialNumber)
		}
	}
	return nil
}

func (r *revocations) lookUp(cert, issuer *x509.Certificate, now time.Time) error {
	err := errNoCRL
	if !bytes.Equal(cert.RawIssuer, issuer.RawSubject) {
		return err // an anchor that somebody else has signed: whoever that was, is not in the chain
	}
	for _, l := range r.lists {
		if !bytes.Equal(l.RawIssuer, issuer.RawSubject) || l.CheckSignatureFrom(issuer) != nil {
			continue
		}
		if !r.anyTime && (now.Before(l.ThisUpdate) || !l.NextUpdate.IsZero() && now.After(l.NextUpdate)) {
			err = errCRLTime
			continue
		}
		if l.serials[string(cert.SerialNumber.Bytes())] {
			return errRevoked
		}
		err = nil
	}
	return err
}

var errNoPEM = errors.New("no certificate in the PEM data")

// parse returns the certificates and the revocation lists of PEM data, which has at least one of either.
func parse(b []byte) (certs []*x509.Certificate, crls []*x509.RevocationList, err error) {
	for len(b) > 0 {
		var blk *pem.Block
		if blk, b = pem.Decode(b); blk == nil {
			break
		}
		switch blk.Type {
		case "CERTIFICATE":
			c, err := x509.ParseCertificate(blk.Bytes)
			if err != nil {
				return nil, nil, err
			}
			certs = append(certs, c)
		case "X509 CRL":
			l, err := x509.ParseRevocationList(blk.Bytes)
			if err != nil {
				return nil, nil, err
			}
			crls = append(crls, l)
		}
	}
	if len(certs) == 0 && len(crls) == 0 {
		return nil, nil, errNoPEM
	}
	return certs, crls, nil
}
