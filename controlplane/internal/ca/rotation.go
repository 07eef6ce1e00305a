package ca

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Rotation, step by step. Files in the folder change (an operator's, `lateen root-ca rotate`); Run sees it, reads and checks them, and keeps what it
// has when they are not good. Then:
//
//  1. The new roots are trusted beside the old ones, and are told to every proxy (Distributor).
//  2. When all connected proxies have said that they have them, and a moment more has passed, the new certificate signs. Where no root is new,
//     as with another intermediate, it signs at once.
//  3. A root that signed before and that root-cert.pem no longer names stays trusted until every certificate issued under it has ended.
//
// So at no time does a workload show a certificate that another cannot check.

const (
	// rescan is how often the files are looked at when the system told nothing, and settle how long after it did: files are replaced one by one.
	rescan = 10 * time.Second
	settle = 50 * time.Millisecond
	// poll is how often it is asked who lacks the new roots.
	poll = 100 * time.Millisecond
	// maxPause bounds the moment between the last proxy's word and the first certificate under a new root: an agent passes the roots on to its
	// proxy, and a proxy that is reconnecting just now is not asked.
	maxPause = 5 * time.Second
	// renewedBy is the share of a certificate's life by which any agent has renewed it (half, with Istio's jitter), and with it got the roots. A proxy
	// that takes no roots otherwise, as Istio's by default, is waited for so long.
	renewedBy = 0.6
)

// Distributor brings roots and trust domains to the mesh's proxies.
type Distributor interface {
	// Distribute has every proxy trust these roots (PEM), and no others.
	Distribute(ctx context.Context, roots []byte)
	// Lacking returns the connected proxies, by node id, that have not said that they have the roots distributed last.
	Lacking() []string
	// Former has every proxy take identities of these trust domains for the mesh's own (FormerTrustDomains), beside those of the settings.
	Former(ctx context.Context, domains []string)
	// Unaware returns the connected proxies that have not said that they know a trust domain as the mesh's own.
	Unaware(domain string) []string
}

// spread is something that is on its way to the proxies.
type spread struct {
	roots []*x509.Certificate // none where it is a trust domain
	since time.Time
	// known is since when no connected proxy has lacked it; zero while one does.
	known time.Time
	// told is when the log was last told who is waited for.
	told time.Time
}

// begin takes the authority that the folder holds at the start.
func (c *CA) begin(a *authority, now time.Time) error {
	rec, err := readRecord(c.opts.Dir)
	if err != nil {
		return err
	}
	next := rec.follow(a, now, c.opts.MaxWorkloadTTL)
	next.trustDomain = cmp.Or(next.trustDomain, c.opts.TrustDomain)
	if !next.equal(rec) {
		if err := next.write(c.opts.Dir); err != nil {
			return err
		}
	}
	c.record = next
	c.digest = digestOf(c.opts.Dir)
	c.signs.Store(a)
	c.trusts.Store(newTrust(union(a.roots, next.roots())))
	c.SetTrustDomain(c.opts.TrustDomain, c.opts.Aliases)
	return nil
}

// Run follows the folder's files, and brings the roots to the proxies, until ctx ends. One Run at a time.
func (c *CA) Run(ctx context.Context, d Distributor) error {
	events := c.watch()
	defer events.close()
	var distributed *trust
	var told []string
	distribute := func() {
		if t := c.trusts.Load(); t != distributed {
			distributed = t
			d.Distribute(ctx, t.pem)
		}
		if former := c.FormerTrustDomains(); !slices.Equal(former, told) {
			told = former
			d.Former(ctx, former)
		}
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-events.changed():
			timer.Reset(settle)
			continue
		case <-c.wake:
		case err := <-events.errors():
			c.log.Warn("a change of the certificate authority's files may be noticed late", "err", err)
			continue
		case <-timer.C:
		}
		c.look()
		distribute()
		c.advance(d)
		distribute()
		timer.Reset(c.pause())
	}
}

// pause is how long nothing needs to be done unless a file changes.
func (c *CA) pause() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.spread != nil || c.moving != nil {
		return poll
	}
	wait := rescan
	if due := c.record.due(); !due.IsZero() {
		wait = min(wait, max(due.Sub(c.opts.Now()), 0)+time.Millisecond)
	}
	return wait
}

// look reads the files when they have changed. Files that are not good are told once, and again when they have changed.
func (c *CA) look() {
	unlock, err := lockDir(c.opts.Dir)
	if err != nil {
		c.log.Error("certificate authority's folder cannot be read", "err", err)
		return
	}
	defer unlock()
	digest := digestOf(c.opts.Dir)
	c.mu.Lock()
	defer c.mu.Unlock()
	if digest == c.digest {
		return
	}
	c.digest = digest
	now := c.opts.Now()
	a, err := load(c.opts.Dir, now)
	var rec record
	if err == nil {
		rec, err = readRecord(c.opts.Dir)
	}
	if err != nil {
		c.metrics.loadFailures.Inc()
		c.log.Error("the certificate authority's files are not good; what was in force stays", "err", err)
		return
	}
	c.take(a, rec, now)
}

// take begins to go from what is in force to an authority. The record counts as it is on disk: who removes a root or a former trust domain from it no longer
// trusts it.
func (c *CA) take(a *authority, rec record, now time.Time) {
	c.record.retiring, c.record.formerly = rec.retiring, rec.formerly
	c.redomain()
	c.next = a
	if c.signs.Load().same(a) {
		c.next = nil
	}
	c.retrust(now)
	c.takeOver(now)
}

// retrust works out what is trusted now.
func (c *CA) retrust(now time.Time) {
	before := c.trusts.Load()
	certs := union(c.signs.Load().roots, c.record.roots())
	if c.next != nil {
		// The signing certificate's roots stay until it no longer signs, also where the new files do not name them.
		certs = union(c.next.roots, c.signs.Load().anchors, c.record.roots())
	}
	if slices.EqualFunc(certs, before.certs, (*x509.Certificate).Equal) {
		return
	}
	c.trusts.Store(newTrust(certs))
	c.log.Info("trusted roots have changed", "roots", len(certs))
	var fresh []*x509.Certificate
	for _, cert := range certs {
		if !containsCert(before.certs, cert) || c.spread != nil && containsCert(c.spread.roots, cert) {
			fresh = append(fresh, cert)
		}
	}
	c.spread = nil
	if len(fresh) > 0 {
		c.spread = &spread{roots: fresh, since: now, told: now}
	}
}

// takeOver has the next authority sign if a root of it is with all proxies.
func (c *CA) takeOver(now time.Time) {
	if c.next == nil {
		return
	}
	known := func(root *x509.Certificate) bool {
		return containsCert(c.trusts.Load().certs, root) && (c.spread == nil || !containsCert(c.spread.roots, root))
	}
	if !slices.ContainsFunc(c.next.anchors, known) {
		return
	}
	a := c.next
	c.next = nil
	c.adopt(a, now)
	c.retrust(now)
}

// adopt has an authority sign.
func (c *CA) adopt(a *authority, now time.Time) {
	c.signs.Store(a)
	c.record = c.record.follow(a, now, c.opts.MaxWorkloadTTL)
	c.save()
	c.log.Info("certificates are signed with another certificate", "certificate", subject(a.cert), "until", a.cert.NotAfter)
	for _, r := range c.record.retiring {
		c.log.Info("a root that no longer signs stays trusted for now", "root", subject(r.root), "until", r.until)
	}
}

// save writes the record. Without it a restart would not know the roots that retire, which is told and does not stop what is going on.
func (c *CA) save() {
	if err := c.record.write(c.opts.Dir); err != nil {
		c.log.Error("the certificate authority's record of its roots cannot be written", "err", err)
		return
	}
	c.digest = digestOf(c.opts.Dir)
}

// advance carries on what is on its way, and retires roots whose time has come.
func (c *CA) advance(d Distributor) {
	c.mu.Lock()
	spreads, moves, to := c.spread != nil, c.moving != nil, c.movingTo
	c.mu.Unlock()
	var lacking, unaware []string
	if spreads {
		lacking = d.Lacking()
	}
	if moves {
		unaware = d.Unaware(to)
	}
	unlock, err := lockDir(c.opts.Dir)
	if err != nil {
		c.log.Error("certificate authority's folder cannot be written", "err", err)
		return
	}
	defer unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.opts.Now()
	if c.spread != nil && spreads && c.isSpread(c.spread, "the new root", lacking, now) {
		c.spread = nil
		c.takeOver(now)
	}
	if c.moving != nil && moves && c.movingTo == to && c.isSpread(c.moving, "the new trust domain", unaware, now) {
		c.adoptDomain(now)
		c.redomain()
	}
	if due := c.record.due(); !due.IsZero() && !due.After(now) {
		for _, r := range c.record.retiring {
			if !r.until.After(now) {
				c.log.Info("a root has retired", "root", subject(r.root))
			}
		}
		for _, f := range c.record.formerly {
			if !f.until.After(now) {
				c.log.Info("identities of a former trust domain have ended", "trustDomain", f.domain)
			}
		}
		c.record = c.record.follow(c.signs.Load(), now, c.opts.MaxWorkloadTTL)
		c.save()
		c.retrust(now)
		c.redomain()
	}
}

// isSpread says that what is on its way is with all proxies, as far as can be known.
func (c *CA) isSpread(s *spread, what string, lacking []string, now time.Time) bool {
	if len(lacking) == 0 {
		if s.known.IsZero() {
			s.known = now
		}
		return now.Sub(s.known) >= min(maxPause, c.opts.WorkloadTTL/10)
	}
	s.known = time.Time{}
	if now.Sub(s.told) > rescan {
		s.told = now
		c.log.Info("proxies do not have "+what+" yet", "proxies", len(lacking), "first", lacking[0], "waitsUntil", s.since.Add(c.longest()))
	}
	if now.Sub(s.since) <= c.longest() {
		return false
	}
	c.log.Warn("proxies never said that they have "+what+"; it is used now", "proxies", len(lacking), "first", lacking[0])
	return true
}

// longest is how long proxies are waited for that do not say that they have something.
func (c *CA) longest() time.Duration {
	return time.Duration(renewedBy * float64(c.opts.MaxWorkloadTTL))
}

// Status is what signs and what is trusted, for debugging pages. It holds no key.
type Status struct {
	// Signer signs now; Roots are trusted now. Next is to sign when its roots are with all proxies; nil for none.
	Signer CertificateStatus   `json:"signer"`
	Next   *CertificateStatus  `json:"next,omitempty"`
	Roots  []CertificateStatus `json:"roots"`
	// TrustDomain is that of what is issued; NextTrustDomain is to be when all proxies know it, "" for none; FormerTrustDomains are of certificates that may
	// still be good.
	TrustDomain        string   `json:"trustDomain"`
	NextTrustDomain    string   `json:"nextTrustDomain,omitempty"`
	FormerTrustDomains []string `json:"formerTrustDomains,omitempty"`
}

// CertificateStatus is one certificate.
type CertificateStatus struct {
	Subject   string    `json:"subject"`
	Serial    string    `json:"serial"`
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
	// TrustedUntil is when a root that no longer signs retires; nil for one that root-cert.pem names.
	TrustedUntil *time.Time `json:"trustedUntil,omitempty"`
}

// Status returns what is in force.
func (c *CA) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := func(cert *x509.Certificate) CertificateStatus {
		return CertificateStatus{Subject: cert.Subject.String(), Serial: cert.SerialNumber.Text(16), NotBefore: cert.NotBefore, NotAfter: cert.NotAfter}
	}
	s := Status{Signer: of(c.signs.Load().cert), TrustDomain: c.record.trustDomain}
	if c.moving != nil {
		s.NextTrustDomain = c.movingTo
	}
	for _, f := range c.record.formerly {
		s.FormerTrustDomains = append(s.FormerTrustDomains, f.domain)
	}
	if c.next != nil {
		next := of(c.next.cert)
		s.Next = &next
	}
	for _, root := range c.trusts.Load().certs {
		one := of(root)
		for _, r := range c.record.retiring {
			if r.root.Equal(root) {
				one.TrustedUntil = &r.until
			}
		}
		s.Roots = append(s.Roots, one)
	}
	return s
}

// digestOf stands for the content of the folder's files; a file that is missing or cannot be read counts as empty.
func digestOf(dir string) [sha256.Size]byte {
	h := sha256.New()
	for _, name := range []string{rootFile, certFile, keyFile, chainFile, recordFile} {
		raw, err := readFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			raw = []byte(err.Error())
		}
		sum := sha256.Sum256(raw)
		h.Write(sum[:])
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// folderWatch tells of changes in a folder. Without the system's help it tells nothing, and the rescan's turn is waited for.
type folderWatch struct{ fs *fsnotify.Watcher }

func (c *CA) watch() folderWatch {
	w, err := fsnotify.NewWatcher()
	if err == nil {
		err = w.Add(c.opts.Dir)
	}
	if err != nil {
		c.log.Warn("changes of the certificate authority's files are noticed late", "err", err, "every", rescan)
	}
	return folderWatch{w}
}

func (w folderWatch) changed() <-chan fsnotify.Event {
	if w.fs == nil {
		return nil
	}
	return w.fs.Events
}

func (w folderWatch) errors() <-chan error {
	if w.fs == nil {
		return nil
	}
	return w.fs.Errors
}

func (w folderWatch) close() {
	if w.fs != nil {
		w.fs.Close()
	}
}
