package oidc

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lateen-mesh/lateen/controlplane/internal/follow"
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
	atOnce         = 8 // issuers that are asked at a time
)

// Resolver follows issuers. Make it with New and run it with Run.
type Resolver struct {
	issuers *follow.Follower[string]
}

// New returns a resolver that follows nobody. It starts nothing.
func New(opts Options) *Resolver {
	if opts.Refresh <= 0 {
		opts.Refresh = defaultRefresh
	}
	if opts.Client == nil {
		opts.Client = bounds().Client()
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	// The names are Istio's, whose control plane counts its fetches of keys and documents alike.
	success := prometheus.NewCounter(prometheus.CounterOpts{Name: "pilot_jwks_resolver_network_fetch_success_total", Help: "Discovery documents of issuers that were fetched."})
	failed := prometheus.NewCounter(prometheus.CounterOpts{Name: "pilot_jwks_resolver_network_fetch_fail_total", Help: "Discovery documents of issuers that could not be had."})
	if opts.Registerer != nil {
		opts.Registerer.MustRegister(success, failed)
	}
	return &Resolver{follow.New(follow.Options[string]{
		Refresh: opts.Refresh, RetryAfter: opts.RetryAfter, AtOnce: atOnce,
		Ask: func(ctx context.Context, issuer string) (string, time.Duration, error) {
			uri, err := fetch(ctx, opts.Client, issuer)
			return uri, 0, err
		},
		Equal: func(a, b string) bool { return a == b },
		Heard: func(issuer string, before, now follow.Answer[string]) {
			switch {
			case now.Problem != "":
				failed.Inc()
				if now.Problem != before.Problem {
					opts.Logger.Warn("an issuer's discovery document cannot be had", "issuer", issuer, "known", now.Value, "err", now.Problem)
				}
			default:
				success.Inc()
				if now != before {
					opts.Logger.Info("an issuer has said where its keys are", "issuer", issuer, "jwksUri", now.Value)
				}
			}
		},
	})}
}

// Follow says which issuers are to be known from now on. It does not wait.
func (r *Resolver) Follow(issuers []string) { r.issuers.Follow(issuers) }

// Run asks until ctx ends. sink is told all answers when one has changed; it gets a map of its own. An issuer of which nothing has been heard is not in it.
func (r *Resolver) Run(ctx context.Context, sink func(map[string]Answer)) error {
	return r.issuers.Run(ctx, func(all map[string]follow.Answer[string]) {
		out := make(map[string]Answer, len(all))
		for issuer, a := range all {
			out[issuer] = Answer{KeysURI: a.Value, Problem: a.Problem}
		}
		sink(out)
	})
}
