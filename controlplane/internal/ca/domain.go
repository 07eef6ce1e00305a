package ca

import (
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// The trust domain of what is issued goes from one to another as a root does. When the mesh's settings name another one (SetTrustDomain):
//
//  1. Whoever asks is told to take identities of both: SetTrustDomain returns those of before, to be told to the proxies beside the new one.
//  2. When all connected proxies have said that they know it (Distributor), and a moment more has passed, certificates are issued under it.
//  3. The one before is taken for the same until every certificate under it has ended.
//
// What is issued under and what was is in the record on disk, so that a restart changes nothing of this, and a domain that is changed while no control plane
// runs goes the same way.

// former is a trust domain of certificates that were issued until a while ago.
type former struct {
	domain string
	until  time.Time
}

// domains are whose identities are issued and taken. Immutable.
type domains struct {
	// issued is that of new certificates; "" until the mesh's settings are known for the first time.
	issued string
	// taken are those of callers, for identities of issued.
	taken []string
}

// TrustDomain is what the mesh's settings say, as far as it is known, else what certificates are issued under.
func (c *CA) TrustDomain() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wantedDomain()
}

// wantedDomain is what certificates are to be issued under when all proxies know it. c.mu is held.
func (c *CA) wantedDomain() string {
	if c.wanted != "" {
		return c.wanted
	}
	return c.record.trustDomain
}

// SetTrustDomain says what the mesh's settings say: the trust domain, and others whose identities are the same. "" leaves what it was.
func (c *CA) SetTrustDomain(domain string, aliases []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.opts.Now()
	if domain != "" {
		c.wanted = domain
	}
	c.aliases = slices.Clone(aliases)
	switch c.record.trustDomain {
	case c.wantedDomain():
		c.moving = nil
	case "": // nothing was issued yet
		c.adoptDomain(now)
	default:
		if c.moving == nil || c.movingTo != c.wanted {
			c.log.Info("the trust domain is to change when all proxies know of it", "from", c.record.trustDomain, "to", c.wanted)
			c.moving, c.movingTo = &spread{since: now, told: now}, c.wanted
		}
	}
	c.redomain()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// FormerTrustDomains are those under which certificates are, or were until a while ago, issued, beside the one that the settings name: proxies are to
// take their identities for the mesh's own.
func (c *CA) FormerTrustDomains() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.formerDomains()
}

// formerDomains is FormerTrustDomains. c.mu is held.
func (c *CA) formerDomains() []string {
	var out []string
	add := func(d string) {
		if d != "" && d != c.wantedDomain() && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	add(c.record.trustDomain)
	for _, f := range c.record.formerly {
		add(f.domain)
	}
	return out
}

// adoptDomain has certificates be issued under what is wanted. c.mu is held.
func (c *CA) adoptDomain(now time.Time) {
	before := c.record.trustDomain
	c.record = c.record.under(c.wantedDomain(), now, c.opts.MaxWorkloadTTL)
	c.moving = nil
	c.save()
	c.log.Info("certificates are issued under the trust domain", "trustDomain", c.record.trustDomain, "before", before)
}

// redomain works out whose identities are issued and taken now. c.mu is held.
func (c *CA) redomain() {
	issued := c.record.trustDomain
	taken := append([]string{issued, c.wantedDomain()}, c.aliases...)
	c.domains.Store(&domains{issued: issued, taken: append(taken, c.formerDomains()...)})
}

// under returns the record once certificates are issued under another trust domain.
func (r record) under(domain string, now time.Time, overlap time.Duration) record {
	r.formerly = slices.DeleteFunc(slices.Clone(r.formerly), func(f former) bool { return f.domain == domain || f.domain == r.trustDomain })
	if r.trustDomain != "" && r.trustDomain != domain {
		r.formerly = append(r.formerly, former{r.trustDomain, now.Add(overlap)})
	}
	r.trustDomain = domain
	return r
}

// own returns the identity under the trust domain that is issued: tokens prove a service account, and certificates of former domains prove the same of this one.
func (d *domains) own(id spiffe.ID) spiffe.ID {
	id.TrustDomain = d.issued
	return id
}
