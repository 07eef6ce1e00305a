package jwtauthn

import (
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/jwt"
)

// run is a leaf at work for one request.
type run struct {
	f   *filter
	req *requirement

	state   runState
	status  jwt.Status // when it is over
	tokens  []found    // still to be judged; the last one comes next
	place   *place     // of the token that is judged
	raw     string     // the same token, once it was parsed
	token   *jwt.Token // as above
	at      int        // the provider that the last token belonged to; -1: none
	bad     jwt.Status // of a token before
	waiter  *waiter
	reroute bool
}

type runState uint8

const (
	idle runState = iota
	waits
	over
)

// start looks for the leaf's tokens and judges them, until one has to wait for keys.
func (r *run) start() {
	h := r.f.headers
	for _, k := range r.req.extractor.sanitize {
		h.RemoveKey(k)
	}
	if r.req.unverified != nil {
		h.RemoveKey(*r.req.unverified) // what it says is ours to say
	}
	r.at = -1
	r.tokens = r.req.extractor.extract(h, r.tokens[:0])
	switch n := len(r.tokens); {
	case n == 0:
		r.failed(jwt.Missing)
		r.finish(jwt.Missing)
	case n > maxTokens:
		r.tokens = nil
		r.concluded(jwt.MultipleTokens)
	default:
		r.next()
	}
}

// maxTokens bounds how many tokens of a request are looked at: a line of cookies may hold thousands.
const maxTokens = 16

// next judges the remaining tokens.
func (r *run) next() {
	for {
		last := len(r.tokens) - 1
		t := r.tokens[last]
		r.tokens = r.tokens[:last]
		r.place = t.place
		status := r.judge(t.token)
		if r.state == waits || r.concluded(status) {
			return
		}
	}
}

// resume goes on with the token that has waited for keys.
func (r *run) resume() {
	r.state, r.waiter = idle, nil
	status := jwt.KeysNotFetched
	if held := r.f.sources[r.at].current(); held != nil {
		status = r.check(held.keys)
	}
	if !r.concluded(status) {
		r.next()
	}
}

// concluded takes the status of one token, and reports whether the leaf is over. All tokens must be
// good: of a good and a bad one the application might read the other.
func (r *run) concluded(status jwt.Status) bool {
	if status != jwt.OK {
		r.bad = status
		r.failed(status)
		if r.req.unverified != nil {
			r.f.headers.SetKeyString(*r.req.unverified, "false")
		}
	}
	if len(r.tokens) > 0 && (status == jwt.OK || r.req.allowMissing) {
		return false
	}
	r.finish(r.bad)
	return true
}

func (r *run) finish(status jwt.Status) {
	r.state, r.status = over, status
	if r.req.allowFailed || r.req.allowMissing && status == jwt.Missing {
		r.status = jwt.OK
	}
	if r.reroute {
		r.f.stream.ClearRoute()
	}
}

// failed notes a failure in the dynamic metadata of the provider that it belongs to, if that is known.
func (r *run) failed(status jwt.Status) {
	providers := r.f.cfg.providers
	p := r.at
	if p < 0 && len(providers) == 1 {
		p = 0
	}
	if p >= 0 && providers[p].failureMetadata != "" {
		r.f.note(providers[p].failureMetadata, map[string]any{"code": float64(status), "message": status.String()})
	}
}

// judge judges one token by the rules of its provider. With state waits it has to be asked again.
func (r *run) judge(raw []byte) jwt.Status {
	now := r.f.now()
	if r.req.provider >= 0 {
		r.at = r.req.provider
		if v := r.remembered(raw, now); v != nil {
			status := r.rules(v.token, now)
			if status == jwt.OK {
				r.accept(v)
			}
			return status
		}
	}
	r.raw = string(raw)
	var status jwt.Status
	if r.token, status = jwt.Parse(r.raw); status != jwt.OK {
		return status
	}
	if r.req.provider < 0 && r.place.allows(r.token.Issuer) {
		r.at = r.f.cfg.providerOf(r.token.Issuer)
	}
	if status := r.rules(r.token, now); status != jwt.OK {
		return status
	}
	keys, fresh := r.f.keysOf(r.at)
	switch {
	case fresh:
		return r.check(keys)
	case r.f.sources[r.at] == nil:
		return jwt.NoValidKeys
	}
	r.state = waits
	r.waiter = &waiter{tell: func() { r.f.resume(r) }}
	r.f.sources[r.at].await(r.f.stream.Loop(), r.waiter)
	return jwt.OK
}

// remembered looks a token up among those that were verified before.
func (r *run) remembered(raw []byte, now uint64) *verified {
	p := r.f.cfg.providers[r.at]
	var v *verified
	if keys, fresh := r.f.keysOf(r.at); keys != nil {
		v = r.f.caches[r.at].get(raw, keys, now, p.clockSkew)
		if v != nil && !fresh {
			// The token stays good; whether the keys are still those is found out beside it.
			r.f.sources[r.at].await(r.f.stream.Loop(), nil)
		}
	}
	if v != nil && p.cacheCounted {
		r.f.count(cacheHit)
	} else {
		r.f.count(cacheMiss)
	}
	return v
}

// rules applies what a provider asks of a token beside its signature.
func (r *run) rules(t *jwt.Token, now uint64) jwt.Status {
	if r.at < 0 || !r.place.allows(t.Issuer) {
		return jwt.UnknownIssuer
	}
	p := r.f.cfg.providers[r.at]
	if status := t.CheckTime(now, p.clockSkew); status != jwt.OK {
		return status
	}
	aud := p.audiences
	if r.req.override {
		aud = r.req.audiences
	}
	switch {
	case !aud.allow(t.Audiences):
		return jwt.AudienceNotAllowed
	case p.subjects != nil && !p.subjects.Match(t.Subject), !p.allowsLifetime(t.Expires, now):
		return jwt.VerificationFailed
	}
	return jwt.OK
}

// allowsLifetime judges how long a token still lives; expires 0: for ever.
func (p *provider) allowsLifetime(expires, now uint64) bool {
	if p.maxLifetime == nil {
		return !p.requireExpiration || expires != 0
	}
	if expires == 0 {
		return false
	}
	if expires <= now {
		return true // within the clock skew
	}
	left := expires - now
	return left < uint64(1<<62)/uint64(time.Second) && time.Duration(left)*time.Second < *p.maxLifetime
}

// check verifies the signature of the token that was parsed last, and accepts it if it is good.
func (r *run) check(keys *jwt.KeySet) jwt.Status {
	if status := keys.Verify(r.token); status != jwt.OK {
		return status
	}
	v := &verified{raw: r.raw, token: r.token, keys: keys, outcome: newOutcome(r.f.cfg.providers[r.at], r.token)}
	r.f.caches[r.at].put(v)
	r.accept(v)
	return jwt.OK
}

// accept does with a good token what its provider says.
func (r *run) accept(v *verified) {
	p := r.f.cfg.providers[r.at]
	v.outcome.apply(r.f.headers)
	if v.outcome.invalid != nil {
		r.f.invalid = v.outcome.invalid
	}
	if !p.forward {
		r.place.remove(r.f.headers)
	}
	if p.headerMetadata != "" {
		r.f.note(p.headerMetadata, v.token.Header)
	}
	if p.payloadMetadata != "" {
		r.f.note(p.payloadMetadata, v.outcome.payload)
	}
	if p.clearRoute && (v.outcome.hasClaim || p.payloadMetadata != "") {
		r.reroute = true
	}
}
