package oidc

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Answer is what is known of one issuer.
type Answer struct {
	// KeysURI is where its keys are; "" while it has not been found.
	KeysURI string
	// Problem says why it could not be found, the last time; "" when it could.
	Problem string
}

// Options of a Resolver. Every field has a default.
type Options struct {
	// Refresh is how long an answer is used before the issuer is asked again. Default 20 minutes, Istio's PILOT_JWT_PUB_KEY_REFRESH_INTERVAL.
	Refresh time.Duration
	// RetryAfter is how long the first wait after a failure is; it doubles up to a minute. Default 1 s.
	RetryAfter time.Duration
	// Client asks. Default: one that trusts the system's authorities.
	Client     *http.Client
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

const (
	defaultRefresh = 20 * time.Minute
	defaultRetry   = time.Second
	maxRetry       = time.Minute
	atOnce         = 8 // issuers that are asked at a time
)

// Resolver follows issuers. Make it with New and run it with Run.
type Resolver struct {
	opts            Options
	success, failed prometheus.Counter

	mu     sync.Mutex
	wanted map[string]bool // guarded by mu
	wake   chan struct{}   // holds one when wanted has changed
}

// New returns a resolver that follows nobody. It starts nothing.
func New(opts Options) *Resolver {
	if opts.Refresh <= 0 {
		opts.Refresh = defaultRefresh
	}
	if opts.RetryAfter <= 0 {
		opts.RetryAfter = defaultRetry
	}
	if opts.Client == nil {
		opts.Client = newClient()
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Resolver{
		opts: opts, wanted: map[string]bool{}, wake: make(chan struct{}, 1),
		// The names are Istio's, whose control plane counts its fetches of keys and documents alike.
		success: prometheus.NewCounter(prometheus.CounterOpts{Name: "pilot_jwks_resolver_network_fetch_success_total", Help: "Discovery documents of issuers that were fetched."}),
		failed:  prometheus.NewCounter(prometheus.CounterOpts{Name: "pilot_jwks_resolver_network_fetch_fail_total", Help: "Discovery documents of issuers that could not be had."}),
	}
	if opts.Registerer != nil {
		opts.Registerer.MustRegister(r.success, r.failed)
	}
	return r
}

// Follow says which issuers are to be known from now on. It does not wait.
func (r *Resolver) Follow(issuers []string) {
	wanted := make(map[string]bool, len(issuers))
	for _, i := range issuers {
		wanted[i] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if maps.Equal(wanted, r.wanted) {
		return
	}
	r.wanted = wanted
	select {
	case r.wake <- struct{}{}:
	default: // Run has not yet looked
	}
}

func (r *Resolver) following() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wanted
}

// followed is the state of one issuer.
type followed struct {
	answer  Answer
	heard   bool
	asking  bool
	due     time.Time
	backoff time.Duration // of the last failure; 0: there was none
}

// heard is what came of asking.
type heard struct {
	issuer, uri string
	err         error
}

// Run asks until ctx ends. sink is told all answers when one has changed; it gets a map of its own. An issuer of which nothing has been heard is not in it.
func (r *Resolver) Run(ctx context.Context, sink func(map[string]Answer)) error {
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	known, answers, busy := map[string]*followed{}, make(chan heard), 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		next := now.Add(r.opts.Refresh)
		for issuer, f := range known {
			switch {
			case f.asking:
			case now.Before(f.due):
				next = earlier(next, f.due)
			case busy < atOnce: // else one that is over will come back here
				f.asking = true
				busy++
				asking.Go(func() {
					uri, err := fetch(ctx, r.opts.Client, issuer)
					select {
					case answers <- heard{issuer, uri, err}:
					case <-ctx.Done():
					}
				})
			}
		}
		timer.Reset(time.Until(next))
		changed := false
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-r.wake:
			changed = follow(known, r.following())
		case h := <-answers:
			busy--
			if f := known[h.issuer]; f != nil { // else nobody wants to know any more
				changed = r.hear(f, h)
			}
		}
		if changed {
			out := map[string]Answer{}
			for issuer, f := range known {
				if f.heard {
					out[issuer] = f.answer
				}
			}
			sink(out)
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// follow makes known what is wanted, and reports whether an answer is gone.
func follow(known map[string]*followed, wanted map[string]bool) (changed bool) {
	for issuer, f := range known {
		if !wanted[issuer] {
			changed = changed || f.heard
			delete(known, issuer)
		}
	}
	for issuer := range wanted {
		if known[issuer] == nil {
			known[issuer] = &followed{}
		}
	}
	return changed
}

// hear takes what came of asking, and reports whether it is new.
func (r *Resolver) hear(f *followed, h heard) (changed bool) {
	before, first := f.answer, !f.heard
	f.asking, f.heard = false, true
	if h.err != nil {
		r.failed.Inc()
		f.backoff = min(max(2*f.backoff, r.opts.RetryAfter), max(maxRetry, r.opts.RetryAfter))
		f.due = time.Now().Add(f.backoff)
		f.answer.Problem = h.err.Error() // and KeysURI stays
		if f.answer.Problem != before.Problem {
			r.opts.Logger.Warn("an issuer's discovery document cannot be had", "issuer", h.issuer, "known", f.answer.KeysURI, "err", h.err)
		}
		return first || f.answer != before
	}
	r.success.Inc()
	f.backoff, f.due, f.answer = 0, time.Now().Add(r.opts.Refresh), Answer{KeysURI: h.uri}
	if f.answer != before {
		r.opts.Logger.Info("an issuer has said where its keys are", "issuer", h.issuer, "jwksUri", h.uri)
	}
	return first || f.answer != before
}
