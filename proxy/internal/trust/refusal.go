package trust

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
)

// Reasons for refusing a peer's certificate.
var (
	ErrNoCertificate = errors.New("the peer has shown no certificate")

	errSAN      = errors.New("none of the certificate's names matches")
	errPin      = errors.New("the certificate is not one of the pinned ones")
	errRevoked  = errors.New("the certificate has been revoked")
	errNoCRL    = errors.New("there is no revocation list of the authority")
	errCRLTime  = errors.New("the revocation list of the authority is out of date")
	errDepth    = errors.New("the chain is longer than max_verify_depth")
	errSPIFFE   = errors.New("the certificate is no SVID")
	errDomain   = errors.New("the certificate is of no trust domain that is known")
	errWeakKey  = errors.New("the certificate's key is on the curve P-224, which is too weak")
	errKeyUsage = errors.New("the certificate's key may not be used for signatures")
)

// RefusalKind says why a peer's certificate was refused, for statistics.
type RefusalKind uint8

// Kinds of refusals.
const (
	NotRefused    RefusalKind = iota // the handshake failed for another reason
	NoCertificate                    // none was shown
	Untrusted                        // chain, validity, purpose or revocation
	WrongName                        // no name matches
	WrongHash                        // not a pinned one
)

// Refusal classifies the error of a handshake.
func Refusal(err error) RefusalKind {
	var verr *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.Is(err, ErrNoCertificate):
		return NoCertificate
	case errors.Is(err, errSAN):
		return WrongName
	case errors.Is(err, errPin):
		return WrongHash
	case errors.Is(err, errRevoked), errors.Is(err, errNoCRL), errors.Is(err, errCRLTime), errors.Is(err, errDepth), errors.Is(err, errSPIFFE), errors.Is(err, errDomain),
		errors.As(err, &unknown), errors.As(err, &invalid), errors.As(err, &verr):
		return Untrusted
	case err != nil && strings.Contains(err.Error(), "client didn't provide a certificate"):
		return NoCertificate // crypto/tls has no type for it
	}
	return NotRefused
}
