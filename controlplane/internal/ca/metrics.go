package ca

import (
	"crypto/x509"
	"encoding/pem"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics carry Istio's names, so that its dashboards show this authority.
type metrics struct {
	requests, issued, authnFailures, parseFailures, refused, signFailures prometheus.Counter
}

// newMetrics registers the metrics of an authority with a root and a certificate that signs, which may be the same.
func newMetrics(reg prometheus.Registerer, root, signing *x509.Certificate, now func() time.Time) *metrics {
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
	}
	if reg == nil {
		return m
	}
	reg.MustRegister(m.requests, m.issued, m.authnFailures, m.parseFailures, m.refused, m.signFailures)
	for _, c := range []struct {
		name, what string
		cert       *x509.Certificate
	}{{"root_cert", "root", root}, {"cert_chain", "signing", signing}} {
		expiry := prometheus.GaugeOpts{Name: "citadel_server_" + c.name + "_expiry_timestamp", Help: "The unix timestamp, in seconds, when the " + c.what + " certificate expires."}
		left := prometheus.GaugeOpts{Name: "citadel_server_" + c.name + "_expiry_seconds",
			Help: "The time remaining, in seconds, before the " + c.what + " certificate will expire. A negative value indicates it is expired."}
		reg.MustRegister(prometheus.NewGaugeFunc(expiry, func() float64 { return float64(c.cert.NotAfter.Unix()) }),
			prometheus.NewGaugeFunc(left, func() float64 { return c.cert.NotAfter.Sub(now()).Seconds() }))
	}
	return m
}

// rootOf is the newest of the roots (PEM), which load has read already.
func rootOf(roots []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(roots)
	return x509.ParseCertificate(block.Bytes)
}
