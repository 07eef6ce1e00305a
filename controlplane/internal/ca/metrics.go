package ca

import (
	"crypto/x509"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics carry Istio's names, so that its dashboards show this authority.
type metrics struct {
	requests, issued, authnFailures, parseFailures, refused, signFailures, loadFailures prometheus.Counter
}

// newMetrics registers the metrics of an authority.
func newMetrics(reg prometheus.Registerer, ca *CA) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		requests:      counter("citadel_server_csr_count", "The number of CSRs received by the CA server."),
		issued:        counter("citadel_server_success_cert_issuance_count", "The number of certificates issued."),
		authnFailures: counter("citadel_server_authentication_failure_count", "The number of authentication failures."),
		parseFailures: counter("citadel_server_csr_parsing_err_count", "The number of errors occurred when parsing the CSR."),
		refused:       counter("citadel_server_id_extraction_err_count", "The number of CSRs that ask for a name that is not the caller's."),
		signFailures:  counter("citadel_server_csr_sign_err_count", "The number of errors occurred when signing the CSR."),
		loadFailures:  counter("lateen_ca_reload_failures_total", "Times that the authority's files had changed and could not be used."),
	}
	if reg == nil {
		return m
	}
	reg.MustRegister(m.requests, m.issued, m.authnFailures, m.parseFailures, m.refused, m.signFailures, m.loadFailures)
	for _, c := range []struct {
		name, what string
		cert       func() *x509.Certificate
	}{
		{"root_cert", "root", func() *x509.Certificate { return ca.signs.Load().anchors[0] }},
		{"cert_chain", "signing", func() *x509.Certificate { return ca.signs.Load().cert }},
	} {
		expiry := prometheus.GaugeOpts{Name: "citadel_server_" + c.name + "_expiry_timestamp", Help: "The unix timestamp, in seconds, when the " + c.what + " certificate expires."}
		left := prometheus.GaugeOpts{Name: "citadel_server_" + c.name + "_expiry_seconds",
			Help: "The time remaining, in seconds, before the " + c.what + " certificate will expire. A negative value indicates it is expired."}
		reg.MustRegister(prometheus.NewGaugeFunc(expiry, func() float64 { return float64(c.cert().NotAfter.Unix()) }),
			prometheus.NewGaugeFunc(left, func() float64 { return c.cert().NotAfter.Sub(ca.opts.Now()).Seconds() }))
	}
	roots := prometheus.GaugeOpts{Name: "lateen_ca_trusted_roots", Help: "Roots that the mesh trusts now: more than one while a root is replaced."}
	reg.MustRegister(prometheus.NewGaugeFunc(roots, func() float64 { return float64(len(ca.trusts.Load().certs)) }))
	return m
}
