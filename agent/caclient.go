package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	securitypb "istio.io/api/security/v1alpha1"
)

// signTimeout bounds one attempt at a certificate, connecting included.
const signTimeout = 10 * time.Second

// certificateSigner turns a certificate request into a chain of PEM certificates, the leaf first and the root last.
type certificateSigner interface {
	Sign(ctx context.Context, csr []byte, ttl time.Duration, current *Identity) ([]string, error)
}

// caClient asks Istio's certificate service. It keeps no connection: a request comes once in hours, and each one reads the root and the
// token anew, so that files replaced in the meantime count.
type caClient struct {
	address, serverName, rootFile, tokenFile string
	secrets                                  *secrets
}

func newCAClient(cfg Config, s *secrets) *caClient {
	return &caClient{address: cfg.CAAddress, serverName: cfg.ServerName, rootFile: cfg.RootCertFile, tokenFile: cfg.TokenFile, secrets: s}
}

// Sign proves who asks with the current certificate when there is one, else with the join token.
func (c *caClient) Sign(ctx context.Context, csr []byte, ttl time.Duration, current *Identity) ([]string, error) {
	config, err := c.tlsConfig(current)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, signTimeout)
	defer cancel()
	token, err := c.token()
	switch {
	case current != nil:
		config.Certificates = []tls.Certificate{current.Certificate}
	case err != nil:
		return nil, err
	}
	if token != "" {
		// Sent beside a certificate too: the CA may have been made anew and no longer know the certificate's issuer.
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	conn, err := grpc.NewClient("passthrough:///"+c.address, grpc.WithTransportCredentials(credentials.NewTLS(config)), grpc.WithNoProxy())
	if err != nil {
		return nil, fmt.Errorf("certificate authority %s: %w", c.address, err)
	}
	defer conn.Close()
	resp, err := securitypb.NewIstioCertificateServiceClient(conn).CreateCertificate(ctx,
		&securitypb.IstioCertificateRequest{Csr: string(csr), ValidityDuration: int64(ttl / time.Second)})
	if err != nil {
		return nil, fmt.Errorf("certificate authority %s: %w", c.address, err)
	}
	return resp.GetCertChain(), nil
}

// tlsConfig trusts the roots of the file, and those of the mesh as they are known, with current or from the secrets: when a root is replaced, either may be
// ahead.
func (c *caClient) tlsConfig(current *Identity) (*tls.Config, error) {
	roots := x509.NewCertPool()
	if current == nil {
		current = c.secrets.current()
	}
	if current != nil {
		roots.AppendCertsFromPEM(current.Roots)
	}
	pem, err := os.ReadFile(c.rootFile)
	switch {
	case err != nil && current == nil:
		return nil, fmt.Errorf("the mesh's root certificate: %w", err)
	case err == nil && !roots.AppendCertsFromPEM(pem) && current == nil:
		return nil, fmt.Errorf("%s holds no PEM certificate", c.rootFile)
	}
	return &tls.Config{RootCAs: roots, ServerName: c.serverName, MinVersion: tls.VersionTLS12}, nil
}

// token returns the join token, or "" and why there is none.
func (c *caClient) token() (string, error) {
	if c.tokenFile == "" {
		return "", errors.New("there is neither a join token nor a certificate to prove who asks; set --token-file")
	}
	raw, err := os.ReadFile(c.tokenFile)
	if err != nil {
		return "", fmt.Errorf("join token: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}
