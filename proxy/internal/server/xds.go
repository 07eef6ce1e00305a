package server

import (
	"fmt"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/bootstrap"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsclient"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// startPatience bounds how long the start waits for clusters and layers whose sources have no time-out
// (initial_fetch_timeout 0): one that never comes must not keep all others from serving.
const startPatience = xdsresource.DefaultFetchTimeout

// startListeners asks for listeners once the first clusters are warm, so that the first
// request finds where to go.
func (s *Server) startListeners() {
	if s.ldsAsked || s.boot.LDS == nil {
		return
	}
	s.ldsAsked = true
	once := false
	ask := func() {
		if !once {
			once = true
			s.askListeners()
		}
	}
	s.clusterSet.whenIdle(ask)
	if !once {
		s.after(s.clusterSet.patience(), ask)
	}
}

func (s *Server) askListeners() {
	s.updates.lds.begin()
	s.fetches.begin(fetchKey{xdsresource.TypeListener, resource{source: *s.boot.LDS}}, s.boot.LDSFetchTimeout, func(late bool) {
		s.updates.lds.late(late)
		s.listeners.answered = true
		s.checkReady()
	})
	if err := s.sources.subscribeAll(*s.boot.LDS, xdsresource.TypeListener); err != nil {
		s.fail(fmt.Errorf("dynamic_resources.lds_config: %w", err))
	}
}

func (s *Server) askClusters() {
	s.updates.cds.begin()
	s.fetches.begin(fetchKey{xdsresource.TypeCluster, resource{source: *s.boot.CDS}}, s.boot.CDSFetchTimeout, func(late bool) {
		s.updates.cds.late(late)
		s.startListeners()
	})
	if err := s.sources.subscribeAll(*s.boot.CDS, xdsresource.TypeCluster); err != nil {
		s.fail(fmt.Errorf("dynamic_resources.cds_config: %w", err))
	}
}

// applyRoutes takes an RDS response.
func (s *Server) applyRoutes(src xdsresource.ConfigSource, b xdsclient.Batch) map[string]error {
	errs := map[string]error{}
	for _, u := range b.Changed {
		began := time.Now()
		r := resource{src, u.Name}
		if s.listeners.routeUse[r] == 0 {
			continue // given back while the answer was on its way
		}
		st := s.listeners.routeStats[r]
		cfg := u.Value.(*xdsresource.RouteConfig)
		t, err := route.Compile(cfg)
		if err == nil {
			err = cfg.CheckClusters(s.clusters.Known, false)
		}
		if err == nil {
			t, err = s.vhds.update(routeNeed{resource: r, statPrefix: st.statPrefix}, t)
		}
		st.applied(b.Version, err != nil, time.Since(began)) // as in Envoy, of the response and not of the resource
		if err != nil {
			errs[u.Name] = err
			s.routeRecords.refuse(r, u.Version, u.Raw, err)
			s.fetches.without(fetchKey{xdsresource.TypeRoute, r})
			s.scopes.routes(r, false)
			continue
		}
		s.routes.set(r, t)
		s.vhds.renewed(r)
		s.routeRecords.accept(r, u.Version, u.Raw, false, Active)
		s.fetches.end(fetchKey{xdsresource.TypeRoute, r})
		s.scopes.routes(r, true)
		s.listeners.arrived()
	}
	for _, f := range b.Failed {
		r := resource{src, f.Name}
		if s.listeners.routeUse[r] == 0 {
			continue
		}
		s.listeners.routeStats[r].applied(b.Version, true, 0)
		s.routeRecords.refuse(r, f.Version, f.Raw.Raw, f.Err)
		s.fetches.without(fetchKey{xdsresource.TypeRoute, r})
		s.scopes.routes(r, false)
	}
	for _, name := range slices.Concat(b.Removed, b.Absent) {
		r := resource{src, name}
		s.fetches.without(fetchKey{xdsresource.TypeRoute, r})
		s.scopes.routes(r, false)
	}
	// A route configuration that the control plane takes away stays in use until the
	// listener that names it goes, as in Envoy: a listener without routes serves nobody.
	return errs
}

func (s *Server) applySecrets(source string, b xdsclient.Batch) {
	for _, u := range b.Changed {
		k, v := secretKey{source, u.Name}, u.Value.(*xdsresource.Secret)
		if s.secrets.set(k, v, u.Version, u.Raw) {
			s.secretFiles.follow(k, v, u.Version, u.Raw)
		}
	}
	for _, name := range slices.Concat(b.Removed, b.Absent) {
		s.secrets.setAbsent(secretKey{source, name})
	}
	for _, f := range b.Failed {
		s.secrets.setAbsent(secretKey{source, f.Name})
	}
}

// subscribeSecret reaches a secret's source. It is called without locks, from any goroutine.
func (s *Server) subscribeSecret(k secretKey) {
	s.control.post(func() { s.sources.subscribe(xdsresource.SourceOfSecret(k.source), xdsresource.TypeSecret, k.name) })
}

func (s *Server) unsubscribeSecret(k secretKey) {
	s.secretFiles.forget(k)
	s.control.post(func() { s.sources.unsubscribe(xdsresource.SourceOfSecret(k.source), xdsresource.TypeSecret, k.name) })
}

// newADS makes the client of the control plane's stream.
func (s *Server) newADS(src *bootstrap.GRPCSource) (*xdsclient.Client, *xdsclient.Dialer, error) {
	d, err := xdsclient.NewDialer(s.boot.Control[src.Cluster], src.Call, s.secrets)
	if err != nil {
		return nil, nil, err
	}
	p := xdsclient.SotwADS
	if src.Delta {
		p = xdsclient.DeltaADS
	}
	return xdsclient.New(xdsclient.Config{
		Node: s.boot.Node, Protocol: p, Dial: d.Dial, Decoder: s.cfg.Decoder,
		Handler: sourceHandler{s: s}, Log: s.logger("config"), Call: src.Call,
	}), d, nil
}
