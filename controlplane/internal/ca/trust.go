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
}

// retiring is a root that is trusted for as long as a certificate issued under it may be good.
type retiring struct {
	root  *x509.Certificate
	until time.Time
}

// recordJSON is a record on disk. Certificates are PEM, so that any tool reads them.
type recordJSON struct {
	Signer   []string       `json:"signer"`
	Retiring []retiringJSON `json:"retiring,omitempty"`
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
	return out, nil
}

func (r record) write(dir string) error {
	var out recordJSON
	for _, c := range r.signer {
		out.Signer = append(out.Signer, string(encodeCert(c)))
	}
	for _, one := range r.retiring {
		out.Retiring = append(out.Retiring, retiringJSON{string(encodeCert(one.root)), one.until})
	}
	raw, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	return runfile.WriteFile(filepath.Join(dir, recordFile), append(raw, '\n'), 0o644)
}

func (r record) equal(o record) bool {
	return slices.EqualFunc(r.signer, o.signer, (*x509.Certificate).Equal) &&
		slices.EqualFunc(r.retiring, o.retiring, func(a, b retiring) bool { return a.root.Equal(b.root) && a.until.Equal(b.until) })
}

// roots are those that are trusted beside an authority's own.
func (r record) roots() []*x509.Certificate {
	var out []*x509.Certificate
	for _, one := range r.retiring {
		out = append(out, one.root)
	}
	return out
}

// follow returns the record once another authority signs: roots that signed and that it does not name retire, and what is due is dropped.
func (r record) follow(a *authority, now time.Time, overlap time.Duration) record {
	out := record{signer: a.anchors}
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

// due is when the next root retires; zero when none does.
func (r record) due() time.Time {
	var at time.Time
	for _, one := range r.retiring {
		if at.IsZero() || one.until.Before(at) {
			at = one.until
		}
	}
	return at
}
