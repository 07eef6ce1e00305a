package server

import (
	"github.com/lateen-mesh/lateen/proxy/internal/xdsclient"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// clusterSet follows clusters from their arrival to their end: who is warm, and which EDS
// resources they need. The control loop owns it.
type clusterSet struct {
	s       *Server
	records records
	version string // of the last CDS response
	// eds counts the clusters that use an EDS resource.
	eds map[string]int
	// service is the EDS resource that each cluster uses.
	service map[string]string
	// generation tells an old cluster's warming from a new one's.
	generation map[string]uint64
	warming    map[string]bool
	// onIdle runs once, when no cluster is warming.
	onIdle func()
}

func newClusterSet(s *Server) *clusterSet {
	return &clusterSet{
		s: s, records: records{}, eds: map[string]int{}, service: map[string]string{},
		generation: map[string]uint64{}, warming: map[string]bool{},
	}
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
	cs.generation[name]++
	gen := cs.generation[name]
	state := Warming
	select {
	case <-warm:
		state = Active
		delete(cs.warming, name)
	default:
		cs.warming[name] = true
		cs.s.spawn(func() {
			select {
			case <-warm:
			case <-cs.s.done:
				return
			}
			cs.s.control.post(func() {
				if cs.generation[name] != gen {
					return
				}
				cs.records.state(name, Active)
				delete(cs.warming, name)
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
	service := ""
	if cfg.Type == xdsresource.ClusterEDS {
		service = cfg.EDSServiceName
	}
	cs.useService(name, service)
	return nil
}

// useService moves a cluster to another EDS resource ("" for none). The new one is
// subscribed before the old one is given back.
func (cs *clusterSet) useService(cluster, service string) {
	old := cs.service[cluster]
	if old == service {
		// The cluster may be new under a name whose endpoints are known already.
		if e := cs.s.endpoints.value[service]; service != "" && e != nil {
			cs.s.clusters.UpdateEndpoints(service, e)
		}
		return
	}
	if service != "" {
		cs.service[cluster] = service
		cs.eds[service]++
		if cs.eds[service] == 1 && cs.s.ads != nil {
			cs.s.ads.Subscribe(xdsresource.TypeEndpoints, service)
		} else if e := cs.s.endpoints.value[service]; e != nil {
			cs.s.clusters.UpdateEndpoints(service, e)
		}
	} else {
		delete(cs.service, cluster)
	}
	if old != "" {
		if cs.eds[old]--; cs.eds[old] == 0 {
			delete(cs.eds, old)
			cs.s.endpoints.forget(old)
			if cs.s.ads != nil {
				cs.s.ads.Unsubscribe(xdsresource.TypeEndpoints, old)
			}
		}
	}
}

func (cs *clusterSet) remove(name string) {
	rec := cs.records[name]
	if rec == nil || rec.Static {
		return
	}
	cs.useService(name, "")
	cs.generation[name]++
	delete(cs.warming, name)
	delete(cs.records, name)
	cs.s.stats.Main().Inc(cs.s.updates.clusterRemoved)
	cs.s.clusters.Remove(name)
	cs.checkIdle()
}

// whenIdle runs f as soon as no cluster is warming.
func (cs *clusterSet) whenIdle(f func()) {
	cs.onIdle = f
	cs.checkIdle()
}

func (cs *clusterSet) checkIdle() {
	if f := cs.onIdle; f != nil && len(cs.warming) == 0 {
		cs.onIdle = nil
		f()
	}
}

// apply takes a CDS response.
func (cs *clusterSet) apply(b xdsclient.Batch) map[string]error {
	errs := map[string]error{}
	cs.version = b.Version
	for _, u := range b.Changed {
		if rec := cs.records[u.Name]; rec != nil && rec.Static {
			continue // a static cluster stays what the bootstrap says, as in Envoy
		}
		if err := cs.update(u.Resource, u.Version, false); err != nil {
			errs[u.Name] = err
		}
	}
	for _, f := range b.Failed {
		cs.records.refuse(f.Name, f.Version, f.Raw.Raw, f.Err)
	}
	for _, name := range b.Removed {
		cs.remove(name)
	}
	cs.checkIdle()
	return errs
}

// endpointSet keeps load assignments, which may come before the clusters that use them.
type endpointSet struct {
	s       *Server
	records records
	value   map[string]*xdsresource.Endpoints
}

func (es *endpointSet) forget(name string) {
	delete(es.records, name)
	delete(es.value, name)
}

// apply takes an EDS response. A resource that is gone leaves an empty cluster: its hosts
// are gone, too.
func (es *endpointSet) apply(b xdsclient.Batch) map[string]error {
	for _, u := range b.Changed {
		e := u.Value.(*xdsresource.Endpoints)
		es.value[u.Name] = e
		es.records.accept(u.Name, u.Version, u.Raw, false, Active)
		es.s.clusters.UpdateEndpoints(u.Name, e)
	}
	for _, f := range b.Failed {
		es.records.refuse(f.Name, f.Version, f.Raw.Raw, f.Err)
	}
	for _, name := range b.Removed {
		es.forget(name)
		es.s.clusters.UpdateEndpoints(name, &xdsresource.Endpoints{ClusterName: name, OverprovisioningFactor: 140})
	}
	return nil
}
