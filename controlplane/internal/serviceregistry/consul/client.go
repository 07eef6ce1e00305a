package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/lateen-mesh/lateen/controlplane/internal/serviceregistry/transport"
	"github.com/lateen-mesh/lateen/controlplane/internal/serviceregistry/watch"
)

// client asks one catalogue; it implements watch.Catalog.
type client struct {
	api         *api.Client
	scope       scope
	multiplexed bool
}

func newClient(opts Options) (*client, error) {
	cfg := api.DefaultConfig() // reads Consul's environment variables
	cfg.Address = opts.Address
	cfg.TokenFile = "" // read by package transport, again and again
	tokenFile := opts.TokenFile
	if tokenFile == "" {
		tokenFile = os.Getenv(api.HTTPTokenFileEnvName)
	}
	for _, set := range []struct {
		to   *string
		from string
	}{
		{&cfg.TLSConfig.CAFile, opts.CAFile}, {&cfg.TLSConfig.CertFile, opts.CertFile}, {&cfg.TLSConfig.KeyFile, opts.KeyFile},
		{&cfg.TLSConfig.Address, opts.TLSServerName}, {&cfg.Datacenter, opts.Datacenter}, {&cfg.Namespace, opts.Namespace}, {&cfg.Partition, opts.Partition},
	} {
		if set.from != "" {
			*set.to = set.from
		}
	}
	tlsConfig, err := api.SetupTLSConfig(&cfg.TLSConfig)
	if err != nil {
		return nil, fmt.Errorf("consul: TLS: %w", err)
	}
	way := transport.Options{TLS: tlsConfig, Connections: opts.MaxWatches, TokenFile: tokenFile, TokenHeader: "X-Consul-Token"}
	if path, ok := strings.CutPrefix(cfg.Address, "unix://"); ok {
		way.Socket, cfg.Address = path, "localhost" // for this scheme the library would make a client of its own
	}
	if cfg.HttpClient, err = transport.New(way); err != nil {
		return nil, fmt.Errorf("consul: %w; --consul-token-file names the file", err)
	}
	c, err := api.NewClient(cfg)
	if err != nil {
		return nil, fmt.Errorf("consul: address %s: %w", opts.Address, err)
	}
	return &client{
		api: c, multiplexed: cfg.Scheme == "https",
		scope: scope{
			domain: opts.Domain, datacenter: opts.Datacenter, namespace: cfg.Namespace, partition: cfg.Partition,
			tagged: opts.TaggedAddress, source: sourceName(opts),
		},
	}, nil
}

func options(ctx context.Context, q watch.Query) *api.QueryOptions {
	return (&api.QueryOptions{WaitIndex: q.Index, WaitTime: q.Wait}).WithContext(ctx)
}

// List reads the names of the catalogue.
func (c *client) List(ctx context.Context, q watch.Query) (watch.List, error) {
	names, meta, err := c.api.Catalog().Services(options(ctx, q))
	if err != nil {
		return watch.List{}, explain(err)
	}
	out := watch.List{Index: meta.LastIndex, Problems: map[string]string{}}
	hosts := map[string]string{}
	for name := range names {
		out.Names = append(out.Names, name)
	}
	slices.Sort(out.Names)
	out.Names = slices.DeleteFunc(out.Names, func(name string) bool {
		host, ok := c.scope.host(name)
		switch other, taken := hosts[host]; {
		case !ok:
			out.Problems[name] = fmt.Sprintf("%q makes no host name; the service is left out", name)
		case taken:
			out.Problems[name] = fmt.Sprintf("it has the host of the service %q, %s; it is left out", other, host)
		default:
			hosts[host] = name
			return false
		}
		return true
	})
	if meta.ResultsFilteredByACLs {
		out.Warning = "the token may not read all services; it needs service:read and node:read"
	}
	return out, nil
}

// Service reads the instances of a service with their checks.
func (c *client) Service(ctx context.Context, name string, q watch.Query) (watch.Service, error) {
	entries, meta, err := c.api.Health().Service(name, "", false, options(ctx, q))
	if err != nil {
		return watch.Service{}, explain(err)
	}
	r, problems := c.scope.registration(name, entries)
	return watch.Service{Index: meta.LastIndex, Registration: r, Problems: problems}, nil
}

// explain says what to do about the answers that a client causes itself.
func explain(err error) error {
	var status api.StatusError
	if !errors.As(err, &status) {
		return transport.Plain(err)
	}
	switch status.Code {
	case http.StatusForbidden, http.StatusUnauthorized:
		return fmt.Errorf("%w; the token in $%s or --consul-token-file needs service:read and node:read", err, api.HTTPTokenEnvName)
	case http.StatusTooManyRequests:
		return fmt.Errorf("%w; the agent takes fewer connections than --consul-max-watches: raise its limits.http_max_conns_per_client, or use https", err)
	}
	return err
}
