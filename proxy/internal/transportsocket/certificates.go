package transportsocket

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// chooser finds the certificate for a client, as Envoy does: by the name that the client asks for, then by the kind of key that it takes.
type chooser struct {
	certs []choice
	// names are the certificates by the names that they are for, in lower case; a wildcard's begins with a dot.
	names    map[string][]int
	fullScan bool // look at all where the name fits none
}

type choice struct {
	cert  *tls.Certificate
	ecdsa bool
	// stapled is cert with its OCSP staple, nil where it has none; until is when that ends, zero: never.
	stapled *tls.Certificate
	until   time.Time
}

// staple says whether a client that asks for a staple gets one, or fails in the attempt.
func (x *choice) staple(p xdsresource.StaplePolicy, now time.Time) Staple {
	switch {
	case x.stapled != nil && (x.until.IsZero() || now.Before(x.until)):
		return StapleSent
	case p == xdsresource.StapleAlways, p == xdsresource.StapleStrict && x.stapled != nil:
		return StapleFailed
	}
	return StapleAsked
}

// newChooser makes one of certificates, of whose staples ends says when they end; nil: there are none.
func newChooser(certs []tls.Certificate, ends []time.Time, fullScan bool) *chooser {
	c := &chooser{names: make(map[string][]int), fullScan: fullScan}
	for i := range certs {
		leaf := certs[i].Leaf
		x := choice{cert: &certs[i]}
		_, x.ecdsa = leaf.PublicKey.(*ecdsa.PublicKey)
		if len(certs[i].OCSPStaple) > 0 {
			plain := certs[i]
			plain.OCSPStaple = nil
			x.cert, x.stapled, x.until = &plain, &certs[i], ends[i]
		}
		c.certs = append(c.certs, x)
		for _, name := range namesOf(leaf) {
			c.names[name] = append(c.names[name], i)
		}
	}
	return c
}

// namesOf are the DNS names of a certificate, or its common name where it has none.
func namesOf(leaf *x509.Certificate) []string {
	names := slices.Clone(leaf.DNSNames)
	if len(names) == 0 && leaf.Subject.CommonName != "" {
		names = []string{leaf.Subject.CommonName}
	}
	for i, n := range names {
		names[i] = strings.ToLower(strings.TrimPrefix(n, "*"))
	}
	return names
}

func (c *chooser) find(h *tls.ClientHelloInfo) *choice {
	if len(c.certs) == 1 {
		return &c.certs[0]
	}
	curves := takesECDSA(h)
	name := strings.ToLower(h.ServerName)
	if name != "" {
		_, parent, _ := strings.Cut(name, ".")
		for _, n := range []string{name, "." + parent} {
			if x := c.best(c.names[n], curves); x != nil {
				return x
			}
		}
	}
	if name == "" || c.fullScan {
		all := make([]int, len(c.certs))
		for i := range all {
			all[i] = i
		}
		if x := c.best(all, curves); x != nil {
			return x
		}
	}
	return &c.certs[0]
}

// best prefers a key of an elliptic curve for a client that takes one, and has no other for one that does not.
func (c *chooser) best(among []int, ecdsa bool) *choice {
	var other *choice
	for _, i := range among {
		switch x := &c.certs[i]; {
		case x.ecdsa == ecdsa:
			return x
		case ecdsa && other == nil:
			other = x
		}
	}
	return other
}

// takesECDSA reports whether a client takes signatures with keys of P-256 and its like.
func takesECDSA(h *tls.ClientHelloInfo) bool {
	signs := slices.ContainsFunc(h.SignatureSchemes, func(s tls.SignatureScheme) bool {
		return s == tls.ECDSAWithP256AndSHA256 || s == tls.ECDSAWithP384AndSHA384 || s == tls.ECDSAWithP521AndSHA512
	})
	if slices.Contains(h.SupportedVersions, tls.VersionTLS13) {
		return signs
	}
	return signs && slices.ContainsFunc(h.CipherSuites, func(id uint16) bool {
		switch id {
		case tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA:
			return true
		}
		return false
	})
}
