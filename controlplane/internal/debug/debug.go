// Package debug serves what the control plane holds, stage by stage, over HTTP: Istio's debug pages with their paths and JSON, metrics,
// readiness and version.
//
// pages.go holds the pages of the mesh's objects, registry.go those of its services and endpoints, sync.go those of the proxies (who is connected,
// how far), dump.go what they were sent, distribution.go which of them serve an object. It reads and changes nothing. The pages under /debug/ are answered to loopback only, whatever the address listened on: they show all
// configuration. Only package controlplane imports it.
package debug

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/configstore"
	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/pushstatus"
	"github.com/lateen-mesh/lateen/controlplane/internal/serviceregistry/watch"
	"github.com/lateen-mesh/lateen/controlplane/internal/snapshot"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdscache"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdsserver"
	"github.com/lateen-mesh/lateen/pkg/version"
)

// Store is a config store or registry, by name.
type Store struct {
	Name  string
	Store ConfigStore
}

// ConfigStore is what a store holds.
type ConfigStore interface {
	Objects() []*config.Object
	State() configstore.State
	Mistakes() []configstore.Mistake
}

// Options are what the pages read. All but Registerer and Registries are required.
type Options struct {
	XDS    *xdsserver.Server
	View   func() *xdscache.View
	Cache  *xdscache.Cache
	Stores []Store
	// Registries returns how the registries outside of the stores are doing.
	Registries func() []watch.Status
	Problems   func() []snapshot.Problem
	// MeshConfig returns the mesh configuration as it was given; nil for none.
	MeshConfig func() *meshconfig.MeshConfig
	// TakenIn returns the version of a view that has the batches of a store, by its name, up to a number; false when there is none yet.
	TakenIn func(store string, number uint64) (version uint64, ok bool)
	// ObjectStatus returns the status of an object of the Gateway API, in JSON; nil for one that does not concern this control plane.
	ObjectStatus func(config.Key) json.RawMessage
	// Authority returns what signs the mesh's certificates and which roots are trusted, as JSON takes it. It holds no key.
	Authority func() any
	Instance  string
	Gatherer  prometheus.Gatherer
	// Registerer gets the metrics of the process, of the cache and of what is at odds in the mesh.
	Registerer prometheus.Registerer
	Ready      func() bool
}

// Server is the handler of all pages.
type Server struct {
	opts    Options
	mux     *http.ServeMux
	pages   []page
	patches patchReport
	status  *pushstatus.Finder
}

// page is one path of the index.
type page struct{ path, about string }

// New returns the handler.
func New(opts Options) *Server {
	s := &Server{opts: opts, mux: http.NewServeMux()}
	s.status = pushstatus.New(func() (*model.Snapshot, []*model.Proxy) {
		var proxies []*model.Proxy
		for _, p := range opts.XDS.Status() {
			proxies = append(proxies, p.Proxy)
		}
		return opts.View().Snapshot(), proxies
	})
	if opts.Registerer != nil {
		register(opts.Registerer, opts.Cache, time.Now())
		opts.Registerer.MustRegister(s.status)
	}
	s.mux.Handle("GET /metrics", promhttp.HandlerFor(opts.Gatherer, promhttp.HandlerOpts{}))
	s.mux.HandleFunc("GET /ready", s.ready)
	s.mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, version.Get()) })
	s.mux.HandleFunc("GET /debug", s.local(s.index))
	s.mux.HandleFunc("GET /debug/{$}", s.local(s.index))
	s.page("/debug/syncz", "synchronisation of every connected proxy", s.syncz)
	s.page("/debug/adsz", "who is connected, with which metadata, and what each asks for; ?proxyID=NAME.NAMESPACE for one", s.adsz)
	s.page("/debug/connections", "connections of proxies", s.connections)
	s.page("/debug/config_dump", "configuration sent to one proxy: ?proxyID=NAME.NAMESPACE; &include_eds, or &types=cds,lds,eds,rds,sds,ecds for resources alone", s.configDump)
	s.page("/debug/edsz", "endpoints sent to one proxy: ?proxyID=NAME.NAMESPACE", s.dumpOf("eds"))
	s.page("/debug/ecdsz", "filters sent to one proxy: ?proxyID=NAME.NAMESPACE", s.dumpOf("ecds"))
	s.page("/debug/ndsz", "names that the agent of one proxy answers DNS queries with: ?proxyID=NAME.NAMESPACE", s.ndsz)
	s.page("/debug/config_distribution", "which version of an object proxies serve: ?resource=KIND/NAMESPACE/NAME", s.configDistribution)
	s.page("/debug/push_status", "what in the mesh is at odds, by metric", s.pushStatus)
	s.page("/debug/view", "the view that is served, how far proxies are with it, and what could not be taken into it", s.view)
	s.page("/debug/distribution", "whether proxies serve objects, or serve without them: ?resource=KIND/NAMESPACE/NAME@VERSION, ?gone=KIND/NAMESPACE/NAME, then ?version=N", s.distribution)
	s.page("/debug/registryz", "services", s.registryz)
	s.page("/debug/registries", "registries outside of the mesh, with the state of the connection and what has no effect", s.registries)
	s.page("/debug/endpointShardz", "endpoints by service and registry", s.endpointShardz)
	s.page("/debug/endpointz", "the same", s.endpointShardz)
	s.page("/debug/instancesz", "services of the workloads that connected proxies stand in front of", s.instancesz)
	s.page("/debug/workloads", "workloads, with a proxy or without", s.workloads)
	s.page("/debug/configz", "objects in force: ?kind=VirtualService, ?namespace=NS", s.configz)
	s.page("/debug/resourcesz", "kinds of objects that are read", s.resourcesz)
	s.page("/debug/gatewayapi", "objects of the Gateway API with their status: ?kind=HTTPRoute, ?namespace=NS", s.gatewayAPI)
	s.page("/debug/mesh", "mesh configuration in force", s.mesh)
	s.page("/debug/ca", "what signs the mesh's certificates, and which roots are trusted", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, opts.Authority()) })
	s.page("/debug/errors", "mistakes in the config store's files, and what has no effect", s.errors)
	s.page("/debug/cachez", "counts of the cache of encoded resources", s.cachez)
	s.page("/debug/list", "names of these pages", s.list)
	s.page("/debug/pprof/", "profiles, as `go tool pprof` reads them", pprof.Index)
	s.page("/debug/pprof/cmdline", "the command line", pprof.Cmdline)
	s.page("/debug/pprof/profile", "where processor time goes: ?seconds=30", pprof.Profile)
	s.page("/debug/pprof/symbol", "names of addresses in programs", pprof.Symbol)
	s.page("/debug/pprof/trace", "a trace of what runs: ?seconds=1", pprof.Trace)
	return s
}

func (s *Server) page(path, about string, h http.HandlerFunc) {
	s.mux.HandleFunc("GET "+path, s.local(h))
	s.pages = append(s.pages, page{path, about})
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// local answers clients of this machine only. A page of another site in a browser here is refused as well: names it asked for (Host) or says
// it comes from (Origin) are not this machine's.
func (s *Server) local(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !peer.Addr().Unmap().IsLoopback() || !isLocalHost(r.Host) || r.Header.Get("Origin") != "" {
			http.Error(w, "debug pages are answered to this machine only: ask on it, by its loopback address", http.StatusForbidden)
			return
		}
		h(w, r)
	}
}

func isLocalHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.IsLoopback()
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if !s.opts.Ready() {
		http.Error(w, "not ready: the configuration is being read", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	for _, p := range s.pages {
		fmt.Fprintf(w, "%-28s %s\n", p.path, p.about)
	}
}

// list has the names of the other pages that answer with JSON, without their folder, as Istio's.
func (s *Server) list(w http.ResponseWriter, _ *http.Request) {
	var out []string
	for _, p := range s.pages {
		if name := strings.TrimPrefix(p.path, "/debug/"); name != "list" && !strings.HasPrefix(name, "pprof/") {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	writeJSON(w, out)
}

func (s *Server) pushStatus(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.status.Current()) }

func writeJSON(w http.ResponseWriter, v any) {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, "encode: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(raw, '\n'))
}

// wanted reads a parameter that may hold several values, as ?a=x&a=y or ?a=x,y; empty means all.
func wanted(r *http.Request, key string) func(string) bool {
	var values []string
	for _, v := range r.URL.Query()[key] {
		values = append(values, strings.Split(v, ",")...)
	}
	return func(v string) bool {
		return len(values) == 0 || slices.ContainsFunc(values, func(w string) bool { return strings.EqualFold(w, v) })
	}
}
