package cli

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/lateen-mesh/lateen/controlplane"
)

// registryFlags name registries of services outside of the mesh's own objects. Each address is a registry. The other flags of its kind apply
// to every address when they are given once, and when they are given as often as addresses to each in turn.
type registryFlags struct {
	consul consulFlags
	nomad  nomadFlags
}

func (f *registryFlags) add(flags *pflag.FlagSet) {
	f.consul.add(flags)
	f.nomad.add(flags)
}

type consulFlags struct {
	addrs, tokenFiles, caFiles, certFiles, keyFiles, serverNames []string
	datacenters, namespaces, partitions, domains, tagged         []string
	maxWatches                                                   int
}

func (c *consulFlags) add(flags *pflag.FlagSet) {
	flags.StringArrayVar(&c.addrs, "consul-addr", nil, "address of a Consul agent or server whose services belong to the mesh, as 127.0.0.1:8500, https://HOST:8501 or\n"+
		"unix:///PATH; repeat it for several. Other --consul flags given once apply to all addresses, given as often to each in turn")
	flags.StringArrayVar(&c.tokenFiles, "consul-token-file", nil, "file with Consul's ACL token, read again when it changes (default $CONSUL_HTTP_TOKEN_FILE, else the token $CONSUL_HTTP_TOKEN)")
	flags.StringArrayVar(&c.caFiles, "consul-ca-file", nil, "PEM file with the authority of Consul's certificate (default $CONSUL_CACERT)")
	flags.StringArrayVar(&c.certFiles, "consul-cert-file", nil, "PEM file with the certificate to show to Consul (default $CONSUL_CLIENT_CERT)")
	flags.StringArrayVar(&c.keyFiles, "consul-key-file", nil, "PEM file with that certificate's key (default $CONSUL_CLIENT_KEY)")
	flags.StringArrayVar(&c.serverNames, "consul-tls-server-name", nil, "name in Consul's certificate when it is not the host of the address (default $CONSUL_TLS_SERVER_NAME)")
	flags.StringArrayVar(&c.datacenters, "consul-datacenter", nil, "federated datacenter to read (default: the agent's own)")
	flags.StringArrayVar(&c.namespaces, "consul-namespace", nil, "namespace to read, of Consul Enterprise (default $CONSUL_NAMESPACE)")
	flags.StringArrayVar(&c.partitions, "consul-partition", nil, "admin partition to read, of Consul Enterprise (default $CONSUL_PARTITION)")
	flags.StringArrayVar(&c.domains, "consul-domain", nil, "end of the hosts of Consul's services: NAME.service.DOMAIN (default consul)")
	flags.StringArrayVar(&c.tagged, "consul-tagged-address", nil, "tagged address to reach instances by where they have it, as wan (default: none, and wan with --consul-datacenter)")
	flags.IntVar(&c.maxWatches, "consul-max-watches", 150, "connections to a Consul of plain HTTP that wait for changes; services beyond that are asked for in turns")
}

// catalogs pairs the flags with the addresses.
func (c *consulFlags) catalogs() ([]controlplane.ConsulCatalog, error) {
	out := make([]controlplane.ConsulCatalog, len(c.addrs))
	for i, addr := range c.addrs {
		o := &out[i]
		o.Address, o.MaxWatches = addr, c.maxWatches
		if err := inTurn("consul-addr", i, len(c.addrs), []repeated{
			{"consul-token-file", c.tokenFiles, &o.TokenFile}, {"consul-ca-file", c.caFiles, &o.CAFile}, {"consul-cert-file", c.certFiles, &o.CertFile},
			{"consul-key-file", c.keyFiles, &o.KeyFile}, {"consul-tls-server-name", c.serverNames, &o.TLSServerName},
			{"consul-datacenter", c.datacenters, &o.Datacenter}, {"consul-namespace", c.namespaces, &o.Namespace},
			{"consul-partition", c.partitions, &o.Partition}, {"consul-domain", c.domains, &o.Domain}, {"consul-tagged-address", c.tagged, &o.TaggedAddress},
		}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

type nomadFlags struct {
	addrs, tokenFiles, caFiles, certFiles, keyFiles, serverNames []string
	regions, namespaces, domains                                 []string
	maxWatches                                                   int
	checkInterval                                                time.Duration
}

func (n *nomadFlags) add(flags *pflag.FlagSet) {
	flags.StringArrayVar(&n.addrs, "nomad-addr", nil, "address of a Nomad agent whose own services belong to the mesh, as http://127.0.0.1:4646, https://HOST:4646 or\n"+
		"unix:///PATH; repeat it for several. Other --nomad flags given once apply to all addresses, given as often to each in turn")
	flags.StringArrayVar(&n.tokenFiles, "nomad-token-file", nil, "file with Nomad's ACL token, read again when it changes (default: the token $NOMAD_TOKEN)")
	flags.StringArrayVar(&n.caFiles, "nomad-ca-file", nil, "PEM file with the authority of Nomad's certificate (default $NOMAD_CACERT)")
	flags.StringArrayVar(&n.certFiles, "nomad-cert-file", nil, "PEM file with the certificate to show to Nomad (default $NOMAD_CLIENT_CERT)")
	flags.StringArrayVar(&n.keyFiles, "nomad-key-file", nil, "PEM file with that certificate's key (default $NOMAD_CLIENT_KEY)")
	flags.StringArrayVar(&n.serverNames, "nomad-tls-server-name", nil, "name in Nomad's certificate when it is not the host of the address (default $NOMAD_TLS_SERVER_NAME)")
	flags.StringArrayVar(&n.regions, "nomad-region", nil, "region to read (default $NOMAD_REGION, else the agent's own)")
	flags.StringArrayVar(&n.namespaces, "nomad-namespace", nil, "namespace to read, * for all that the token may (default $NOMAD_NAMESPACE, else default)")
	flags.StringArrayVar(&n.domains, "nomad-domain", nil, "end of the hosts of Nomad's services: NAME.service.DOMAIN (default nomad)")
	flags.IntVar(&n.maxWatches, "nomad-max-watches", 75, "connections to Nomad that wait for changes; services beyond that are asked for in turns")
	flags.DurationVar(&n.checkInterval, "nomad-check-interval", 5*time.Second, "how often the health checks of Nomad's allocations are read; negative for never")
}

// clusters pairs the flags with the addresses.
func (n *nomadFlags) clusters() ([]controlplane.NomadCluster, error) {
	out := make([]controlplane.NomadCluster, len(n.addrs))
	for i, addr := range n.addrs {
		o := &out[i]
		o.Address, o.MaxWatches, o.CheckInterval = addr, n.maxWatches, n.checkInterval
		if err := inTurn("nomad-addr", i, len(n.addrs), []repeated{
			{"nomad-token-file", n.tokenFiles, &o.TokenFile}, {"nomad-ca-file", n.caFiles, &o.CAFile}, {"nomad-cert-file", n.certFiles, &o.CertFile},
			{"nomad-key-file", n.keyFiles, &o.KeyFile}, {"nomad-tls-server-name", n.serverNames, &o.TLSServerName},
			{"nomad-region", n.regions, &o.Region}, {"nomad-namespace", n.namespaces, &o.Namespace}, {"nomad-domain", n.domains, &o.Domain},
		}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// repeated is a flag that may be given once or once for each address, and where its value goes.
type repeated struct {
	name  string
	given []string
	to    *string
}

// inTurn sets the values of repeated flags for the i-th of n addresses, those of the flag named of.
func inTurn(of string, i, n int, flags []repeated) error {
	for _, f := range flags {
		switch len(f.given) {
		case 0:
		case 1:
			*f.to = f.given[0]
		case n:
			*f.to = f.given[i]
		default:
			return fmt.Errorf("--%s is given %d times and --%s %d times; give it once, or once for each address", f.name, len(f.given), of, n)
		}
	}
	return nil
}
