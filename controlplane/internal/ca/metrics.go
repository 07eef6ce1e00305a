package ca

import "github.com/prometheus/client_golang/prometheus"

// metrics carry Istio's names, so that its dashboards show this authority.
type metrics struct {
	requests, issued, authnFailures, parseFailures, refused prometheus.Counter
	rootExpiry                                              prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		requests:      counter("citadel_server_csr_count", "The number of CSRs received by the CA server."),
		issued:        counter("citadel_server_success_cert_issuance_count", "The number of certificates issued."),
		authnFailures: counter("citadel_server_authentication_failure_count", "The number of authentication failures."),
		parseFailures: counter("citadel_server_csr_parsing_err_count", "The number of errors occurred when parsing the CSR."),
		refused:       counter("citadel_server_id_extraction_err_count", "The number of CSRs that ask for a name that is not the caller's."),
		rootExpiry: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "citadel_server_root_cert_expiry_timestamp",
			Help: "The unix timestamp, in seconds, when the signing certificate expires.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.issued, m.authnFailures, m.parseFailures, m.refused, m.rootExpiry)
	}
	return m
}
