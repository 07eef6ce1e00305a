package transportsocket

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/trust"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// SecretProvider gives the values of SDS secrets.
type SecretProvider interface {
	// Certificate subscribes to a certificate by secret name. sdsCluster is the cluster of
	// its config source, "" for ADS. changed is called with the current value, before
	// Certificate returns if it is known already, and with each new value, from any
	// goroutine, never two at once for one subscription. cancel ends the subscription.
	Certificate(sdsCluster, name string, changed func(xdsresource.TLSCertificate)) (cancel func())
	// Validation is the same for a validation context, TicketKeys for keys of session tickets.
	Validation(sdsCluster, name string, changed func(xdsresource.ValidationContext)) (cancel func())
	TicketKeys(sdsCluster, name string, changed func(xdsresource.TicketKeys)) (cancel func())
}

// material is the secrets of a Server or Client: values that change, and what is built from
// them at each change.
type material struct {
	cfg     *xdsresource.CommonTLS
	noNames bool                                           // the context's names are not looked at
	keys    *xdsresource.TLSSource[xdsresource.TicketKeys] // nil: none are configured
	rebuild func(*current) error                           // under mu

	mu        sync.Mutex
	certs     []*tls.Certificate // by index of cfg.Certificates; nil: not known yet
	paths     []string           // of certs
	stapleEnd []time.Time        // of certs: when their staples end
	trust     *trust.Trust       // nil: not known yet, or none configured
	trustPath string
	tickets   xdsresource.TicketKeys
	err       error // why the last change was refused
	cancels   []func()
}

// current is a complete set.
type current struct {
	certs   []tls.Certificate
	ends    []time.Time  // of their staples
	trust   *trust.Trust // nil: the peer is not verified
	tickets xdsresource.TicketKeys
}

// open parses what is inline and subscribes to the rest.
func (m *material) open(p SecretProvider) error {
	m.certs = make([]*tls.Certificate, len(m.cfg.Certificates))
	m.paths, m.stapleEnd = make([]string, len(m.certs)), make([]time.Time, len(m.certs))
	var errs []error
	for i, src := range m.cfg.Certificates {
		switch {
		case src.Inline != nil:
			errs = append(errs, m.setCertificate(i, *src.Inline))
		case p == nil:
			errs = append(errs, fmt.Errorf("certificate secret %q: no SDS here", src.SDS))
		}
	}
	if v := m.cfg.Validation; v != nil {
		switch {
		case v.Inline != nil:
			errs = append(errs, m.setValidation(*v.Inline))
		case p == nil:
			errs = append(errs, fmt.Errorf("validation secret %q: no SDS here", v.SDS))
		}
	}
	if k := m.keys; k != nil {
		switch {
		case k.Inline != nil:
			m.tickets = *k.Inline
		case p == nil:
			errs = append(errs, fmt.Errorf("session ticket keys %q: no SDS here", k.SDS))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if a, ok := p.(Auditor); ok {
		m.cancels = append(m.cancels, a.Audit(m.inventory))
	}
	// Subscribing may call back at once, so nothing is locked here.
	for i, src := range m.cfg.Certificates {
		if src.Inline == nil {
			m.cancels = append(m.cancels, p.Certificate(src.SDSCluster, src.SDS, func(c xdsresource.TLSCertificate) {
				_ = m.setCertificate(i, c) // kept in m.err
			}))
		}
	}
	if v := m.cfg.Validation; v != nil && v.Inline == nil {
		m.cancels = append(m.cancels, p.Validation(v.SDSCluster, v.SDS, func(c xdsresource.ValidationContext) {
			_ = m.setValidation(c)
		}))
	}
	if k := m.keys; k != nil && k.Inline == nil {
		m.cancels = append(m.cancels, p.TicketKeys(k.SDSCluster, k.SDS, m.setTickets))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.update() // for the case that nothing is to come
}

func (m *material) close() {
	for _, c := range m.cancels {
		c()
	}
	m.cancels = nil
}

func (m *material) setCertificate(i int, c xdsresource.TLSCertificate) error {
	cert, err := tls.X509KeyPair(c.Chain, c.Key)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.err = fmt.Errorf("certificate: %w", err)
		return m.err
	}
	cert.OCSPStaple = c.Staple
	m.certs[i], m.paths[i], m.stapleEnd[i] = &cert, c.Path, c.StapleEnd
	return m.update()
}

func (m *material) setValidation(v xdsresource.ValidationContext) error {
	if v = v.Over(m.cfg.Default); m.noNames {
		v.SANs = nil
	}
	t, err := trust.New(v)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.err = fmt.Errorf("validation context: %w", err)
		return m.err
	}
	m.trust, m.trustPath = t, v.Path
	return m.update()
}

func (m *material) setTickets(k xdsresource.TicketKeys) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tickets = k
	_ = m.update() // kept in m.err
}

// missing names the first secret that has not arrived, or "".
func (m *material) missing() string {
	for i, c := range m.certs {
		if c == nil {
			return fmt.Sprintf("certificate secret %q", m.cfg.Certificates[i].SDS)
		}
	}
	if m.cfg.Validation != nil && m.trust == nil {
		return fmt.Sprintf("validation secret %q", m.cfg.Validation.SDS)
	}
	if m.keys != nil && m.tickets == nil {
		return fmt.Sprintf("session ticket keys %q", m.keys.SDS)
	}
	return ""
}

// update builds anew when everything is there.
func (m *material) update() error {
	if m.missing() != "" {
		return nil
	}
	c := &current{trust: m.trust, tickets: m.tickets, ends: slices.Clone(m.stapleEnd)}
	for _, cert := range m.certs {
		c.certs = append(c.certs, *cert)
	}
	m.err = m.rebuild(c)
	return m.err
}

// missingSecret is the error of a connection that begins before a secret is there.
type missingSecret string

// Error implements error.
func (m missingSecret) Error() string { return string(m) + " has not arrived from SDS" }

// why says why there is nothing to shake hands with.
func (m *material) why() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	if s := m.missing(); s != "" {
		return missingSecret(s)
	}
	return errors.New("no TLS configuration")
}
