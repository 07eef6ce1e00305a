package xdsresource

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/youmark/pkcs8"
	"software.sslmate.com/src/go-pkcs12"
)

// openKey takes the password off a private key: a PKCS#8 key that is encrypted (RFC 5958), or one whose PEM is (RFC 1421). A key that has none
// stays as it is, as in Envoy. Errors never contain key material.
func openKey(key, password []byte) ([]byte, error) {
	block, _ := pem.Decode(key)
	switch {
	case block == nil:
		return key, nil // crypto/tls says what is wrong
	case block.Type == "ENCRYPTED PRIVATE KEY":
		k, err := pkcs8.ParsePKCS8PrivateKey(block.Bytes, password)
		if err != nil {
			return nil, errors.New("the key cannot be decrypted with the password")
		}
		return keyPEM(k)
	case x509.IsEncryptedPEMBlock(block): //nolint:staticcheck // what older tools have written is still in use
		der, err := x509.DecryptPEMBlock(block, password) //nolint:staticcheck // as above
		if err != nil || !isKey(der) {
			return nil, errors.New("the key cannot be decrypted with the password")
		}
		return pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: der}), nil
	}
	return key, nil
}

// isKey reports whether bytes are a private key. Of the older form one in 256 wrong passwords leads to bytes that only look decrypted.
func isKey(der []byte) bool {
	_, pkcs8Err := x509.ParsePKCS8PrivateKey(der)
	_, rsaErr := x509.ParsePKCS1PrivateKey(der)
	_, ecErr := x509.ParseECPrivateKey(der)
	return pkcs8Err == nil || rsaErr == nil || ecErr == nil
}

func keyPEM(k any) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, fmt.Errorf("a key of type %T cannot be used", k)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// openPKCS12 takes chain and key out of a PKCS#12 file (RFC 7292), which must have one key and its certificate.
func openPKCS12(raw, password []byte) (chain, key []byte, err error) {
	k, leaf, others, err := pkcs12.DecodeChain(raw, string(password))
	if err != nil {
		return nil, nil, fmt.Errorf("PKCS#12: %s", strings.TrimPrefix(err.Error(), "pkcs12: "))
	}
	for _, c := range append([]*x509.Certificate{leaf}, others...) {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	key, err = keyPEM(k)
	return chain, key, err
}
