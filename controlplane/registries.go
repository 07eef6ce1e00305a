package controlplane

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	kubeclient "github.com/lateen-mesh/lateen/controlplane/internal/kube"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/serviceregistry/consul"
	"github.com/lateen-mesh/lateen/controlplane/internal/serviceregistry/kube"
	"github.com/lateen-mesh/lateen/controlplane/internal/serviceregistry/nomad"
	"github.com/lateen-mesh/lateen/controlplane/internal/serviceregistry/watch"
)

// NomadCluster says which Nomad's services are read, and how.
type NomadCluster = nomad.Options

// ConsulCatalog says which Consul catalogue is read, and how.
type ConsulCatalog = consul.Options

// registry gives services that no object of the mesh defines, as plain values.
type registry interface {
	// Name is the source of its services, another one for each registry.
	Name() string
	// Run calls sink with everything, and then with each change, until ctx ends.
	Run(ctx context.Context, sink func(watch.Delta)) error
	Status() watch.Status
}

// newRegistries makes the registries of the configuration; it asks them nothing. cluster is nil without Kubernetes.
func newRegistries(cfg Config, cluster *kubeclient.Client, log *slog.Logger, reg prometheus.Registerer) ([]registry, error) {
	if len(cfg.Consul)+len(cfg.Nomad) == 0 && cluster == nil {
		return nil, nil
	}
	metrics := watch.NewMetrics(reg)
	var out []registry
	if cluster != nil {
		out = append(out, kube.New(cluster, model.DefaultMesh().Domain, log, metrics))
	}
	for _, opts := range cfg.Consul {
		r, err := consul.New(opts, log, metrics)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	for _, opts := range cfg.Nomad {
		r, err := nomad.New(opts, log, metrics)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	names := map[string]bool{}
	for _, r := range out {
		if names[r.Name()] {
			return nil, fmt.Errorf("control plane: the registry %q is given twice", r.Name())
		}
		names[r.Name()] = true
	}
	return out, nil
}

func (c *ControlPlane) registryStatus() []watch.Status {
	out := []watch.Status{}
	for _, r := range c.others {
		out = append(out, r.Status())
	}
	return out
}
