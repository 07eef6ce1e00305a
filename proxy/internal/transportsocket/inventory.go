package transportsocket

import "crypto/x509"

// Inventory is what one configuration of TLS shows and trusts at the moment, for people to look at.
type Inventory struct {
	Own     []Bundle
	Trusted Bundle
}

// Bundle is certificates in the order of their source: a chain begins with its leaf.
type Bundle struct {
	Path         string // file; empty: they did not come from one
	Certificates []*x509.Certificate
}

// Auditor may be implemented by a SecretProvider: it is told of every configuration that is made,
// inline ones included, and may ask each for its inventory until end is called.
type Auditor interface {
	Audit(inventory func() Inventory) (end func())
}

func (m *material) inventory() Inventory {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out Inventory
	for i, c := range m.certs {
		if c == nil {
			continue
		}
		b := Bundle{Path: m.paths[i]}
		for k, der := range c.Certificate {
			cert := c.Leaf
			if k > 0 || cert == nil {
				var err error
				if cert, err = x509.ParseCertificate(der); err != nil {
					continue // an intermediate that nobody could use
				}
			}
			b.Certificates = append(b.Certificates, cert)
		}
		out.Own = append(out.Own, b)
	}
	if m.trust != nil {
		out.Trusted = Bundle{m.trustPath, m.trust.Anchors()}
	}
	return out
}
