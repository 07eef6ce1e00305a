package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/lateen-mesh/lateen/controlplane"
)

func parseRegistries(t *testing.T, args string) *registryFlags {
	t.Helper()
	f := &registryFlags{}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f.add(flags)
	if err := flags.Parse(strings.Fields(args)); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestRegistryFlags(t *testing.T) {
	f := parseRegistries(t, "--consul-addr a:1 --consul-addr b:2 --consul-domain mesh --consul-datacenter= --consul-datacenter dc2 --consul-max-watches 9 "+
		"--nomad-addr http://n:4646 --nomad-namespace * --nomad-check-interval 1s")
	got, err := f.consul.catalogs()
	if err != nil {
		t.Fatal(err)
	}
	want := []controlplane.ConsulCatalog{{Address: "a:1", Domain: "mesh", MaxWatches: 9}, {Address: "b:2", Domain: "mesh", Datacenter: "dc2", MaxWatches: 9}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Consul (-want +got):\n%s", d)
	}
	clusters, err := f.nomad.clusters()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]controlplane.NomadCluster{{Address: "http://n:4646", Namespace: "*", MaxWatches: 75, CheckInterval: 1e9}}, clusters); d != "" {
		t.Errorf("Nomad (-want +got):\n%s", d)
	}

	f = parseRegistries(t, "--consul-addr a:1 --consul-addr b:2 --consul-addr c:3 --consul-domain x --consul-domain y")
	if _, err := f.consul.catalogs(); err == nil || !strings.Contains(err.Error(), "--consul-domain is given 2 times and --consul-addr 3 times") {
		t.Errorf("err %v", err)
	}
}
