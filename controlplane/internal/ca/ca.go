// Package ca is the mesh's certificate authority: it keeps the root and its key, signs what workloads ask for, and decides who is asking.
//
// Its wire form is Istio's: the gRPC service istio.v1.auth.IstioCertificateService, answered with the chain and the root at its end.
// The identity in a certificate comes from how the caller proved itself (a join token, or a certificate of this authority), never from
// the request. Steps: authn.go (who asks), csr.go (what is asked), sign.go (what is issued), service.go (the gRPC service over them),
// server.go (the control plane's own certificate and TLS settings). Files of the authority are made by open.go.
//
// It does not distribute certificates to proxies (the agent does, as SDS) and keeps no list of what it issued. Only package
// controlplane imports it.
package ca

import (
	"crypto"
	"crypto/x509"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Defaults as in Istio.
const (
	// DefaultWorkloadTTL is how long a workload's certificate is good.
	DefaultWorkloadTTL = 24 * time.Hour
	// clockSkew is how far a certificate's start lies back, for hosts whose clocks are behind.
	clockSkew = 2 * time.Minute
	// rootTTL is how long a self-signed root is good.
	rootTTL = 10 * 365 * 24 * time.Hour
)

// Options say how the authority works. Dir is required.
type Options struct {
	// Dir holds root-cert.pem, ca-cert.pem, ca-key.pem, cert-chain.pem (only with an intermediate) and join-key. Made when missing.
	Dir string
	// TrustDomain of all identities. Default "cluster.local".
	TrustDomain string
	// WorkloadTTL is the lifetime of workloads' certificates: what a request gets that names none, and the most that one may name.
	// Longer wishes are cut to it. Default 24 h.
	WorkloadTTL time.Duration
	// ServerNames are the DNS names in the control plane's own certificate. Default: Istio's four of istiod.
	ServerNames []string
	// Logger gets one line per refusal. Default: none.
	Logger *slog.Logger
	// Registerer gets the metrics, citadel_server_* as Istio's. Default: none.
	Registerer prometheus.Registerer
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// CA signs certificates. Make one with Open. Its methods may be called from any goroutine.
type CA struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics

	cert  *x509.Certificate // what signs
	key   crypto.Signer
	chain []string // PEM of what lies between a leaf and the roots: the signing certificate and those above it; empty when it is the root
	roots []byte   // PEM, one or more
	pool  *x509.CertPool

	joinKey []byte
	// inFlight bounds how many requests are worked on at once; a full one answers ResourceExhausted.
	inFlight chan struct{}
}

// RootPEM returns the root certificates, PEM, newest first. The caller must not change it.
func (c *CA) RootPEM() []byte { return c.roots }

// TrustDomain returns the trust domain of every identity that is issued.
func (c *CA) TrustDomain() string { return c.opts.TrustDomain }

// Expiry returns when the signing certificate ends; nothing issued outlives it.
func (c *CA) Expiry() time.Time { return c.cert.NotAfter }
