package ca

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/lateen-mesh/lateen/pkg/jointoken"
	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// ErrUnauthenticated says that a caller proved no identity. The text around it says what was tried.
var ErrUnauthenticated = errors.New("caller is not authenticated")

// Authenticate returns who calls a gRPC method on a listener with this authority's TLS settings: the bearer token if one is sent, else the
// client certificate. A bad token is not made good by a certificate: whoever sends one means to be judged by it.
func (c *CA) Authenticate(ctx context.Context) (spiffe.ID, error) {
	if token, sent, err := bearer(ctx); err != nil {
		return spiffe.ID{}, fmt.Errorf("%w: %w", ErrUnauthenticated, err)
	} else if sent {
		id, err := jointoken.Verify(c.joinKey, token, c.opts.TrustDomain, c.opts.Now())
		if err != nil {
			return spiffe.ID{}, fmt.Errorf("%w: %w", ErrUnauthenticated, err)
		}
		return id, nil
	}
	return c.fromCertificate(ctx)
}

// fromCertificate returns the identity in the client certificate that TLS has verified. The connection may be older than the
// certificate is good, since renewals go over it; so its time is looked at again.
func (c *CA) fromCertificate(ctx context.Context) (spiffe.ID, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return spiffe.ID{}, fmt.Errorf("%w: no peer", ErrUnauthenticated)
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 || len(info.State.VerifiedChains[0]) == 0 {
		return spiffe.ID{}, fmt.Errorf("%w: neither a join token nor a client certificate was sent", ErrUnauthenticated)
	}
	leaf := info.State.VerifiedChains[0][0]
	if now := c.opts.Now(); now.After(leaf.NotAfter) {
		return spiffe.ID{}, fmt.Errorf("%w: the client certificate expired at %v", ErrUnauthenticated, leaf.NotAfter)
	}
	id, err := spiffe.FromCertificate(leaf)
	if err != nil {
		return spiffe.ID{}, fmt.Errorf("%w: %w", ErrUnauthenticated, err)
	}
	if id.TrustDomain != c.opts.TrustDomain {
		return spiffe.ID{}, fmt.Errorf("%w: %s is not of the trust domain %s", ErrUnauthenticated, id, c.opts.TrustDomain)
	}
	return id, nil
}

// bearer returns the token of the header "authorization: Bearer TOKEN" (RFC 6750, section 2.1). Two of them are refused.
func bearer(ctx context.Context) (token string, sent bool, err error) {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	switch len(values) {
	case 0:
		return "", false, nil
	case 1:
	default:
		return "", false, errors.New("more than one authorization header was sent")
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || strings.TrimSpace(token) == "" {
		return "", false, errors.New("the authorization header is not of the form Bearer TOKEN")
	}
	return strings.TrimSpace(token), true, nil
}
