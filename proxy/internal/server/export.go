package server

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"sync"

	"github.com/lateen-mesh/lateen/proxy/internal/accesslog"
	"github.com/lateen-mesh/lateen/proxy/internal/export/als"
	"github.com/lateen-mesh/lateen/proxy/internal/export/datadog"
	"github.com/lateen-mesh/lateen/proxy/internal/export/otlp"
	"github.com/lateen-mesh/lateen/proxy/internal/export/skywalking"
	"github.com/lateen-mesh/lateen/proxy/internal/export/zipkin"
	"github.com/lateen-mesh/lateen/proxy/internal/tracing"
	"github.com/lateen-mesh/lateen/proxy/internal/uuid"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// exporters are what sends entries to a service, or writes them to files, beside the loops. Those with equal
// configurations share one, so that a listener that changes keeps its streams. An exporter ends with its
// last user.
type exporters struct {
	wg   sync.WaitGroup
	ctx  context.Context
	stop context.CancelFunc
	// process names this process among all that report to a collector.
	process string

	mu   sync.Mutex
	list []*exporter
}

type exporter struct {
	cfg   any
	run   runner
	stop  context.CancelFunc
	users int
}

// runner sends what it has taken until ctx ends.
type runner interface{ Run(ctx context.Context) }

func newExporters() *exporters {
	e := &exporters{process: string(uuid.Append(nil, rand.Uint64(), rand.Uint64()))}
	e.ctx, e.stop = context.WithCancel(context.Background())
	return e
}

// close sends what is left and ends all exporters. Nobody logs any more.
func (e *exporters) close() {
	e.stop()
	e.wg.Wait()
}

// get returns the exporter of a configuration, made when it is new, for one who gives it back when he has.
func (e *exporters) get(cfg any, has *holdings, open func() (runner, error)) (runner, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := slices.IndexFunc(e.list, func(x *exporter) bool { return reflect.DeepEqual(x.cfg, cfg) })
	if i < 0 {
		r, err := open()
		if err != nil {
			return nil, err
		}
		x := &exporter{cfg: cfg, run: r}
		var ctx context.Context
		ctx, x.stop = context.WithCancel(e.ctx)
		e.wg.Go(func() { r.Run(ctx) })
		i = len(e.list)
		e.list = append(e.list, x)
	}
	x := e.list[i]
	x.users++
	has.add(func() { e.leave(x) })
	return x.run, nil
}

func (e *exporters) leave(x *exporter) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if x.users--; x.users == 0 {
		x.stop()
		e.list = slices.DeleteFunc(e.list, func(y *exporter) bool { return y == x })
	}
}

// accessLog opens one logger.
func (s *Server) accessLog(cfg *xdsresource.AccessLog, has *holdings) (*accesslog.Logger, error) {
	var open func() (runner, error)
	switch c := cfg.Service.(type) {
	case nil:
		l, err := accesslog.New(cfg, s.files, s.cfg.Workers)
		if err == nil {
			has.add(l.Close)
		}
		return l, err
	case *xdsresource.GRPCAccessLog:
		open = func() (runner, error) {
			return als.New(c, als.Deps{
				Workers: s.cfg.Workers, Service: clusterService{s, c.Service.Cluster, c.Service.Call}, Node: s.boot.Node, Stats: s.stats, Log: s.logger("grpc"),
			})
		}
	case *xdsresource.OTLPAccessLog:
		open = func() (runner, error) { return otlp.NewLogs(c, s.otlpDeps(c.GRPC, c.HTTP)) }
	default:
		return nil, fmt.Errorf("access log %q: a service of type %T is not known", cfg.Name, c)
	}
	return accesslog.WithSink(cfg, func() (accesslog.Sink, error) {
		r, err := s.exporters.get(cfg.Service, has, open)
		if err != nil {
			return nil, err
		}
		return r.(accesslog.Sink), nil // both kinds are
	})
}

func (s *Server) otlpDeps(grpc *xdsresource.GRPCService, http *xdsresource.HTTPService) otlp.Deps {
	service := clusterService{s: s}
	if grpc != nil {
		service.cluster, service.call = grpc.Cluster, grpc.Call
	} else {
		service.cluster = http.Cluster
	}
	return otlp.Deps{
		Workers: s.cfg.Workers, Service: service, Node: s.boot.Node, Stats: s.stats, Log: s.logger("grpc"),
	}
}

// spanReporter returns what takes the spans of a connection manager; nil without a provider.
func (s *Server) spanReporter(cfg *xdsresource.Tracing, has *holdings) (tracing.Reporter, error) {
	if cfg == nil || cfg.Provider == nil {
		return nil, nil
	}
	r, err := s.exporters.get(cfg.Provider, has, func() (runner, error) {
		switch c := cfg.Provider.(type) {
		case *xdsresource.Zipkin:
			return zipkin.New(c, zipkin.Deps{
				Workers: s.cfg.Workers, Service: clusterService{s: s, cluster: c.Cluster}, ServiceName: s.boot.Node.GetCluster(), Address: s.node.address,
				Stats: s.stats, Log: s.logger("tracing"),
			}), nil
		case *xdsresource.OTLPTracing:
			d := s.otlpDeps(c.GRPC, c.HTTP)
			if c.Sampler != nil {
				d.Sampling = clusterService{s: s, cluster: c.Sampler.HTTP.Cluster}
			}
			return otlp.NewSpans(c, d), nil
		case *xdsresource.SkyWalking:
			return skywalking.New(c, skywalking.Deps{
				Workers: s.cfg.Workers, Service: clusterService{s, c.Service.Cluster, c.Service.Call}, Stats: s.stats, Log: s.logger("tracing"),
			}), nil
		case *xdsresource.Datadog:
			return datadog.New(c, datadog.Deps{
				Workers: s.cfg.Workers, Service: clusterService{s: s, cluster: c.Cluster}, Process: s.exporters.process, Version: s.boot.Node.GetUserAgentVersion(),
				Getenv: os.Getenv, Stats: s.stats, Log: s.logger("tracing"),
			}), nil
		}
		return nil, fmt.Errorf("a provider of type %T is not known", cfg.Provider)
	})
	if err != nil {
		return nil, err
	}
	return r.(tracing.Reporter), nil // all kinds are
}

// samplerOf is what decides on the spans that a reporter takes; nil: the connection manager does.
func samplerOf(r tracing.Reporter) tracing.Sampler {
	if x, ok := r.(*otlp.Spans); ok {
		return x.Sampler()
	}
	return nil
}
