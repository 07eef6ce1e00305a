// Package spiffebundle fetches the roots of other trust domains from where they publish them, their SPIFFE bundle endpoints
// (https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Trust_Domain_and_Bundle.md), as Istio's control plane does for spiffeBundleUrl of MeshConfig's
// caCertificates.
//
// The endpoint is authenticated by the system's authorities (the profile https_web). What it has said stays good while it cannot be asked again.
//
// Which domains a bundle is of, and who is told of it, others decide. The control plane's wiring is its one importer.
package spiffebundle

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/controlplane/internal/follow"
	"github.com/lateen-mesh/lateen/controlplane/internal/webfetch"
)

const maxRoots = 100

// bounds are those of what an endpoint may do to us; the time is Istio's. A redirect that left TLS would have anyone on the way say whom the mesh trusts.
func bounds() webfetch.Bounds {
	return webfetch.Bounds{Timeout: 10 * time.Second, Size: 1 << 20, Redirects: 3}
}

// How long a bundle is used before it is asked for again: Istio's, where it has no spiffe_refresh_hint, and the bounds of that.
const (
	defaultRefresh = 30 * time.Minute
	minRefresh     = time.Minute
	maxRefresh     = 24 * time.Hour
)

// Answer is what is known of one URL: its roots, each one PEM, and why it could not be asked the last time ("" when it could).
type Answer = follow.Answer[[]string]

// Options of a Resolver. Every field has a default.
type Options struct {
	// RetryAfter is how long the first wait after a failure is; it doubles up to a minute. Default 1 s.
	RetryAfter time.Duration
	// Client asks. Default: one that trusts the system's authorities.
	Client *http.Client
	Logger *slog.Logger
}

// Resolver follows URLs of bundles.
type Resolver = follow.Follower[[]string]

// New returns a resolver that follows nothing. It starts nothing.
func New(opts Options) *Resolver {
	if opts.Client == nil {
		opts.Client = bounds().Client()
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return follow.New(follow.Options[[]string]{
		Refresh: defaultRefresh, RetryAfter: opts.RetryAfter,
		Ask: func(ctx context.Context, url string) ([]string, time.Duration, error) {
			return fetch(ctx, opts.Client, url)
		},
		Equal: slices.Equal[[]string],
		Heard: func(url string, before, now Answer) {
			switch {
			case now.Problem != "" && now.Problem != before.Problem:
				opts.Logger.Warn("a bundle of roots cannot be had", "url", url, "known", len(now.Value), "err", now.Problem)
			case now.Problem == "" && !slices.Equal(before.Value, now.Value):
				opts.Logger.Info("a bundle of roots is there", "url", url, "roots", len(now.Value))
			}
		},
	})
}

// fetch asks an endpoint once. What the error says holds nothing of what was answered but numbers.
func fetch(ctx context.Context, c *http.Client, url string) ([]string, time.Duration, error) {
	body, err := bounds().Get(ctx, c, url)
	if err != nil {
		return nil, 0, err
	}
	roots, good, err := parse(body)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", url, err)
	}
	return roots, good, nil
}

// parse reads a bundle: a JWK Set (RFC 7517) whose keys for X.509-SVIDs have one certificate each ("x5c", section 4.2.2 of the SPIFFE standard). Other keys are passed over.
// good is its spiffe_refresh_hint, 0 where it has none.
func parse(bundle []byte) (roots []string, good time.Duration, err error) {
	var set struct {
		Keys []struct {
			Use string   `json:"use"`
			X5C []string `json:"x5c"`
		} `json:"keys"`
		Hint float64 `json:"spiffe_refresh_hint"` // seconds
	}
	if err := json.Unmarshal(bundle, &set); err != nil {
		return nil, 0, errors.New("the bundle is not a JSON object with keys")
	}
	for i, key := range set.Keys {
		if key.Use != "x509-svid" {
			continue
		}
		if len(key.X5C) != 1 {
			return nil, 0, fmt.Errorf("keys[%d].x5c has %d certificates and must have one", i, len(key.X5C))
		}
		der, err := base64.StdEncoding.DecodeString(key.X5C[0])
		if err != nil {
			return nil, 0, fmt.Errorf("keys[%d].x5c is no base64", i)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil || !cert.IsCA {
			return nil, 0, fmt.Errorf("keys[%d].x5c is not the certificate of an authority", i)
		}
		roots = append(roots, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	}
	switch {
	case len(roots) == 0:
		return nil, 0, errors.New("the bundle has no key for X.509-SVIDs")
	case len(roots) > maxRoots:
		return nil, 0, fmt.Errorf("the bundle has %d roots, and %d are allowed", len(roots), maxRoots)
	case set.Hint > 0:
		good = min(max(time.Duration(min(set.Hint, maxRefresh.Seconds())*float64(time.Second)), minRefresh), maxRefresh)
	}
	return roots, good, nil
}
