// Package dnsname keeps the addresses of names that DNS knows, for gateways of networks that are given by name, as Istio's control plane does.
//
// A name is looked up again every half minute: Go's resolver does not say how long an answer is good, and half a minute is the least that Istio waits.
// The addresses stay while the name cannot be looked up.
//
// Names that proxies resolve themselves are not its concern. The control plane's wiring is its one importer.
package dnsname

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/controlplane/internal/follow"
)

const (
	refresh       = 30 * time.Second
	lookupTimeout = 5 * time.Second
	// maxAddresses bounds what a name may stand for.
	maxAddresses = 64
)

// Answer is what is known of one name: its addresses, sorted, and why it could not be looked up the last time ("" when it could).
type Answer = follow.Answer[[]string]

// Options of a Resolver. Every field has a default.
type Options struct {
	// Refresh is how long an answer is used. Default half a minute.
	Refresh time.Duration
	// Lookup asks for the addresses of both families. Default net.DefaultResolver.
	Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
	Logger *slog.Logger
}

// Resolver follows names.
type Resolver = follow.Follower[[]string]

// New returns a resolver that follows nothing. It starts nothing.
func New(opts Options) *Resolver {
	if opts.Refresh <= 0 {
		opts.Refresh = refresh
	}
	if opts.Lookup == nil {
		opts.Lookup = net.DefaultResolver.LookupNetIP
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return follow.New(follow.Options[[]string]{
		Refresh: opts.Refresh, MaxRetry: opts.Refresh,
		Ask: func(ctx context.Context, name string) ([]string, time.Duration, error) {
			ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
			defer cancel()
			found, err := opts.Lookup(ctx, "ip", name)
			if err != nil {
				return nil, 0, err
			}
			list, err := addresses(found)
			return list, 0, err
		},
		Equal: slices.Equal[[]string],
		Heard: func(name string, before, now Answer) {
			switch {
			case now.Problem != "" && now.Problem != before.Problem:
				opts.Logger.Warn("a gateway's name cannot be looked up", "name", name, "known", now.Value, "err", now.Problem)
			case now.Problem == "" && !slices.Equal(before.Value, now.Value):
				opts.Logger.Info("a gateway's name stands for addresses", "name", name, "addresses", now.Value)
			}
		},
	})
}

// addresses are those of an answer, each once, sorted.
func addresses(found []netip.Addr) ([]string, error) {
	var list []netip.Addr
	for _, a := range found {
		list = append(list, a.Unmap().WithZone(""))
	}
	slices.SortFunc(list, netip.Addr.Compare)
	list = slices.Compact(list)
	switch {
	case len(list) == 0:
		return nil, errors.New("the name has no address")
	case len(list) > maxAddresses:
		return nil, fmt.Errorf("the name has %d addresses, and %d are allowed", len(list), maxAddresses)
	}
	var out []string
	for _, a := range list {
		out = append(out, a.String())
	}
	return out, nil
}
