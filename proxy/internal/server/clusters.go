package server

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsclient"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// clusterSet follows clusters from their arrival to their end: who is warm, and which EDS
// resources they need. The control loop owns it.
type clusterSet struct {
	s       *Server
	records records[string]
	version string // of the last CDS response
	// users are the clusters that use an EDS resource.
	users map[resource]map[string]bool
	// service is the EDS resource that each cluster uses.
	service map[string]resource
	// warming are the clusters that are not warm; the number tells one from the next of its name.
	warming map[string]uint64
	begun   uint64 // the last of these numbers
	// slowest is the longest time-out for endpoints that a cluster has named.
	slowest time.Duration
	// onIdle runs once, when no cluster is warming; idle is closed then. Either may be nil.
	onIdle func()
	idle   chan struct{}
}

func newClusterSet(s *Server) *clusterSet {
	return &clusterSet{
		s: s, records: records[string]{}, users: map[resource]map[string]bool{}, service: map[string]resource{},
		warming: map[string]uint64{},
	}
}

// clusterConfig is what the cluster manager gets of its proxy.
func (s *Server) clusterConfig(workers []cluster.Worker) (cluster.Config, error) {
	at := s.boot.Node.GetLocality()
	cfg := cluster.Config{
		Workers: workers, Stats: s.stats, Logger: s.logger("upstream"),
		NewTransport: func(t *xdsresource.UpstreamTransport) (any, error) { return transportsocket.NewUpstream(t, s.secrets) },
		EndTransport: func(t any) { t.(*transportsocket.Upstream).Close() },
		Secure: func(ctx context.Context, c net.Conn, transport any, protocols []string) (net.Conn, error) {
			return transport.(*transportsocket.Upstream).Secure(ctx, c, protocols)
		},
		OpenLog:      func(path string) (cluster.EventLog, error) { return s.files.Open(path) },
		Resolver:     cluster.NewResolver(s.boot.Resolver),
		Names:        s.names,
		Bind:         s.boot.Bind,
		LocalCluster: s.boot.LocalCluster,
		Locality:     cluster.Locality{Region: at.GetRegion(), Zone: at.GetZone(), SubZone: at.GetSubZone()},
	}
	if path := s.boot.OutlierLog; path != "" {
		f, err := s.files.Open(path)
		if err != nil {
			return cfg, fmt.Errorf("cluster_manager.outlier_detection.event_log_path: %w", err)
		}
		cfg.OutlierLog = f
	}
	return cfg, nil
}

// update builds a cluster or a new version of it.
func (cs *clusterSet) update(r xdsresource.Resource, version string, static bool) error {
	cfg := r.Value.(*xdsresource.Cluster)
	warm, err := cs.s.clusters.Update(cfg)
	if err != nil {
		cs.records.refuse(r.Name, version, r.Raw, err)
		return err
	}
	name := r.Name
	cs.slowest = max(cs.slowest, cfg.EDSFetchTimeout)
	cs.begun++
	begun := cs.begun
	state := Warming
	select {
	case <-warm:
		state = Active
		delete(cs.warming, name)
	default:
		cs.warming[name] = begun
		cs.s.spawn(func() {
			select {
			case <-warm:
			case <-cs.s.done:
				return
			}
			cs.s.control.post(func() {
				if cs.warming[name] != begun {
					return
				}
				cs.records.state(name, Active)
				delete(cs.warming, name)
				cs.s.onDemand.warm(name)
				cs.checkIdle()
			})
		})
	}
	if cs.records[name] == nil {
		cs.s.stats.Main().Inc(cs.s.updates.clusterAdded)
	} else {
		cs.s.stats.Main().Inc(cs.s.updates.clusterModified)
	}
	cs.records.accept(name, version, r.Raw, static, state)
	var service resource
	if cfg.Type == xdsresource.ClusterEDS {
		service = resource{cfg.EDSSource, cfg.EDSServiceName}
	}
	cs.useService(name, service, cfg.EDSFetchTimeout)
	if state == Active {
		cs.s.onDemand.warm(name)
	}
	return nil
}

// useService moves a cluster to another EDS resource (the zero value for none). The new one is
// subscribed before the old one is given back.
func (cs *clusterSet) useService(cluster string, service resource, timeout time.Duration) {
	old := cs.service[cluster]
	if old == service {
		// The cluster may be new under a name whose endpoints are known already.
		if e := cs.s.endpoints.value[service]; e != nil {
			cs.s.clusters.SetEndpoints(cluster, e)
		}
		return
	}
	if service.name != "" {
		cs.service[cluster] = service
		key := fetchKey{xdsresource.TypeEndpoints, service}
		if cs.users[service] == nil {
			cs.users[service] = map[string]bool{}
			cs.s.fetches.begin(key, timeout, func(late bool) { cs.s.endpoints.without(service, late) })
			cs.s.sources.subscribe(service.source, xdsresource.TypeEndpoints, service.name)
		}
		cs.users[service][cluster] = true
		if e := cs.s.endpoints.value[service]; e != nil {
			cs.s.clusters.SetEndpoints(cluster, e)
		} else if !cs.s.fetches.waits(key) {
			cs.s.clusters.WithoutEndpoints(cluster, false) // others have waited in vain
		}
	} else {
		delete(cs.service, cluster)
	}
	if old.name == "" {
		return
	}
	if delete(cs.users[old], cluster); len(cs.users[old]) == 0 {
		delete(cs.users, old)
		cs.s.endpoints.forget(old)
		cs.s.fetches.end(fetchKey{xdsresource.TypeEndpoints, old})
		cs.s.sources.unsubscribe(old.source, xdsresource.TypeEndpoints, old.name)
	}
}

func (cs *clusterSet) remove(name string) {
	rec := cs.records[name]
	if rec == nil || rec.Static {
		return
	}
	cs.useService(name, resource{}, 0)
	delete(cs.warming, name)
	delete(cs.records, name)
	if rec.Raw == nil { // it never came to be
		return
	}
	cs.s.stats.Main().Inc(cs.s.updates.clusterRemoved)
	cs.s.clusters.Remove(name)
	cs.checkIdle()
}

// patience is how long the start waits for clusters that are warming at most.
func (cs *clusterSet) patience() time.Duration {
	return max(startPatience, cs.slowest)
}

// whenIdle runs f as soon as no cluster is warming.
func (cs *clusterSet) whenIdle(f func()) {
	cs.onIdle = f
	cs.checkIdle()
}

// allWarm returns what is closed as soon as no cluster is warming; nil: none is.
func (cs *clusterSet) allWarm() <-chan struct{} {
	if len(cs.warming) > 0 && cs.idle == nil {
		cs.idle = make(chan struct{})
	}
	return cs.idle
}

func (cs *clusterSet) checkIdle() {
	if len(cs.warming) > 0 {
		return
	}
	if cs.idle != nil {
		close(cs.idle)
		cs.idle = nil
	}
	if f := cs.onIdle; f != nil {
		cs.onIdle = nil
		f()
	}
}

// apply takes a CDS response.
func (cs *clusterSet) apply(src xdsresource.ConfigSource, b xdsclient.Batch) map[string]error {
	errs := map[string]error{}
	if cs.s.isCDS(src) {
		cs.version = b.Version
	}
	for _, u := range b.Changed {
		if rec := cs.records[u.Name]; rec != nil && rec.Static {
			continue // a static cluster stays what the bootstrap says, as in Envoy
		}
		if !cs.s.onDemand.takes(src, u.Name) {
			continue
		}
		if err := cs.update(u.Resource, u.Version, false); err != nil {
			errs[u.Name] = err
			cs.s.onDemand.gone(u.Name)
		}
	}
	for _, f := range b.Failed {
		cs.records.refuse(f.Name, f.Version, f.Raw.Raw, f.Err)
		cs.s.onDemand.gone(f.Name)
	}
	for _, name := range b.Removed {
		if cs.s.onDemand.takes(src, name) {
			cs.remove(name)
			cs.s.onDemand.gone(name)
		}
	}
	cs.checkIdle()
	return errs
}

// endpointSet keeps the load assignments of the clusters that there are.
type endpointSet struct {
	s       *Server
	records records[resource]
	value   map[resource]*xdsresource.Endpoints
}

func (es *endpointSet) forget(r resource) {
	delete(es.records, r)
	delete(es.value, r)
}

// deliver gives endpoints to the clusters that use them.
func (es *endpointSet) deliver(r resource, e *xdsresource.Endpoints) {
	for cluster := range es.s.clusterSet.users[r] {
		es.s.clusters.SetEndpoints(cluster, e)
	}
}

// without has the clusters of a resource that has not come go on without endpoints.
func (es *endpointSet) without(r resource, late bool) {
	for cluster := range es.s.clusterSet.users[r] {
		es.s.clusters.WithoutEndpoints(cluster, late)
	}
}

// apply takes an EDS response. A resource that is gone leaves an empty cluster: its hosts
// are gone, too.
func (es *endpointSet) apply(src xdsresource.ConfigSource, b xdsclient.Batch) map[string]error {
	for _, u := range b.Changed {
		e, r := u.Value.(*xdsresource.Endpoints), resource{src, u.Name}
		if es.s.clusterSet.users[r] == nil {
			continue // given back while the answer was on its way
		}
		es.value[r] = e
		es.s.fetches.end(fetchKey{xdsresource.TypeEndpoints, r})
		es.records.accept(r, u.Version, u.Raw, false, Active)
		es.deliver(r, e)
	}
	for _, f := range b.Failed {
		if r := (resource{src, f.Name}); es.s.clusterSet.users[r] != nil {
			es.records.refuse(r, f.Version, f.Raw.Raw, f.Err)
			es.s.fetches.without(fetchKey{xdsresource.TypeEndpoints, r})
		}
	}
	for _, name := range b.Removed {
		r := resource{src, name}
		es.forget(r)
		es.s.fetches.end(fetchKey{xdsresource.TypeEndpoints, r})
		es.deliver(r, &xdsresource.Endpoints{ClusterName: name, OverprovisioningFactor: 140})
	}
	return nil
}
