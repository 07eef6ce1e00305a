// Package consul is the registry of services in a Consul catalogue.
//
// client.go asks Consul's HTTP API, through its own Go library; convert.go makes mesh services of the answers. When to ask, and what has
// changed, is package watch's. It reads and never writes. Intentions, configuration entries and Connect proxies of Consul's own mesh are
// not looked at. Only package controlplane imports it.
package consul

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"github.com/lateen-mesh/lateen/controlplane/internal/serviceregistry/watch"
)

// Options say which catalogue is read and how. What is not given is read from Consul's own environment variables (CONSUL_HTTP_TOKEN,
// CONSUL_CACERT, ...), as its command line does.
// https://developer.hashicorp.com/consul/commands#environment-variables
type Options struct {
	// Address is that of an agent or a server: "127.0.0.1:8500", "https://consul.example:8501", "unix:///run/consul.sock". Required.
	Address string
	// TokenFile holds the ACL token; it is read again whenever it changes. "" for $CONSUL_HTTP_TOKEN.
	TokenFile string
	// CAFile, CertFile and KeyFile are PEM files for TLS.
	CAFile, CertFile, KeyFile string
	// TLSServerName is the name in the server's certificate when it is not that of Address.
	TLSServerName string
	// Datacenter is a federated datacenter; "" for the agent's own.
	Datacenter string
	// Namespace and Partition are of Consul Enterprise; "" for the token's own.
	Namespace, Partition string
	// Domain ends all hosts. Default "consul".
	Domain string
	// TaggedAddress is the tagged address by which instances are reached, such as "wan", where they have one. Default: with Datacenter "wan",
	// else none.
	TaggedAddress string
	// MaxWatches is how many queries may wait at a server of plain HTTP, which needs a connection for each; over TLS they share connections
	// and have no limit. Default 150: an agent takes 200 connections of one client unless it is told otherwise (http_max_conns_per_client).
	MaxWatches int
}

// New returns the registry of a catalogue; Run on what it returns follows it. Nothing is asked yet. log and
// metrics may be nil.
func New(opts Options, log *slog.Logger, metrics *watch.Metrics) (*watch.Watcher, error) {
	if opts.Address == "" {
		return nil, errors.New("consul: it needs the address of an agent, such as 127.0.0.1:8500")
	}
	if opts.Domain = strings.Trim(strings.ToLower(opts.Domain), "."); opts.Domain == "" {
		opts.Domain = "consul"
	}
	if opts.TaggedAddress == "" && opts.Datacenter != "" {
		opts.TaggedAddress = "wan"
	}
	if opts.MaxWatches <= 0 {
		opts.MaxWatches = 150
	}
	c, err := newClient(opts)
	if err != nil {
		return nil, err
	}
	slots := opts.MaxWatches
	if c.multiplexed {
		slots = 0
	}
	return watch.New(watch.Options{
		Registry: Registry, Name: sourceName(opts), Catalog: c, Slots: slots, Logger: log, Metrics: metrics,
	}), nil
}

// Registry is what services of this registry are marked with.
const Registry = "Consul"

// sourceName tells catalogues apart. It holds no secret: a password in the address is left out.
func sourceName(opts Options) string {
	addr := opts.Address
	if u, err := url.Parse(addr); err == nil && u.User != nil {
		u.User = nil
		addr = u.String()
	}
	name := "consul " + addr
	for _, part := range []struct{ key, value string }{{"dc", opts.Datacenter}, {"partition", opts.Partition}, {"namespace", opts.Namespace}} {
		if part.value != "" {
			name += fmt.Sprintf(" %s=%s", part.key, part.value)
		}
	}
	return name
}
