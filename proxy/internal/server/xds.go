package server

import (
	"fmt"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/bootstrap"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsclient"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// initialFetch bounds how long listeners wait for the first clusters. It is Envoy's default
// for initial_fetch_timeout: after it a listener that serves something is better than none.
const initialFetch = 15 * time.Second

// adsHandler takes what the ADS stream delivers to the control loop.
type adsHandler struct{ s *Server }

// Connected counts the stream's state.
func (h adsHandler) Connected(up bool, err error) {
	s := h.s
	v := int64(0)
	if up {
		v = 1
		s.log.Info("connected to the control plane")
	}
	s.stats.Main().GaugeSet(s.connected, v)
}

// Update applies a response and returns what could not be applied.
func (h adsHandler) Update(b xdsclient.Batch) (errs map[string]error) {
	s := h.s
	s.control.call(func() {
		switch b.Type {
		case xdsresource.TypeCluster:
			errs = s.clusterSet.apply(b)
			s.startListeners()
		case xdsresource.TypeEndpoints:
			errs = s.endpoints.apply(b)
		case xdsresource.TypeListener:
			errs = s.listeners.apply(b)
		case xdsresource.TypeRoute:
			errs = s.applyRoutes(b)
		case xdsresource.TypeSecret:
			s.applySecrets("", b)
		}
		s.countUpdate(b.Type, len(errs) > 0 || len(b.Failed) > 0)
	})
	return errs
}

// startListeners asks for listeners once the first clusters are warm, so that the first
// request finds where to go.
func (s *Server) startListeners() {
	if s.ldsAsked || !s.boot.LDS {
		return
	}
	s.ldsAsked = true
	once := false
	ask := func() {
		if !once {
			once = true
			s.ads.SubscribeAll(xdsresource.TypeListener)
		}
	}
	s.clusterSet.whenIdle(ask)
	if !once {
		s.after(initialFetch, ask)
	}
}

// applyRoutes takes an RDS response.
func (s *Server) applyRoutes(b xdsclient.Batch) map[string]error {
	errs := map[string]error{}
	for _, u := range b.Changed {
		t, err := route.Compile(u.Value.(*xdsresource.RouteConfig))
		if err != nil {
			errs[u.Name] = err
			s.routeRecords.refuse(u.Name, u.Version, u.Raw, err)
			continue
		}
		s.report(t)
		s.routes.set(u.Name, t)
		s.routeRecords.accept(u.Name, u.Version, u.Raw, false, Active)
		s.listeners.arrived()
	}
	for _, f := range b.Failed {
		s.routeRecords.refuse(f.Name, f.Version, f.Raw.Raw, f.Err)
	}
	// A route configuration that the control plane takes away stays in use until the
	// listener that names it goes, as in Envoy: a listener without routes serves nobody.
	return errs
}

// report names what a route configuration asks for and does not get. Refusing it would cost
// all its other routes.
func (s *Server) report(t *route.Table) {
	for _, vh := range t.VirtualHosts() {
		for _, e := range vh.Entries {
			if e.Forward == nil {
				continue
			}
			for _, h := range e.Forward.RouteAction.Hash {
				if h.Cookie != nil && h.Cookie.TTL != nil {
					s.log.Warn("hash_policy: cookies are read, but not made for clients that send none; ttl has no effect",
						"route_config", t.Config.Name, "virtual_host", vh.Name, "route", e.Name, "cookie", h.Cookie.Name)
				}
			}
		}
	}
}

func (s *Server) applySecrets(source string, b xdsclient.Batch) {
	for _, u := range b.Changed {
		s.secrets.set(secretKey{source, u.Name}, u.Value.(*xdsresource.Secret), u.Version, u.Raw)
	}
}

// subscribeSecret reaches a secret's source. It is called without locks, from any goroutine.
func (s *Server) subscribeSecret(k secretKey) {
	s.control.post(func() {
		if k.source == "" {
			if s.ads != nil {
				s.ads.Subscribe(xdsresource.TypeSecret, k.name)
			}
			return
		}
		if err := s.startSDS(k); err != nil {
			s.log.Error("cannot fetch a secret", "secret", k.name, "source", k.source, "error", err)
		}
	})
}

func (s *Server) unsubscribeSecret(k secretKey) {
	s.control.post(func() {
		if k.source == "" {
			if s.ads != nil {
				s.ads.Unsubscribe(xdsresource.TypeSecret, k.name)
			}
			return
		}
		if stop := s.sds[k]; stop != nil {
			delete(s.sds, k)
			stop()
		}
	})
}

// startSDS opens a stream for one secret: Istio's agent, like others, serves one per stream.
func (s *Server) startSDS(k secretKey) error {
	if s.sds[k] != nil {
		return nil
	}
	c := s.boot.Control[k.source]
	if c == nil {
		return fmt.Errorf("cluster %q is not a static cluster of the bootstrap", k.source)
	}
	d, err := xdsclient.NewDialer(c, s.secrets)
	if err != nil {
		return err
	}
	client := xdsclient.New(xdsclient.Config{
		Node: s.boot.Node, Protocol: xdsclient.SotwSDS, Dial: d.Dial, Decoder: s.cfg.Decoder,
		Handler: sdsHandler{s, k}, Log: s.logger("secret").With("secret", k.name),
	})
	client.Subscribe(xdsresource.TypeSecret, k.name)
	ctx, cancel := s.child()
	s.sds[k] = cancel
	s.spawn(func() {
		_ = client.Run(ctx)
		d.Close()
	})
	return nil
}

// sdsHandler takes one secret's stream. Secrets need no control loop: their store has its
// own lock, and a certificate must not wait behind a large configuration.
type sdsHandler struct {
	s   *Server
	key secretKey
}

// Connected is of no interest: the client logs it.
func (sdsHandler) Connected(bool, error) {}

// Update stores the secret.
func (h sdsHandler) Update(b xdsclient.Batch) map[string]error {
	h.s.applySecrets(h.key.source, b)
	return nil
}

// newADS makes the client of the control plane's stream.
func (s *Server) newADS(src *bootstrap.GRPCSource) (*xdsclient.Client, *xdsclient.Dialer, error) {
	d, err := xdsclient.NewDialer(s.boot.Control[src.Cluster], s.secrets)
	if err != nil {
		return nil, nil, err
	}
	p := xdsclient.SotwADS
	if src.Delta {
		p = xdsclient.DeltaADS
	}
	return xdsclient.New(xdsclient.Config{
		Node: s.boot.Node, Protocol: p, Dial: d.Dial, Decoder: s.cfg.Decoder,
		Handler: adsHandler{s}, Log: s.logger("config"), Metadata: src.InitialMetadata,
	}), d, nil
}
