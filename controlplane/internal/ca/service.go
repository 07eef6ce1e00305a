package ca

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	securityapi "istio.io/api/security/v1alpha1"
)

// maxWish is the longest lifetime a request may name, in seconds: what a time.Duration can hold.
const maxWish = int64(1<<63-1) / int64(time.Second)

// Register adds IstioCertificateService to a gRPC server.
func (c *CA) Register(s grpc.ServiceRegistrar) {
	securityapi.RegisterIstioCertificateServiceServer(s, service{ca: c})
}

// service is the gRPC face of a CA.
type service struct {
	securityapi.UnimplementedIstioCertificateServiceServer
	ca *CA
}

// CreateCertificate authenticates, checks and signs. Codes: Unauthenticated, PermissionDenied (another's name), InvalidArgument (a
// request that is malformed), ResourceExhausted (too many at once), Internal (the authority itself), Unavailable (before the mesh's settings are known for the first time).
func (s service) CreateCertificate(ctx context.Context, req *securityapi.IstioCertificateRequest) (*securityapi.IstioCertificateResponse, error) {
	c := s.ca
	c.metrics.requests.Inc()
	select {
	case c.inFlight <- struct{}{}:
		defer func() { <-c.inFlight }()
	default:
		return nil, status.Error(codes.ResourceExhausted, "too many certificate requests at once; try again")
	}
	if c.domains.Load().issued == "" {
		return nil, status.Error(codes.Unavailable, "the mesh's trust domain is not known yet: its settings have not been read; try again")
	}
	id, err := c.Authenticate(ctx)
	if err != nil {
		c.metrics.authnFailures.Inc()
		c.log.Warn("certificate request refused", "err", err)
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	wish := min(max(req.GetValidityDuration(), 0), maxWish)
	chain, err := c.Sign(req.GetCsr(), id, time.Duration(wish)*time.Second)
	switch {
	case errors.Is(err, errForeignName):
		c.metrics.refused.Inc()
		c.log.Warn("certificate request refused", "caller", id.String(), "err", err)
		return nil, status.Error(codes.PermissionDenied, err.Error())
	case errors.Is(err, errAuthority):
		c.metrics.signFailures.Inc()
		c.log.Error("certificate not issued", "caller", id.String(), "err", err)
		return nil, status.Error(codes.Internal, err.Error())
	case err != nil:
		c.metrics.parseFailures.Inc()
		c.log.Warn("certificate request refused", "caller", id.String(), "err", err)
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	c.metrics.issued.Inc()
	c.log.Debug("certificate issued", "caller", id.String())
	return &securityapi.IstioCertificateResponse{CertChain: chain}, nil
}
