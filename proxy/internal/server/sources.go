package server

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsclient"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// subscriber is a place that resources are asked of: a stream or a file.
type subscriber interface {
	SubscribeAll(typeURL string)
	Subscribe(typeURL, name string)
	Unsubscribe(typeURL, name string)
}

// sources are the streams and files that resources come from, except for the ADS stream. Each
// lives as long as something is subscribed in it. The control loop owns them.
type sources struct {
	s    *Server
	open map[sourceKey]*openSource
}

// sourceKey names a stream or file: services and files serve one type.
type sourceKey struct {
	xdsresource.ConfigSource
	url string
	// secret is set for secrets by gRPC: Istio's agent, like others, serves one per stream.
	secret string
}

type openSource struct {
	subscriber
	all   bool // everything of its type is asked for
	names map[string]bool
	stop  context.CancelFunc
}

// resource names what comes from a source, for whatever is kept by it.
type resource struct {
	source xdsresource.ConfigSource
	name   string
}

func (ss *sources) key(src xdsresource.ConfigSource, url, name string) sourceKey {
	k := sourceKey{ConfigSource: src, url: url}
	if url == xdsresource.TypeSecret && src.Cluster != "" {
		k.secret = name
	}
	return k
}

// subscribeAll asks a source for everything of a type, for as long as the server runs.
func (ss *sources) subscribeAll(src xdsresource.ConfigSource, url string) error {
	if src.ADS() {
		ss.s.ads.SubscribeAll(url)
		return nil
	}
	o, err := ss.start(ss.key(src, url, ""))
	if err != nil {
		return err
	}
	o.all = true
	o.SubscribeAll(url)
	return nil
}

// unsubscribeAll takes that back. The ADS stream goes on.
func (ss *sources) unsubscribeAll(src xdsresource.ConfigSource, url string) {
	k := ss.key(src, url, "")
	o := ss.open[k]
	if o == nil {
		return
	}
	if o.all = false; len(o.names) == 0 {
		delete(ss.open, k)
		o.stop()
	}
}

// subscribe asks a source for a resource by name.
func (ss *sources) subscribe(src xdsresource.ConfigSource, url, name string) {
	if src.ADS() {
		if ss.s.ads != nil {
			ss.s.ads.Subscribe(url, name)
		}
		return
	}
	o, err := ss.start(ss.key(src, url, name))
	if err != nil {
		// Whatever wants the resource waits, as for any that does not come.
		ss.s.logger("config").Error("cannot reach a configuration source", "type", url, "name", name, "error", err)
		return
	}
	o.names[name] = true
	o.Subscribe(url, name)
}

// unsubscribe takes a name back; the last one ends the source.
func (ss *sources) unsubscribe(src xdsresource.ConfigSource, url, name string) {
	if src.ADS() {
		if ss.s.ads != nil {
			ss.s.ads.Unsubscribe(url, name)
		}
		return
	}
	k := ss.key(src, url, name)
	o := ss.open[k]
	if o == nil {
		return
	}
	o.Unsubscribe(url, name)
	if delete(o.names, name); len(o.names) == 0 && !o.all {
		delete(ss.open, k)
		o.stop()
	}
}

// start opens a source that is not open yet.
func (ss *sources) start(k sourceKey) (*openSource, error) {
	if o := ss.open[k]; o != nil {
		return o, nil
	}
	o := &openSource{names: map[string]bool{}}
	run, closeDialer := (func(context.Context) error)(nil), func() {}
	log := ss.s.logger("config")
	handler := sourceHandler{ss.s, k.ConfigSource}
	if k.Path != "" {
		f := xdsclient.NewFile(xdsclient.FileConfig{
			Source: k.ConfigSource, Type: k.url, Decoder: ss.s.cfg.Decoder, Lenient: ss.s.cfg.IgnoreUnknownDynamic,
			Handler: handler, Log: log,
		})
		o.subscriber, run = f, f.Run
	} else {
		dial, end, err := ss.dialer(k)
		if err != nil {
			return nil, err
		}
		client := xdsclient.New(xdsclient.Config{
			Node: ss.s.boot.Node, Protocol: xdsclient.ServiceOf(k.url, k.Delta), Dial: dial, Decoder: ss.s.cfg.Decoder,
			Handler: handler, Log: log, Call: k.Call,
		})
		o.subscriber, run, closeDialer = client, client.Run, end
	}
	ctx, cancel := ss.s.child()
	o.stop = cancel
	ss.open[k] = o
	ss.s.spawn(func() {
		defer cancel()
		defer closeDialer()
		if err := run(ctx); err != nil {
			log.Error("a configuration source ended", "path", k.Path, "cluster", k.Cluster, "error", err)
		}
	})
	return o, nil
}

// dialTimeout bounds how long an attempt waits for the secrets of the connection itself.
const dialTimeout = 15 * time.Second

// dialer prepares to reach a gRPC source. Clusters that sources of the bootstrap name are there from the start. Secrets may come from
// any other cluster too, as in Envoy, and that may come later or change: each attempt goes to the endpoints which it has by then.
func (ss *sources) dialer(k sourceKey) (dial func(context.Context) (*grpc.ClientConn, error), end func(), err error) {
	if c := ss.s.boot.Control[k.Cluster]; c != nil {
		d, err := xdsclient.NewDialer(c, k.Call, ss.s.secrets)
		if err != nil {
			return nil, nil, err
		}
		return d.Dial, d.Close, nil
	}
	if k.url != xdsresource.TypeSecret {
		return nil, nil, fmt.Errorf("cluster %q is not a static cluster of the bootstrap that a config source there names", k.Cluster)
	}
	service := clusterService{ss.s, k.Cluster, k.Call}
	dial = func(ctx context.Context) (*grpc.ClientConn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		conn, end, err := service.GRPC(ctx)
		if err != nil {
			return nil, err
		}
		end() // what it shows and trusts the connection has by now
		return conn, nil
	}
	return dial, func() {}, nil
}

// sourceHandler takes what a source delivers to the control loop.
type sourceHandler struct {
	s   *Server
	src xdsresource.ConfigSource
}

// Connected counts the state of the ADS stream; the client logs that of the others.
func (h sourceHandler) Connected(up bool, _ error) {
	if !h.src.ADS() {
		return
	}
	v := int64(0)
	if up {
		v = 1
		h.s.log.Info("connected to the control plane")
	}
	h.s.stats.Main().GaugeSet(h.s.connected, v)
}

// Failed counts for every subscription of the type.
func (h sourceHandler) Failed(url string, _ error) {
	s := h.s
	s.control.call(func() {
		switch url {
		case xdsresource.TypeCluster:
			if s.isCDS(h.src) {
				s.updates.cds.failed()
			}
		case xdsresource.TypeListener:
			s.updates.lds.failed()
		case xdsresource.TypeVirtualHost:
			s.vhds.failed(h.src)
		case xdsresource.TypeExtension:
			s.extensions.failed(h.src)
		case xdsresource.TypeRoute:
			for r, st := range s.listeners.routeStats {
				if r.source == h.src {
					st.failed()
				}
			}
		case xdsresource.TypeScopedRoutes:
			if src := s.scopes.sources[h.src]; src != nil {
				for _, u := range src.users {
					u.stats.failed()
				}
			}
		}
		if h.src.Path != "" { // what is in a file is known; a stream may come back in time
			s.fetches.failed(url, h.src)
		}
	})
}

// Update applies a response and returns what could not be applied. Clusters are acknowledged when all are warm: in Envoy, too, that tells the
// control plane that routes may follow (ClusterManagerImpl::updateClusterCounts).
func (h sourceHandler) Update(b xdsclient.Batch) (errs map[string]error, warm <-chan struct{}) {
	s := h.s
	if b.Type == xdsresource.TypeSecret {
		// Secrets need no control loop: their store has its own lock, and a certificate must not
		// wait behind a large configuration.
		s.applySecrets(h.src.SecretSource(), b)
		return nil, nil
	}
	s.control.call(func() {
		began := time.Now()
		refused := func() bool { return len(errs) > 0 || len(b.Failed) > 0 }
		switch b.Type {
		case xdsresource.TypeCluster:
			errs = s.clusterSet.apply(h.src, b)
			if s.isCDS(h.src) {
				s.fetches.end(fetchKey{b.Type, resource{source: h.src}})
				s.startListeners()
				s.updates.cds.applied(b.Version, refused(), time.Since(began))
				warm = s.clusterSet.allWarm()
			}
		case xdsresource.TypeEndpoints:
			errs = s.endpoints.apply(h.src, b)
		case xdsresource.TypeListener:
			s.fetches.end(fetchKey{b.Type, resource{source: h.src}})
			errs = s.listeners.apply(b)
			s.updates.lds.applied(b.Version, refused(), time.Since(began))
		case xdsresource.TypeRoute:
			errs = s.applyRoutes(h.src, b)
		case xdsresource.TypeScopedRoutes:
			errs = s.scopes.apply(h.src, b)
		case xdsresource.TypeVirtualHost:
			errs = s.vhds.apply(h.src, b)
		case xdsresource.TypeExtension:
			errs = s.extensions.apply(h.src, b)
		case xdsresource.TypeRuntime:
			s.rtds.apply(h.src, b)
		}
		for _, name := range b.Absent {
			s.fetches.without(fetchKey{b.Type, resource{h.src, name}})
		}
	})
	return errs, warm
}
