package agent

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// defaultGrace and defaultGraceJitter are Istio's (Config.GraceRatio, Config.GraceJitter).
	defaultGrace       = 0.5
	defaultGraceJitter = 0.01

	firstRetry = 250 * time.Millisecond
	maxRetry   = 30 * time.Second
)

// renewalTime says when to renew a certificate: when no more than the share grace of its life is left, more or less by jitter, so that a fleet that started
// together does not renew together; draw is a random number in [0,1). Its life begins when it was obtained: authorities date NotBefore back for the
// sake of slow clocks, which for a short life would put the renewal into the past, again and again.
func renewalTime(obtained, notAfter time.Time, grace, jitter, draw float64) time.Time {
	share := min(max(1-grace+jitter*(2*draw-1), 0.01), 1)
	return obtained.Add(time.Duration(share * float64(notAfter.Sub(obtained))))
}

// retryWait is how long to wait after the n-th failure in a row (from 0): doubling, bounded, and between half and all of that by draw.
func retryWait(n int, draw float64) time.Duration {
	wait := maxRetry
	if n < 7 {
		wait = min(firstRetry<<n, maxRetry)
	}
	return wait/2 + time.Duration(draw*float64(wait/2))
}

// renewer keeps the secrets filled.
type renewer struct {
	cfg     Config
	secrets *secrets
	// before is a certificate from elsewhere to ask with as long as there is none of our own; nil: the token is all there is.
	before *Identity
}

// run renews the certificate before it expires until ctx ends. Run obtain first.
func (r *renewer) run(ctx context.Context) error {
	for {
		at := renewalTime(time.Now(), r.secrets.current().NotAfter, r.cfg.GraceRatio, r.cfg.GraceJitter, rand.Float64())
		if !wait(ctx, time.Until(at)) {
			return nil
		}
		if err := r.obtain(ctx); err != nil {
			return ctxError(ctx, err)
		}
	}
}

// obtain gets a certificate, trying until it has one; it fails only with ctx.
func (r *renewer) obtain(ctx context.Context) error {
	for failures := 0; ; failures++ {
		// Every other try goes without the old certificate: a CA that was made anew refuses it before it has looked at the token.
		id, err := r.once(ctx, failures%2 == 0)
		if err == nil {
			r.secrets.set(id)
			r.cfg.Logger.Info("certificate obtained", "identity", id.Certificate.Leaf.URIs[0].String(), "expires", id.NotAfter.Format(time.RFC3339))
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		pause := retryWait(failures, rand.Float64())
		r.cfg.Logger.Warn("no certificate yet; trying again", "error", err, "wait", pause.Round(time.Millisecond))
		if !wait(ctx, pause) {
			return ctx.Err()
		}
	}
}

// once asks once. It proves who asks with the old certificate when told so and there is a valid one, else with the token alone.
func (r *renewer) once(ctx context.Context, withCertificate bool) (*Identity, error) {
	csr, key, err := certificateRequest(r.cfg.identity(), r.cfg.Key)
	if err != nil {
		return nil, err
	}
	current := r.secrets.current()
	if current == nil {
		current = r.before
	}
	if current != nil && (!withCertificate || !time.Now().Before(current.NotAfter)) {
		current = nil
	}
	answer, err := r.cfg.signer.Sign(ctx, csr, r.cfg.TTL, current)
	if err != nil {
		return nil, err
	}
	return newIdentity(r.cfg.identity(), key, answer)
}

// wait reports whether d passed before ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
