package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"sync"
	"time"
)

// serverTTL is how long the control plane's own certificate is good; a new one is made when two thirds of it have passed, or another certificate signs.
const serverTTL = 24 * time.Hour

// defaultServerNames are the names by which Istio's proxies call and verify their control plane.
func defaultServerNames() []string {
	return []string{"istiod.istio-system.svc", "istiod.istio-system.svc.cluster.local", "istiod.istio-system", "istio-pilot.istio-system.svc"}
}

// ServerTLS returns the settings of the listener on 15012. A client may come without a certificate (it has a token, or nothing yet, and
// the methods decide); one that it does send must be of this authority, else the handshake fails. addresses are IPs that clients may
// verify instead of the names.
func (c *CA) ServerTLS(addresses ...net.IP) *tls.Config {
	own := &serverCert{ca: c, addresses: addresses}
	config := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		ClientAuth:     tls.VerifyClientCertIfGiven,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own.current() },
		NextProtos:     []string{"h2"},
		// A resumed session would keep a certificate's verdict beyond its end.
		SessionTicketsDisabled: true,
		Time:                   c.opts.Now,
	}
	// Roots change while the listener is open.
	outer := config.Clone()
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := config.Clone()
		now.ClientCAs = c.trusts.Load().pool
		return now, nil
	}
	return outer
}

// serverCert makes the control plane's certificate when it is first asked for and anew before it ends: whoever shakes hands then waits for
// one signature, and no goroutine is needed.
type serverCert struct {
	ca        *CA
	addresses []net.IP

	mu     sync.Mutex
	cert   *tls.Certificate
	signer *authority // of cert
	renew  time.Time
}

func (s *serverCert) current() (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, a := s.ca.opts.Now(), s.ca.signs.Load()
	if s.cert != nil && s.signer == a && now.Before(s.renew) {
		return s.cert, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	leaf, err := s.ca.issue(a, &x509.Certificate{DNSNames: s.ca.opts.ServerNames, IPAddresses: s.addresses}, key.Public(), serverTTL)
	if err != nil {
		return nil, fmt.Errorf("certificate of the control plane: %w", err)
	}
	cert := &tls.Certificate{PrivateKey: key}
	for _, text := range append([]string{string(leaf)}, a.chain...) {
		block, _ := pem.Decode([]byte(text))
		cert.Certificate = append(cert.Certificate, block.Bytes)
	}
	if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
		return nil, err
	}
	s.cert, s.signer, s.renew = cert, a, now.Add(cert.Leaf.NotAfter.Sub(now)*2/3)
	return cert, nil
}
