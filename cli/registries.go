package cli

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/lateen-mesh/lateen/controlplane"
)

// registryFlags name registries of services outside of the mesh's own objects. Each address is a registry. The other flags of its kind apply
// to every address when they are given once, and when they are given as often as addresses to each in turn.
type registryFlags struct{ consul consulFlags }

type consulFlags struct {
	addrs, tokenFiles, caFiles, certFiles, keyFiles, serverNames []string
	datacenters, namespaces, partitions, domains, tagged         []string
	maxWatches                                                   int
}

func (f *registryFlags) add(flags *pflag.FlagSet) {
	c := &f.consul
	flags.StringArrayVar(&c.addrs, "consul-addr", nil, "address of a Consul agent or server whose services belong to the mesh, as 127.0.0.1:8500, https://HOST:8501 or unix:///PATH;\n"+
		"repeat it for several. Other --consul flags given once apply to all addresses, given as often to each in turn")
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

// consulCatalogs pairs the flags with the addresses.
func (f *registryFlags) consulCatalogs() ([]controlplane.ConsulCatalog, error) {
	c := &f.consul
	out := make([]controlplane.ConsulCatalog, len(c.addrs))
	for i, addr := range c.addrs {
		o := &out[i]
		o.Address, o.MaxWatches = addr, c.maxWatches
		for _, flag := range []struct {
			name  string
			given []string
			to    *string
		}{
			{"consul-token-file", c.tokenFiles, &o.TokenFile}, {"consul-ca-file", c.caFiles, &o.CAFile}, {"consul-cert-file", c.certFiles, &o.CertFile},
			{"consul-key-file", c.keyFiles, &o.KeyFile}, {"consul-tls-server-name", c.serverNames, &o.TLSServerName},
			{"consul-datacenter", c.datacenters, &o.Datacenter}, {"consul-namespace", c.namespaces, &o.Namespace},
			{"consul-partition", c.partitions, &o.Partition}, {"consul-domain", c.domains, &o.Domain}, {"consul-tagged-address", c.tagged, &o.TaggedAddress},
		} {
			value, err := inTurn(flag.name, flag.given, "consul-addr", i, len(c.addrs))
			if err != nil {
				return nil, err
			}
			*flag.to = value
		}
	}
	return out, nil
}

// inTurn is the value of a repeated flag for the i-th of n addresses.
func inTurn(name string, given []string, of string, i, n int) (string, error) {
	switch len(given) {
	case 0:
		return "", nil
	case 1:
		return given[0], nil
	case n:
		return given[i], nil
	}
	return "", fmt.Errorf("--%s is given %d times and --%s %d times; give it once, or once for each address", name, len(given), of, n)
}
