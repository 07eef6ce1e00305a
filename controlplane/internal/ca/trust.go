package ca

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/pkg/runfile"
	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// trust is what the mesh's certificates are checked with. Immutable.
type trust struct {
	certs []*x509.Certificate
	pem   []byte
	pool  *x509.CertPool
}

func newTrust(certs []*x509.Certificate) *trust {
	t := &trust{certs: certs, pem: encodeCerts(certs), pool: x509.NewCertPool()}
	for _, c := range certs {
		t.pool.AddCert(c)
	}
	return t
}

// union returns the certificates of both lists, each once, in the order in which they come.
func union(lists ...[]*x509.Certificate) []*x509.Certificate {
	var out []*x509.Certificate
	for _, list := range lists {
		for _, c := range list {
			if !containsCert(out, c) {
				out = append(out, c)
			}
		}
	}
	return out
}

// recordFile remembers, beside the authority's files, under which roots was issued. root-cert.pem says what is wanted; what workloads still hold
// certificates of is known from here, also after a restart.
const recordFile = "rotation.json"

// record is recordFile's content.
type record struct {
	// signer are the roots that the signing certificate leads to.
	signer []*x509.Certificate
	// retiring are roots that signed until a while ago and that root-cert.pem has no more.
	retiring []retiring
	// trustDomain is that of what is issued, "" when nothing was yet, and formerly those before whose certificates may still be good.
	trustDomain string
	formerly    []former
}

// retiring is a root that is trusted for as long as a certificate issued under it may be good.
type retiring struct {
	root  *x509.Certificate
	until time.Time
}

// recordJSON is a record on disk. Certificates are PEM, so that any tool reads them.
type recordJSON struct {
	Signer             []string       `json:"signer"`
	Retiring           []retiringJSON `json:"retiring,omitempty"`
	TrustDomain        string         `json:"trustDomain,omitempty"`
	FormerTrustDomains []formerJSON   `json:"formerTrustDomains,omitempty"`
}

type formerJSON struct {
	TrustDomain string    `json:"trustDomain"`
	Until       time.Time `json:"until"`
}

type retiringJSON struct {
	Root  string    `json:"root"`
	Until time.Time `json:"until"`
}

// readRecord reads the record of a folder; an empty one when there is none.
func readRecord(dir string) (record, error) {
	path := filepath.Join(dir, recordFile)
	raw, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, nil
	}
	if err != nil {
		return record{}, err
	}
	var in recordJSON
	if err := json.Unmarshal(raw, &in); err != nil {
		return record{}, fmt.Errorf("%s: %w; remove the file if no root was replaced lately", path, err)
	}
	var out record
	for _, text := range in.Signer {
		certs, err := parseCerts([]byte(text))
		if err != nil {
			return record{}, fmt.Errorf("%s: signer: %w", path, err)
		}
		out.signer = append(out.signer, certs...)
	}
	for _, r := range in.Retiring {
		certs, err := parseCerts([]byte(r.Root))
		if err != nil {
			return record{}, fmt.Errorf("%s: retiring: %w", path, err)
		}
		for _, c := range certs {
			out.retiring = append(out.retiring, retiring{c, r.Until})
		}
	}
	for _, name := range append([]string{in.TrustDomain}, namesOf(in.FormerTrustDomains)...) {
		if name == "" {
			continue
		}
		if err := spiffe.CheckTrustDomain(name); err != nil {
			return record{}, fmt.Errorf("%s: %w", path, err)
		}
	}
	out.trustDomain = in.TrustDomain
	for _, f := range in.FormerTrustDomains {
		out.formerly = append(out.formerly, former{f.TrustDomain, f.Until})
	}
	return out, nil
}

func namesOf(list []formerJSON) []string {
	var out []string
	for _, f := range list {
		out = append(out, f.TrustDomain)
	}
	return out
}

func (r record) write(dir string) error {
	var out recordJSON
	for _, c := range r.signer {
		out.Signer = append(out.Signer, string(encodeCert(c)))
	}
	for _, one := range r.retiring {
		out.Retiring = append(out.Retiring, retiringJSON{string(encodeCert(one.root)), one.until})
	}
	out.TrustDomain = r.trustDomain
	for _, f := range r.formerly {
		out.FormerTrustDomains = append(out.FormerTrustDomains, formerJSON{f.domain, f.until})
	}
	raw, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	return runfile.WriteFile(filepath.Join(dir, recordFile), append(raw, '\n'), 0o644)
}

func (r record) equal(o record) bool {
	return slices.EqualFunc(r.signer, o.signer, (*x509.Certificate).Equal) &&
		slices.EqualFunc(r.retiring, o.retiring, func(a, b retiring) bool { return a.root.Equal(b.root) && a.until.Equal(b.until) }) &&
		r.trustDomain == o.trustDomain && slices.EqualFunc(r.formerly, o.formerly, func(a, b former) bool { return a.domain == b.domain && a.until.Equal(b.until) })
}

// roots are those that are trusted beside an authority's own.
func (r record) roots() []*x509.Certificate {
	var out []*x509.Certificate
	for _, one := range r.retiring {
		out = append(out, one.root)
	}
	return out
}

// follow returns the record once another authority signs: roots that signed and that it does not name retire, and what is due is dropped, of former trust
// domains as well.
func (r record) follow(a *authority, now time.Time, overlap time.Duration) record {
	out := record{signer: a.anchors, trustDomain: r.trustDomain}
	for _, f := range r.formerly {
		if f.until.After(now) {
			out.formerly = append(out.formerly, f)
		}
	}
	for _, one := range r.retiring {
		if one.until.After(now) && !containsCert(a.roots, one.root) {
			out.retiring = append(out.retiring, one)
		}
	}
	for _, root := range r.signer {
		if !containsCert(a.roots, root) && !containsCert(out.roots(), root) {
			out.retiring = append(out.retiring, retiring{root, now.Add(overlap)})
		}
	}
	return out
}

// due is when the next root retires or the next former trust domain ends; zero when none does.
func (r record) due() time.Time {
	var at time.Time
	sooner := func(until time.Time) {
		if at.IsZero() || until.Before(at) {
			at = until
		}
	}
	for _, one := range r.retiring {
		sooner(one.until)
	}
	for _, f := range r.formerly {
		sooner(f.until)
	}
	return at
}
