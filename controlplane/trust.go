package controlplane

import (
	"context"
	"encoding/pem"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/controlplane/internal/ca"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdsserver"
)

// distributor tells agents the roots of the mesh and proxies its trust domains, over the pipeline as everything that proxies are told. Of the goroutine that
// runs the authority.
type distributor struct {
	cp    *ControlPlane
	roots []string // those told last
	// domain is what was asked for last by Unaware, and knownFrom the first view that was seen with it.
	domain    string
	knownFrom uint64
}

var _ ca.Distributor = (*distributor)(nil)

// authoritySource names the authority among the pipeline's sources.
const authoritySource = "certificate authority"

func (d *distributor) Distribute(ctx context.Context, roots []byte) {
	d.roots = splitPEM(roots)
	d.cp.pipeline.add(ctx, sourced{source: authoritySource, roots: d.roots})
}

// Lacking: until the roots are in the view that is served, nobody has them.
func (d *distributor) Lacking() []string {
	view := d.cp.pipeline.view.Load()
	version := view.Version()
	if t := view.Snapshot().Trust; t == nil || !slices.Equal(t.Roots, d.roots) {
		version++
	}
	return d.cp.xds.Without(xdsserver.TypeProxyConfig, version)
}

// Former implements ca.Distributor.
func (d *distributor) Former(ctx context.Context, domains []string) {
	d.cp.pipeline.add(ctx, sourced{source: authoritySource, former: append([]string{}, domains...)})
}

// Unaware: whoever is asked for a workload's name is told in clusters, and who lets names in in listeners.
func (d *distributor) Unaware(domain string) []string {
	view := d.cp.pipeline.view.Load()
	switch {
	case view.Snapshot().Mesh.TrustDomain != domain:
		d.domain, d.knownFrom = "", view.Version()+1
	case d.domain != domain:
		d.domain, d.knownFrom = domain, view.Version()
	}
	return d.cp.xds.Behind(d.knownFrom, xdsserver.TypeCluster, xdsserver.TypeListener)
}

// splitPEM returns the blocks of a PEM text one by one.
func splitPEM(text []byte) []string {
	out := []string{}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return out
		}
		out = append(out, string(pem.EncodeToMemory(block)))
	}
}

// ReplaceRoot puts a new self-signed root into the folder of a certificate authority. A control plane that runs on it goes over to the new root without
// a request that fails. It returns the root's serial number, in hexadecimal.
func ReplaceRoot(caDir string) (serial string, err error) { return ca.ReplaceRoot(caDir, time.Now()) }

// AuthorityStatus is what /debug/ca answers, and AuthorityCertificate one certificate in it.
type (
	AuthorityStatus      = ca.Status
	AuthorityCertificate = ca.CertificateStatus
)
