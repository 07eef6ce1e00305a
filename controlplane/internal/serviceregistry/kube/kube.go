package kube

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/controlplane/internal/kube"
	"github.com/lateen-mesh/lateen/controlplane/internal/serviceregistry/watch"
)

// Registry is a cluster. Make one with New; Run does the work.
type Registry struct {
	client  *kube.Client
	domain  string
	log     *slog.Logger
	metrics *watch.Metrics

	services, endpoints atomic.Int64
}

// New returns the registry of a cluster whose DNS names end in domain, cluster.local in most.
func New(client *kube.Client, domain string, log *slog.Logger, metrics *watch.Metrics) *Registry {
	metrics.Begin(name(client))
	client.Health.Observe(func(connected bool, failed time.Time) {
		if failed.IsZero() {
			metrics.Contact(name(client), connected)
			return
		}
		metrics.Failed(name(client), failed)
		metrics.Away(name(client))
	})
	return &Registry{client: client, domain: domain, log: log, metrics: metrics}
}

func name(c *kube.Client) string { return "kubernetes " + c.Host }

// Name is the registry's name as a source.
func (r *Registry) Name() string { return name(r.client) }

// Run tells sink of everything when all of it has been read, and then of each change, until ctx ends. While a resource cannot be read, what was read of it
// stays.
func (r *Registry) Run(ctx context.Context, sink func(watch.Delta)) error {
	follow := []kube.Resource{r.client.Nodes(), r.client.Pods(), r.client.EndpointSlices()}
	updates := make(chan kube.Update)
	var all sync.WaitGroup
	for _, res := range follow {
		all.Go(func() {
			kube.Follow(ctx, res, r.client.Health, r.log, func(u kube.Update) {
				select {
				case updates <- u:
				case <-ctx.Done():
				}
			})
		})
	}
	defer all.Wait()
	b := newBook(r.domain)
	missing := map[string]bool{}
	for _, res := range follow {
		missing[res.Name] = true
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case u := <-updates:
			d := b.take(u)
			r.count(b, d)
			if len(missing) == 0 {
				if len(d.Changed)+len(d.Removed)+len(d.Placed)+len(d.Gone) > 0 {
					sink(d)
				}
				continue
			}
			if u.All {
				delete(missing, u.Resource)
			}
			if len(missing) == 0 {
				sink(b.all())
			}
		}
	}
}

func (r *Registry) count(b *book, d watch.Delta) {
	services, endpoints := b.counts()
	r.services.Store(int64(services))
	r.endpoints.Store(int64(endpoints))
	r.metrics.Delivered(r.Name(), d, services, endpoints)
}

// Status is how the cluster is doing, the objects of the configuration included.
func (r *Registry) Status() watch.Status {
	state := r.client.Health.State()
	s := watch.Status{
		Registry: "Kubernetes", Name: r.Name(), Connected: len(state.Failing) == 0, LastContact: state.LastContact, LastError: state.LastError,
		LastErrorAt: state.LastErrorAt, Services: int(r.services.Load()), Endpoints: int(r.endpoints.Load()), Failing: state.Failing,
	}
	return s
}
