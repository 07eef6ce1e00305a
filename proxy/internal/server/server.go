package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/accesslog"
	"github.com/lateen-mesh/lateen/proxy/internal/asyncclient"
	"github.com/lateen-mesh/lateen/proxy/internal/bootstrap"
	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/dnscache"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter/jwtauthn"
	"github.com/lateen-mesh/lateen/proxy/internal/listener"
	"github.com/lateen-mesh/lateen/proxy/internal/overload"
	"github.com/lateen-mesh/lateen/proxy/internal/runtimekey"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/watchdog"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsclient"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Config is what a server needs.
type Config struct {
	Bootstrap *bootstrap.Bootstrap
	// Decoder judges what xDS brings; it must be the one that read the bootstrap.
	Decoder *xdsresource.Decoder
	// Workers is the number of event loops, at least 1.
	Workers int
	Levels  *Levels
	// DrainTime bounds how long connections of a listener that is replaced or removed may
	// take to end. Default 10 minutes, as Envoy's --drain-time-s.
	DrainTime time.Duration
	// DrainImmediately asks them to end at their next chance; else they are asked at moments
	// that are spread over the time.
	DrainImmediately bool
	// FileFlushInterval is how long an access-log line waits in memory at most. Default 1 s.
	FileFlushInterval time.Duration
	// FileFlushSize is how many bytes of lines are written at once. Default 64 KiB.
	FileFlushSize int
	// Footprint gives back what the start needed once, and later what is idle; nil: nothing is.
	Footprint *Footprint
	// IgnoreUnknownDynamic leaves fields out of what xDS brings that the protos do not know. The
	// Decoder must do likewise.
	IgnoreUnknownDynamic bool
	// Predecessor is the process that this one takes over from; nil: none. RestartEpoch is how
	// many there were.
	Predecessor  Predecessor
	RestartEpoch uint32
	// Keys are the runtime keys that the Decoder hands out; the server sets their values.
	Keys *runtimekey.Registry
	// StatsTags are fixed tags of all statistics, beside those of the bootstrap.
	StatsTags []stats.TagRule
}

// CommandLine is what /server_info tells of how the process was started.
type CommandLine struct {
	Concurrency                                                         int
	ConfigPath, ConfigYAML, LogLevel, ServiceNode, ServiceCluster, Mode string
}

// ServerState is Envoy's ServerInfo.State.
type ServerState uint32

// States in the order of a life.
const (
	PreInitializing ServerState = iota
	Initializing
	Live
	StateDraining
)

// String is the text of /ready.
func (s ServerState) String() string {
	return [...]string{"PRE_INITIALIZING", "INITIALIZING", "LIVE", "DRAINING"}[s]
}

// Server owns the live objects.
type Server struct {
	cfg         Config
	boot        *bootstrap.Bootstrap
	log         *slog.Logger
	started     time.Time
	stats       *stats.Store
	loops       []*eventloop.Loop
	files       *accesslog.Files
	secrets     *secrets
	secretFiles *secretFiles
	routes      *routes
	control     *control
	node        nodeInfo

	clusters  *cluster.Manager
	names     *dnscache.Set        // names that requests have resolved
	callouts  *asyncclient.Clients // for filters that ask somebody
	keys      *jwtauthn.Store      // that verify tokens
	runtime   *runtimekey.Runtime
	connected stats.Gauge
	gauges    gauges
	drained   bool // listeners or chains have; of the control loop
	updates   updates
	watches   []*watchdog.Watch

	// Of the control loop:
	clusterSet   *clusterSet
	onDemand     *onDemand
	vhds         *vhds
	scopes       *scopes
	extensions   *extensions
	endpoints    *endpointSet
	listeners    *listenerSet
	routeRecords records[resource]
	sources      *sources
	fetches      *fetches
	overload     *overload.Manager // nil: none
	load         *overload.State
	rtds         *rtds
	heir         *inheritance
	ads          *xdsclient.Client
	ldsAsked     bool
	staticUp     bool
	failed       error

	// Exporters of logs and spans end after the workers, which write to them to the last.
	exporters *exporters

	// Of Run:
	wg      sync.WaitGroup
	endMu   sync.Mutex
	ending  bool          // nothing new is spawned
	done    chan struct{} // closed when Run begins to end
	stop    context.CancelCauseFunc
	child   func() (context.Context, context.CancelFunc)
	ready   chan struct{}
	isReady atomic.Bool
	failing atomic.Bool // /healthcheck/fail
	began   atomic.Bool
}

// New prepares a server; Run starts it.
func New(cfg Config) (*Server, error) {
	if cfg.DrainTime == 0 {
		cfg.DrainTime = 10 * time.Minute
	}
	store := stats.NewStore(statsOptions(&cfg))
	s := &Server{
		cfg: cfg, boot: cfg.Bootstrap, log: cfg.Levels.Logger("main"), started: time.Now(),
		stats: store, control: newControl(), routes: newRoutes(store),
		routeRecords: records[resource]{}, done: make(chan struct{}), ready: make(chan struct{}),
	}
	var err error
	if s.node, err = readNode(cfg.Bootstrap.Node); err != nil {
		return nil, err
	}
	s.secrets = newSecrets(s.logger("secret"))
	s.secretFiles = &secretFiles{s: s, cancels: map[secretKey]context.CancelFunc{}}
	s.secrets.subscribe, s.secrets.unsubscribe = s.subscribeSecret, s.unsubscribeSecret
	s.files = accesslog.NewFiles(s.stats, s.logger("file"))
	if cfg.FileFlushInterval > 0 {
		s.files.FlushInterval = cfg.FileFlushInterval
	}
	if cfg.FileFlushSize > 0 {
		s.files.FlushSize = min(cfg.FileFlushSize, accesslog.MaxFlushSize)
	}
	var workers []cluster.Worker
	for i := range cfg.Workers {
		l, err := eventloop.New(i, s.logger("connection"))
		if err != nil {
			for _, l := range s.loops {
				l.Close()
			}
			return nil, fmt.Errorf("event loop %d: %w", i, err)
		}
		s.loops = append(s.loops, l)
		s.stats.Attach(i, l.Post)
		workers = append(workers, l)
	}
	s.names = s.newNames()
	clusters, err := s.clusterConfig(workers)
	if err != nil {
		return nil, err
	}
	s.clusters = cluster.New(clusters)
	s.callouts = asyncclient.New(asyncclient.Deps{Clusters: s.clusters, Stats: s.stats, Workers: cfg.Workers, LocalAddress: s.node.address})
	s.keys = jwtauthn.NewStore(jwtauthn.StoreDeps{Fetch: jwtauthn.FetchThrough(s.callouts), Loops: s.loops, Stats: s.stats, Logger: s.logger("jwt")})
	s.runtime = runtimekey.New(runtimeSources(cfg.Bootstrap.Runtime), cmp.Or(cfg.Keys, runtimekey.NewRegistry()), s.stats)
	s.rtds = &rtds{s: s, waiting: map[resource]bool{}}
	s.load = &overload.State{MaxKey: cfg.Keys.Key("overload.global_downstream_max_connections")}
	if o := cfg.Bootstrap.Overload; o != nil {
		s.overload = overload.New(o, s.load, s.stats, s.overloadChanged)
	}
	s.heir = &inheritance{from: cfg.Predecessor, fds: map[inheritedKey]int{}}
	s.sources = &sources{s: s, open: map[sourceKey]*openSource{}}
	s.fetches = newFetches(s.control)
	s.exporters = newExporters()
	s.clusterSet = newClusterSet(s)
	s.onDemand = newOnDemand(s)
	s.vhds = newVHDS(s)
	s.scopes = newScopes(s)
	s.extensions = newExtensions(s)
	s.endpoints = &endpointSet{s: s, records: records[resource]{}, value: map[resource]*xdsresource.Endpoints{}}
	s.listeners = newListenerSet(s)
	if cfg.Bootstrap.ADS != nil {
		s.connected = s.stats.Gauge("control_plane.connected_state")
	}
	s.gauges = newGauges(s.stats)
	s.updates = newUpdates(s.stats, s.boot)
	s.watches = s.newWatches()
	return s, nil
}

func (s *Server) logger(name string) *slog.Logger { return s.cfg.Levels.Logger(name) }

func (s *Server) now() time.Time { return time.Now() }

// Run serves until ctx ends or a static listener cannot be started, which is an error.
func (s *Server) Run(ctx context.Context) error {
	s.began.Store(true)
	ctx, cancel := context.WithCancelCause(ctx)
	s.stop = cancel
	// What the control loop starts ends before it; workers end last, since closing
	// connections counts and logs.
	sub, cancelSub := context.WithCancel(ctx)
	s.child = func() (context.Context, context.CancelFunc) { return context.WithCancel(sub) }
	base, cancelBase := context.WithCancel(context.WithoutCancel(ctx))

	var loops, base2 sync.WaitGroup
	for _, l := range s.loops {
		loops.Go(func() {
			if err := l.Run(base); err != nil {
				cancel(fmt.Errorf("worker %d: %w", l.ID(), err))
			}
		})
	}
	logs, cancelLogs := context.WithCancel(context.WithoutCancel(ctx))
	base2.Go(func() { _ = s.files.Run(logs) })
	s.wg.Go(func() { _ = s.clusters.Run(sub) })
	s.watchRuntime(sub)
	if s.overload != nil {
		s.wg.Go(func() { s.overload.Run(sub) })
	}
	// Nobody sees intervals without an admin API or a sink, and an idle process stays idle.
	if st := &s.boot.Stats; len(st.Sinks) > 0 || s.boot.Admin != nil && !st.FlushOnAdmin {
		s.wg.Go(func() { s.flushStats(sub) })
	}
	controlCtx, cancelControl := context.WithCancel(context.WithoutCancel(ctx))
	var controlDone sync.WaitGroup
	controlDone.Go(func() { s.control.run(controlCtx) })

	for _, w := range s.watches {
		s.wg.Go(func() { w.Run(sub) })
	}

	s.control.post(s.bootStatic)
	<-ctx.Done()

	s.endMu.Lock()
	s.ending = true
	s.endMu.Unlock()
	close(s.done)
	cancelSub()
	s.wg.Wait() // clients and watchers; they may still call the control loop
	s.control.call(s.closeAll)
	cancelControl()
	controlDone.Wait()
	cancelBase()
	loops.Wait()
	s.names.Close()
	s.exporters.close()
	cancelLogs()
	base2.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// Abandon frees what New made, for a server that is never run.
func (s *Server) Abandon() {
	s.names.Close()
	s.exporters.close()
	for _, l := range s.loops {
		l.Close()
	}
}

// spawn runs f on a goroutine that Run waits for; not at all when Run is about to end.
func (s *Server) spawn(f func()) {
	s.endMu.Lock()
	defer s.endMu.Unlock()
	if !s.ending {
		s.wg.Go(f)
	}
}

// bootStatic brings up what the bootstrap holds, in the order of dependence: secrets,
// clusters, then, once those are warm, listeners. The control plane's stream starts at once.
func (s *Server) bootStatic() {
	for _, r := range s.boot.Secrets {
		s.secrets.set(secretKey{xdsresource.SDSStatic, r.Name}, r.Value.(*xdsresource.Secret), "", r.Raw)
	}
	if src := s.boot.ADS; src != nil {
		client, dialer, err := s.newADS(src)
		if err != nil {
			s.fail(fmt.Errorf("control plane: %w", err))
			return
		}
		s.ads = client
		ctx, cancel := s.child()
		s.spawn(func() {
			defer cancel()
			_ = client.Run(ctx)
			dialer.Close()
		})
	}
	for _, r := range s.boot.Clusters {
		if _, control := s.boot.Control[r.Name]; control {
			// Dialled by the xDS client; shown in dumps, but no traffic may be routed there.
			s.clusterSet.records.accept(r.Name, "", r.Raw, true, Active)
			continue
		}
		if err := s.clusterSet.update(r, "", true); err != nil {
			s.fail(err)
			return
		}
	}
	once := false
	start := func() {
		if !once {
			once = true
			s.startStatic()
		}
	}
	s.rtds.begin()
	s.clusterSet.whenIdle(func() { s.rtds.whenAnswered(start) })
	if !once {
		s.after(max(s.clusterSet.patience(), s.rtds.patience()), start)
	}
}

func (s *Server) startStatic() {
	for _, r := range s.boot.Listeners {
		if err := s.listeners.update(r, "", true); err != nil {
			s.fail(err)
			return
		}
	}
	s.staticUp = true
	switch {
	case s.boot.CDS != nil:
		s.askClusters()
	case s.boot.LDS != nil:
		s.ldsAsked = true
		s.askListeners()
	}
	s.checkReady()
}

// fail ends Run with an error: what the bootstrap asks for cannot be done.
func (s *Server) fail(err error) {
	if s.failed == nil {
		s.failed = err
		s.stop(err)
	}
}

// checkReady closes the ready channel once everything that the start waits for is up.
func (s *Server) checkReady() {
	if s.isReady.Load() || !s.staticUp || len(s.listeners.warming) > 0 || s.boot.LDS != nil && !s.listeners.answered {
		return
	}
	s.isReady.Store(true)
	s.stats.Main().GaugeSet(s.updates.workersStarted, 1)
	s.stats.Main().Record(s.updates.initialization, uint64(time.Since(s.started).Milliseconds()))
	close(s.ready)
	s.log.Info("ready", "listeners", len(s.listeners.active), "clusters", len(s.clusterSet.records), "after", time.Since(s.started).Round(time.Millisecond))
	// Start-up is over: give back what only it needed.
	if f := s.cfg.Footprint; f != nil {
		s.spawn(func() { f.keep(s.done) })
	}
}

// after runs f on the control loop later, unless the server ends first.
func (s *Server) after(d time.Duration, f func()) {
	s.spawn(func() {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			s.control.post(f)
		case <-s.done:
		}
	})
}

// afterUnless is after, unless it is cancelled before.
func (s *Server) afterUnless(d time.Duration, f func()) (cancel func()) {
	cancelled := make(chan struct{})
	s.spawn(func() {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			s.control.post(f)
		case <-cancelled:
		case <-s.done:
		}
	})
	return sync.OnceFunc(func() { close(cancelled) })
}

// barrier waits until all workers have done what was posted to them before.
func (s *Server) barrier() {
	var wg sync.WaitGroup
	for _, l := range s.loops {
		wg.Add(1)
		if !l.Post(wg.Done) {
			wg.Done()
		}
	}
	wg.Wait()
}

// closeAll takes everything down at the end.
func (s *Server) closeAll() {
	s.fetches.close()
	for _, v := range s.listeners.warming {
		s.listeners.discard(v)
	}
	for _, v := range s.listeners.active {
		v.l.Close(0, nil)
		s.listeners.release(v)
	}
	for _, name := range s.clusters.Names() {
		s.clusters.Remove(name)
	}
	s.barrier()
}

// newListener builds a listener that is not bound yet.
func (s *Server) newListener(cfg *xdsresource.Listener) (*listener.Listener, error) {
	return listener.New(cfg, listener.Options{
		Loops: s.loops, Chains: s.chains(cfg), Secrets: s.secrets, Stats: s.stats, Logger: s.logger("conn_handler"),
		Original: s.listeners.original, AccessLogs: s.listenerLogs, Later: func(f func()) { s.control.post(f) },
		Inherited: s.inherited(), Overload: s.load, DrainGradually: !s.cfg.DrainImmediately,
	})
}

// Ready is closed when the server serves for the first time.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// State is what /ready tells.
func (s *Server) State() ServerState {
	switch {
	case s.isReady.Load() && s.failing.Load():
		return StateDraining
	case s.isReady.Load():
		return Live
	case s.began.Load():
		return Initializing
	}
	return PreInitializing
}

// Started is when the server was made.
func (s *Server) Started() time.Time { return s.started }

// Bootstrap is what the server was started with.
func (s *Server) Bootstrap() *bootstrap.Bootstrap { return s.boot }

// Stats is the store of all statistics.
func (s *Server) Stats() *stats.Store { return s.stats }

// Clusters is the manager of all clusters.
func (s *Server) Clusters() *cluster.Manager { return s.clusters }

// FailHealthcheck makes the server call itself draining, or takes that back. As in Envoy,
// connections are then told to end after each answer, but for listeners with drain_type
// MODIFY_ONLY.
func (s *Server) FailHealthcheck(fail bool) {
	s.failing.Store(fail)
	s.control.post(func() {
		for _, v := range s.listeners.active {
			if !v.cfg.DrainModifyOnly {
				v.l.Discourage(fail)
			}
		}
	})
}

// Drain says how DrainListeners goes about it.
type Drain struct {
	// Inbound restricts it to inbound listeners.
	Inbound bool
	// Graceful asks connections over the drain time and accepts meanwhile. Otherwise accepting
	// stops, and connections are asked, at once.
	Graceful bool
	// SkipExit, with Graceful: accepting does not stop in the end either.
	SkipExit bool
}

// DrainListeners asks connections to end in order and stops accepting.
func (s *Server) DrainListeners(d Drain) {
	s.control.post(func() {
		for _, v := range s.listeners.active {
			if d.Inbound && v.cfg.Direction != xdsresource.DirectionInbound {
				continue
			}
			v.l.Drain(s.cfg.DrainTime, !d.Graceful)
			switch {
			case !d.Graceful:
				s.stopListener(v)
			case !d.SkipExit:
				s.after(s.cfg.DrainTime, func() { s.stopListener(v) })
			}
		}
	})
}

func (s *Server) stopListener(v *liveListener) {
	v.l.StopAccepting()
	s.stats.Main().Inc(s.updates.listenerStopped)
}
