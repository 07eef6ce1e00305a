// Package ca is the mesh's certificate authority: it keeps the root and its key, signs what workloads ask for, and decides who is asking.
//
// Its wire form is Istio's: the gRPC service istio.v1.auth.IstioCertificateService, answered with the chain and the root at its end.
// The identity in a certificate comes from how the caller proved itself (a join token, or a certificate of this authority), never from
// the request. Steps: authn.go and issuer.go (who asks), csr.go (what is asked), sign.go (what is issued), service.go (the gRPC service over them),
// server.go (the control plane's own certificate and TLS settings), domain.go (of which trust domain). Files of the authority are made by open.go and read by authority.go; rotation.go
// goes from one set of them to the next, with trust.go for what is trusted meanwhile.
//
// It does not distribute certificates to proxies (the agent does, as SDS) and keeps no list of what it issued. Only package
// controlplane imports it.
package ca

import (
	"crypto/sha256"
	"log/slog"
	"sync"
	"sync/atomic"
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
	// Dir holds root-cert.pem, ca-cert.pem, ca-key.pem, cert-chain.pem (only with an intermediate), join-key and rotation.json. Made when missing, followed
	// by Run.
	Dir string
	// TrustDomain of all identities, until SetTrustDomain says another. "": that of the last start, and on a first one nothing is issued before
	// SetTrustDomain.
	TrustDomain string
	// Aliases are other trust domains, whose identities are taken for the same of TrustDomain: who comes with a certificate that this authority has signed for
	// one is given one of TrustDomain.
	Aliases []string
	// WorkloadTTL is the lifetime of workloads' certificates where a request names none. Default 24 h.
	WorkloadTTL time.Duration
	// MaxWorkloadTTL is the most that a request may name; longer wishes are cut to it. Roots that no longer sign stay trusted for so long. Default
	// WorkloadTTL.
	MaxWorkloadTTL time.Duration
	// Issuers are those whose tokens prove who asks, beside the join tokens of this mesh.
	Issuers []Issuer
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
	joinKey []byte
	tokens  []TokenAuthenticator // asked in turn
	// inFlight bounds how many requests are worked on at once; a full one answers ResourceExhausted.
	inFlight chan struct{}

	signs  atomic.Pointer[authority]
	trusts atomic.Pointer[trust]
	// domains are what domain.go works out.
	domains atomic.Pointer[domains]
	// wake has Run look again at once. One place.
	wake chan struct{}

	mu     sync.Mutex // guards what a rotation does (rotation.go), and a change of the trust domain (domain.go)
	next   *authority // is to sign when its roots are with all proxies; nil for none
	spread *spread    // roots on their way to the proxies; nil for none
	record record
	// wanted is the trust domain of the mesh's settings, "" until they are known, and aliases theirs; moving are proxies that do not know movingTo yet,
	// nil when the trust domain does not change.
	wanted   string
	aliases  []string
	moving   *spread
	movingTo string
	digest   [sha256.Size]byte // of the files that were read last
}

// RootPEM returns the roots that are trusted now, PEM, those of root-cert.pem first. The caller must not change it.
func (c *CA) RootPEM() []byte { return c.trusts.Load().pem }

// Expiry returns when the signing certificate ends; nothing issued outlives it.
func (c *CA) Expiry() time.Time { return c.signs.Load().cert.NotAfter }
