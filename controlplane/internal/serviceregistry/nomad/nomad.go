// Package nomad is the registry of services that Nomad itself keeps (services with provider = "nomad"; those with provider = "consul" are in
// Consul).
//
// client.go asks Nomad's HTTP API; its types are a few fields, so that Nomad's Go library is not worth its weight. checks.go follows health
// checks, which Nomad's servers do not keep: their results are asked of the clients that run the allocations, from time to time. convert.go
// makes mesh services of the answers. When to ask, and what has changed, is package watch's. It reads and never writes. Only package
// controlplane imports it.
package nomad

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/controlplane/internal/serviceregistry/transport"
	"github.com/lateen-mesh/lateen/controlplane/internal/serviceregistry/watch"
)

// Options say which Nomad is read and how. What is not given is read from Nomad's own environment variables (NOMAD_TOKEN, NOMAD_CACERT, ...),
// as its command line does.
// https://developer.hashicorp.com/nomad/commands#environment-variables
type Options struct {
	// Address is that of an agent: "http://127.0.0.1:4646", "https://nomad.example:4646", "unix:///run/nomad.sock". Required.
	Address string
	// TokenFile holds the ACL token; it is read again whenever it changes. "" for $NOMAD_TOKEN.
	TokenFile string
	// CAFile, CertFile and KeyFile are PEM files for TLS.
	CAFile, CertFile, KeyFile string
	// TLSServerName is the name in the agent's certificate when it is not that of Address.
	TLSServerName string
	// Region is Nomad's region; "" for the agent's own.
	Region string
	// Namespace is Nomad's namespace, "*" for all that the token may read. Default $NOMAD_NAMESPACE, else "default".
	Namespace string
	// Domain ends all hosts. Default "nomad".
	Domain string
	// MaxWatches is how many queries may wait at the agent. Default 75: an agent takes 100 connections of one client unless it is told otherwise
	// (http_max_conns_per_client).
	MaxWatches int
	// CheckInterval is how often the results of an allocation's checks are read. Default 5 s; negative for never, which takes every instance to
	// be healthy.
	CheckInterval time.Duration
}

// Registry is what services of this registry are marked with.
const Registry = "Nomad"

// New returns the registry of a Nomad; Run on what it returns follows it. Nothing is asked yet. log and metrics may be nil.
func New(opts Options, log *slog.Logger, metrics *watch.Metrics) (*watch.Watcher, error) {
	if opts.Address == "" {
		return nil, errors.New("nomad: it needs the address of an agent, such as http://127.0.0.1:4646")
	}
	defaults(&opts)
	c, err := newClient(opts)
	if err != nil {
		return nil, err
	}
	return watch.New(watch.Options{
		Registry: Registry, Name: c.scope.source, Catalog: c, Slots: opts.MaxWatches, Logger: log, Metrics: metrics,
	}), nil
}

func defaults(opts *Options) {
	for _, d := range []struct {
		to   *string
		from []string
	}{
		{&opts.CAFile, []string{os.Getenv("NOMAD_CACERT")}}, {&opts.CertFile, []string{os.Getenv("NOMAD_CLIENT_CERT")}},
		{&opts.KeyFile, []string{os.Getenv("NOMAD_CLIENT_KEY")}}, {&opts.TLSServerName, []string{os.Getenv("NOMAD_TLS_SERVER_NAME")}},
		{&opts.Region, []string{os.Getenv("NOMAD_REGION")}}, {&opts.Namespace, []string{os.Getenv("NOMAD_NAMESPACE"), "default"}},
		{&opts.Domain, []string{"nomad"}},
	} {
		for _, v := range d.from {
			if *d.to == "" {
				*d.to = v
			}
		}
	}
	opts.Domain = strings.Trim(strings.ToLower(opts.Domain), ".")
	if opts.MaxWatches <= 0 {
		opts.MaxWatches = 75
	}
	if opts.CheckInterval == 0 {
		opts.CheckInterval = 5 * time.Second
	}
}

func newClient(opts Options) (*client, error) {
	way := transport.Options{Connections: opts.MaxWatches, TokenFile: opts.TokenFile, TokenHeader: tokenHeader}
	base := opts.Address
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	if path, ok := strings.CutPrefix(base, "unix://"); ok {
		way.Socket, base = path, "http://localhost"
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("nomad: the address %q is none; write it as http://HOST:4646, https://HOST:4646 or unix:///PATH", opts.Address)
	}
	source := Registry
	if way.TLS, err = tlsConfig(opts); err != nil {
		return nil, fmt.Errorf("nomad: TLS: %w", err)
	}
	c := &client{base: u.JoinPath("v1"), scope: scope{domain: opts.Domain}, region: opts.Region, namespace: opts.Namespace}
	if opts.TokenFile == "" {
		c.token = os.Getenv("NOMAD_TOKEN")
	}
	if c.http, err = transport.New(way); err != nil {
		return nil, fmt.Errorf("nomad: %w; --nomad-token-file names the file", err)
	}
	shown := *u
	shown.User = nil
	if way.Socket != "" {
		shown = url.URL{Scheme: "unix", Path: way.Socket}
	}
	source = "nomad " + shown.String()
	for _, part := range []struct{ key, value string }{{"region", opts.Region}, {"namespace", opts.Namespace}} {
		if part.value != "" {
			source += fmt.Sprintf(" %s=%s", part.key, part.value)
		}
	}
	c.scope.source = source
	if opts.CheckInterval > 0 {
		c.checks = newChecks(c.allocationChecks, opts.CheckInterval, time.Now)
	}
	return c, nil
}

func tlsConfig(opts Options) (*tls.Config, error) {
	cfg := &tls.Config{ServerName: opts.TLSServerName, MinVersion: tls.VersionTLS12}
	if opts.CAFile != "" {
		raw, err := os.ReadFile(opts.CAFile)
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", opts.CAFile)
		}
	}
	if opts.CertFile != "" || opts.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(opts.CertFile, opts.KeyFile)
		if err != nil {
			return nil, err
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
