package ca

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/lateen-mesh/lateen/pkg/jointoken"
	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// ErrUnauthenticated says that a caller proved no identity. The text around it says what was tried.
var ErrUnauthenticated = errors.New("caller is not authenticated")

// TokenAuthenticator says who a bearer of a token is. The join tokens of this mesh are one, the tokens of configured issuers others; Kubernetes'
// TokenReview is to be one more.
type TokenAuthenticator interface {
	// Identify returns the service account that a token proves; its trust domain is the authority's, whatever is said. Any error means that this token
	// proves nothing here; its text holds nothing of the token.
	Identify(ctx context.Context, token string) (spiffe.ID, error)
}

// joinTokens are those that this mesh's own key has signed.
type joinTokens struct {
	key []byte
	now func() time.Time
}

func (j joinTokens) Identify(_ context.Context, token string) (spiffe.ID, error) {
	return jointoken.Verify(j.key, token, spiffe.DefaultTrustDomain, j.now())
}

// Authenticate returns who calls a gRPC method on a listener with this authority's TLS settings: by the bearer token if a good one is sent,
// else by the client certificate, as in Istio either suffices. A workload whose token has run out while its certificate is good can so renew.
func (c *CA) Authenticate(ctx context.Context) (spiffe.ID, error) {
	id, tokenErr := c.fromToken(ctx)
	if tokenErr == nil {
		return id, nil
	}
	id, certErr := c.fromCertificate(ctx)
	if certErr == nil {
		return id, nil
	}
	return spiffe.ID{}, fmt.Errorf("%w: %w, and %w", ErrUnauthenticated, tokenErr, certErr)
}

func (c *CA) fromToken(ctx context.Context) (spiffe.ID, error) {
	token, err := bearer(ctx)
	if err != nil {
		return spiffe.ID{}, err
	}
	var errs []error
	for _, a := range c.tokens {
		id, err := a.Identify(ctx, token)
		if err == nil {
			return c.domains.Load().own(id), nil
		}
		errs = append(errs, err)
	}
	return spiffe.ID{}, oneLine(errs)
}

// oneLine joins errors for a status or a line of the log.
func oneLine(errs []error) error {
	var text []string
	for _, err := range errs {
		text = append(text, err.Error())
	}
	return errors.New(strings.Join(text, "; "))
}

// fromCertificate returns the identity in the client certificate that TLS has verified. The connection may be older than the
// certificate is good, since renewals go over it; so its time is looked at again.
func (c *CA) fromCertificate(ctx context.Context) (spiffe.ID, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return spiffe.ID{}, errors.New("the connection has no peer")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 || len(info.State.VerifiedChains[0]) == 0 {
		return spiffe.ID{}, errors.New("no client certificate was sent")
	}
	leaf := info.State.VerifiedChains[0][0]
	if now := c.opts.Now(); now.After(leaf.NotAfter) {
		return spiffe.ID{}, fmt.Errorf("the client certificate expired at %v", leaf.NotAfter)
	}
	id, err := spiffe.FromCertificate(leaf)
	if err != nil {
		return spiffe.ID{}, err
	}
	d := c.domains.Load()
	if !slices.Contains(d.taken, id.TrustDomain) {
		return spiffe.ID{}, fmt.Errorf("%s is not of the trust domain %s", id, d.issued)
	}
	return d.own(id), nil
}

// bearer returns the token of the header "authorization: Bearer TOKEN" (RFC 6750, section 2.1). Two of them are refused.
func bearer(ctx context.Context) (string, error) {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	switch len(values) {
	case 0:
		return "", errors.New("no token was sent")
	case 1:
	default:
		return "", errors.New("more than one authorization header was sent")
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || strings.TrimSpace(token) == "" {
		return "", errors.New("the authorization header is not of the form Bearer TOKEN")
	}
	return strings.TrimSpace(token), nil
}
