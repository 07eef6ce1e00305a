package ca

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// ReplaceRoot puts a new self-signed root and its key into an authority's folder, in place of a self-signed one. A control plane that runs on the folder
// goes over to it as Run does; one that starts later trusts the old root for a while too. It returns the new root's serial number, in hexadecimal.
func ReplaceRoot(dir string, now time.Time) (serial string, err error) {
	if _, err := os.Stat(filepath.Join(dir, rootFile)); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("certificate authority: there is none in %s; a control plane makes it when it first starts", dir)
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return "", fmt.Errorf("certificate authority: %w", err)
	}
	defer unlock()
	trustDomain := spiffe.DefaultTrustDomain
	certs, err := readCerts(filepath.Join(dir, certFile))
	if err != nil {
		return "", fmt.Errorf("certificate authority: %w", err)
	}
	if cert := certs[0]; cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) != nil {
		return "", fmt.Errorf("certificate authority: %s is signed by another authority (%q): get a new certificate there, and put it with its key, chain and root into %s; "+
			"a control plane that runs takes them up", certFile, cert.Issuer, dir)
	} else if names := cert.Subject.Organization; len(names) == 1 {
		trustDomain = names[0]
	}
	cert, err := writeSelfSigned(dir, trustDomain, now)
	if err != nil {
		return "", fmt.Errorf("certificate authority: %w", err)
	}
	return cert.SerialNumber.Text(16), nil
}
