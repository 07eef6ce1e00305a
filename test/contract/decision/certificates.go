package decision

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// Certificate is one that a table needs: of a server that a gateway shows, or of a client.
type Certificate struct {
	Name string   `json:"name"`
	For  []string `json:"for"` // DNS names and URIs; default: the name
	// By is who signs it: an authority, made when it is first named, default "authority"; "mesh", the mesh's own; "itself"; or a certificate of the
	// table, whether it may sign or not, which is shown behind it.
	By  string `json:"by"`
	Key string `json:"key"` // "ecdsa" (default), "p224", "p521", "ed25519", "rsa", or "rsa1024"
	// Revoked: it is in its authority's revocation list. Expired: its time is over. Early: it has not come.
	Revoked bool     `json:"revoked"`
	Expired bool     `json:"expired"`
	Early   bool     `json:"early"`
	CA      bool     `json:"ca"`     // it says that it may sign others
	Usages  []string `json:"usages"` // of "server" and "client"; default: both
}

const (
	// defaultAuthority signs what does not say who does.
	defaultAuthority = "authority"
	// meshAuthority is the mesh's own, which there is when its control plane runs.
	meshAuthority = "mesh"
)

// authority signs certificates.
type authority struct {
	cert    *x509.Certificate
	key     crypto.Signer
	pem     []byte
	serial  int64
	revoked []x509.RevocationListEntry
	behind  []byte // what is shown behind its certificates, PEM
}

// issued is a certificate with its key, PEM.
type issued struct {
	leaf       *x509.Certificate
	chain, key []byte
}

func (c issued) tls() (tls.Certificate, error) { return tls.X509KeyPair(c.chain, c.key) }

// certificates are all of a table, made anew each time that it is read.
type certificates struct {
	dir         string // of the files
	authorities map[string]*authority
	issued      map[string]issued
	ofMesh      []Certificate // of the mesh's authority, and what these sign
	signers     *signers
}

func newCertificates(table string, list []Certificate, tokens []Token) (*certificates, error) {
	c := &certificates{
		dir:         filepath.Join(os.TempDir(), fmt.Sprintf("lateen-decision-%d", os.Getpid()), table),
		authorities: map[string]*authority{}, issued: map[string]issued{},
	}
	later := map[string]bool{meshAuthority: true}
	for _, w := range list {
		if later[w.By] {
			later[w.Name] = true
			c.ofMesh = append(c.ofMesh, w)
			continue
		}
		if err := c.issue(w); err != nil {
			return nil, fmt.Errorf("certificate %q: %w", w.Name, err)
		}
	}
	var err error
	c.signers, err = newSigners(tokens)
	return c, err
}

// readMesh reads the mesh's own authority, whose files are in dir.
func (c *certificates) readMesh(dir string) error {
	if c.authorities[meshAuthority] != nil {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "ca-cert.pem"), filepath.Join(dir, "ca-key.pem"))
	if err != nil {
		return err
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return fmt.Errorf("the mesh's authority has a key of type %T", pair.PrivateKey)
	}
	c.authorities[meshAuthority] = &authority{cert: pair.Leaf, key: key, serial: 1 << 40} // none of its own
	return nil
}

// join makes the certificates of the mesh whose authority is in a folder.
func (c *certificates) join(dir string) error {
	for _, w := range c.ofMesh {
		err := c.readMesh(dir)
		if err == nil {
			err = c.issue(w)
		}
		if err != nil {
			return fmt.Errorf("certificate %q: %w", w.Name, err)
		}
	}
	return nil
}

// signer is who signs w, whose key is key.
func (c *certificates) signer(w Certificate, template *x509.Certificate, key crypto.Signer) (*authority, error) {
	if w.By == "itself" {
		return &authority{cert: template, key: key}, nil
	}
	by, ok := c.issued[w.By]
	if !ok {
		return c.authority(w.By)
	}
	cert, err := by.tls()
	if err != nil {
		return nil, err
	}
	return &authority{cert: by.leaf, key: cert.PrivateKey.(crypto.Signer), behind: by.chain}, nil
}

func (c *certificates) authority(name string) (*authority, error) {
	if name == "" {
		name = defaultAuthority
	}
	if a := c.authorities[name]; a != nil {
		return a, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	a := &authority{cert: cert, key: key, pem: encode("CERTIFICATE", der), serial: 1}
	c.authorities[name] = a
	return a, nil
}

func (c *certificates) issue(w Certificate) error {
	key, err := newKey(w.Key)
	if err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: w.Name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IsCA: w.CA, BasicConstraintsValid: w.CA,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if w.CA {
		template.KeyUsage |= x509.KeyUsageCertSign
	}
	if w.Expired {
		template.NotAfter = now.Add(-time.Minute)
	}
	if w.Early {
		template.NotBefore = now.Add(time.Minute * 30)
	}
	if len(w.Usages) > 0 {
		template.ExtKeyUsage = nil
	}
	for _, name := range w.Usages {
		usage, ok := map[string]x509.ExtKeyUsage{"server": x509.ExtKeyUsageServerAuth, "client": x509.ExtKeyUsageClientAuth}[name]
		if !ok {
			return fmt.Errorf("usage %q is neither server nor client", name)
		}
		template.ExtKeyUsage = append(template.ExtKeyUsage, usage)
	}
	for _, name := range append(w.For, w.Name)[:max(len(w.For), 1)] {
		if u, err := url.Parse(name); err == nil && u.Scheme != "" {
			template.URIs = append(template.URIs, u)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	a, err := c.signer(w, template, key)
	if err != nil {
		return err
	}
	a.serial++
	template.SerialNumber = big.NewInt(a.serial)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if w.Revoked {
		a.revoked = append(a.revoked, x509.RevocationListEntry{SerialNumber: leaf.SerialNumber, RevocationTime: now.Add(-time.Minute)})
	}
	c.issued[w.Name] = issued{leaf, append(encode("CERTIFICATE", der), a.behind...), encode("PRIVATE KEY", raw)}
	return nil
}

func newKey(kind string) (crypto.Signer, error) {
	switch kind {
	case "", "ecdsa":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "p521":
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "ed25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case "p224":
		return ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	case "rsa":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "rsa1024":
		return rsa.GenerateKey(rand.Reader, 1024)
	}
	return nil, fmt.Errorf("key %q is none of ecdsa, p224, p521, ed25519, rsa and rsa1024", kind)
}

func (a *authority) crl() ([]byte, error) {
	now := time.Now()
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(time.Hour), RevokedCertificateEntries: a.revoked,
	}, a.cert, a.key)
	return encode("X509 CRL", der), err
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// reference is what stands in objects for what is made here: $(webapp.crt), $(clients.crl.file), $(alice.spki); and in the mesh's settings "$(clients.pem)", an authority's
// certificate for a text in double quotes.
var reference = regexp.MustCompile(`\$\(([\w-]+)\.(crt|key|ca|crl|spki|hash|jwks|token|pem)(\.file)?\)`)

// fill puts certificates into an object's text.
func (c *certificates) fill(doc []byte) ([]byte, error) {
	var failed error
	out := reference.ReplaceAllFunc(doc, func(ref []byte) []byte {
		m := reference.FindStringSubmatch(string(ref))
		text, err := c.part(m[1], m[2], m[3] != "")
		if err != nil && failed == nil {
			failed = fmt.Errorf("%s: %w", ref, err)
		}
		return []byte(text)
	})
	return out, failed
}

// part is a part of a certificate or of an authority: base64, as a Secret has it, the name of a file, or a fingerprint as Gateways have it.
func (c *certificates) part(name, part string, file bool) (string, error) {
	switch part {
	case "jwks":
		return c.signers.jwks(name)
	case "token":
		return c.signers.token(name)
	case "pem":
		raw, err := c.raw(name, "ca")
		return strings.ReplaceAll(string(raw), "\n", `\n`), err
	}
	raw, err := c.raw(name, part)
	if err != nil {
		return "", err
	}
	switch {
	case part == "spki":
		return base64.StdEncoding.EncodeToString(raw), nil
	case part == "hash":
		return hex.EncodeToString(raw), nil
	case !file:
		return base64.StdEncoding.EncodeToString(raw), nil
	}
	path := filepath.Join(c.dir, name+"."+part)
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, raw, 0o600)
}

func (c *certificates) raw(name, part string) ([]byte, error) {
	if part == "ca" || part == "crl" {
		a := c.authorities[name]
		switch {
		case a == nil:
			return nil, fmt.Errorf("no certificate is signed by %q", name)
		case part == "crl":
			return a.crl()
		}
		return a.pem, nil
	}
	i, ok := c.issued[name]
	if !ok {
		return nil, fmt.Errorf("there is no certificate %q in the head", name)
	}
	switch part {
	case "crt":
		return i.chain, nil
	case "key":
		return i.key, nil
	case "spki":
		sum := sha256.Sum256(i.leaf.RawSubjectPublicKeyInfo)
		return sum[:], nil
	}
	sum := sha256.Sum256(i.leaf.Raw)
	return sum[:], nil
}

// remove takes the files away.
func (c *certificates) remove() error { return os.RemoveAll(c.dir) }

// ClientTLS is how a row's client speaks TLS.
type ClientTLS struct {
	SNI    string   `json:"sni"`    // default: the host of the request
	As     string   `json:"as"`     // the certificate that it shows; "mesh": one of the mesh, of namespace default; "mesh NAMESPACE/ACCOUNT", "mesh TRUST-DOMAIN/NAMESPACE/ACCOUNT"
	Trusts string   `json:"trusts"` // the authority that it trusts; default: it takes any certificate
	Offers []string `json:"offers"` // by ALPN
	Min    string   `json:"min"`    // "1.0" to "1.3"
	Max    string   `json:"max"`
	Suites []string `json:"suites"` // of TLS 1.2, in IANA's names
}

// UnmarshalJSON takes the short form as well, which is the SNI.
func (c *ClientTLS) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return strict(b, &c.SNI)
	}
	type plain ClientTLS
	return strict(b, (*plain)(c))
}

var tlsVersions = map[string]uint16{"": 0, "1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// tlsConfig is a row's client for host; mesh makes its certificate when it is one of the mesh.
func (c *certificates) tlsConfig(r *Row, host string, mesh func(spiffe.ID) (tls.Certificate, error)) (*tls.Config, error) {
	t := r.TLS
	if t == nil {
		t = &ClientTLS{}
	}
	out := &tls.Config{InsecureSkipVerify: t.Trusts == "", ServerName: host, NextProtos: t.Offers, MinVersion: tls.VersionTLS10}
	if t.SNI != "" {
		out.ServerName = t.SNI
	}
	var ok bool
	if out.MaxVersion, ok = tlsVersions[t.Max]; !ok {
		return nil, fmt.Errorf("tls.max %q is not a version", t.Max)
	}
	if t.Min != "" {
		if out.MinVersion, ok = tlsVersions[t.Min]; !ok {
			return nil, fmt.Errorf("tls.min %q is not a version", t.Min)
		}
	}
	if t.Trusts != "" {
		a := c.authorities[t.Trusts]
		if a == nil {
			return nil, fmt.Errorf("no certificate is signed by %q", t.Trusts)
		}
		out.RootCAs = x509.NewCertPool()
		out.RootCAs.AddCert(a.cert)
	}
	for _, name := range t.Suites {
		id := suite(name)
		if id == 0 {
			return nil, fmt.Errorf("tls.suites: %q is not known", name)
		}
		out.CipherSuites = append(out.CipherSuites, id)
	}
	if t.As == "" {
		return out, nil
	}
	var cert tls.Certificate
	var err error
	if i, known := c.issued[t.As]; known {
		cert, err = i.tls()
	} else if who, ok := strings.CutPrefix(t.As, "mesh"); ok {
		cert, err = mesh(member(strings.TrimSpace(who)))
	} else {
		err = fmt.Errorf("there is no certificate %q in the head", t.As)
	}
	// Shown whatever the server says that it accepts, as a client with one certificate does.
	out.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	return out, err
}

// member is who a certificate of the mesh is of, without a trust domain where it is the mesh's own.
func member(who string) spiffe.ID {
	id := spiffe.ID{Namespace: "default", ServiceAccount: "default"}
	switch parts := strings.Split(who, "/"); len(parts) {
	case 2:
		id.Namespace, id.ServiceAccount = parts[0], parts[1]
	case 3:
		id.TrustDomain, id.Namespace, id.ServiceAccount = parts[0], parts[1], parts[2]
	}
	return id
}

// ofAnotherDomain is signed by the mesh's authority, whose files are in dir, for an identity that it would not sign when asked.
func (c *certificates) ofAnotherDomain(dir string, id spiffe.ID) (tls.Certificate, error) {
	if err := c.readMesh(dir); err != nil {
		return tls.Certificate{}, err
	}
	if err := c.issue(Certificate{Name: id.String(), By: meshAuthority}); err != nil {
		return tls.Certificate{}, err
	}
	return c.issued[id.String()].tls()
}

func suite(name string) uint16 {
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if strings.EqualFold(s.Name, name) {
			return s.ID
		}
	}
	return 0
}
