package agent

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
)

// KeyKind says what keys an agent makes. The zero value is ECDSA on P-256.
type KeyKind struct {
	// RSABits is the size of an RSA key, 2048 to 4096; 0 for ECDSA.
	RSABits int
	// P384 has ECDSA keys on P-384.
	P384 bool
}

func (k KeyKind) validate() error {
	if k.RSABits != 0 && (k.RSABits < 2048 || k.RSABits > 4096) {
		return fmt.Errorf("RSA keys of %d bits: want 2048 to 4096", k.RSABits)
	}
	return nil
}

// make returns a new key, which stays in this process's memory.
func (k KeyKind) make() (crypto.Signer, error) {
	switch {
	case k.RSABits != 0:
		return rsa.GenerateKey(rand.Reader, k.RSABits)
	case k.P384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	default:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
}
