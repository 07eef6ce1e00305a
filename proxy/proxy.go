package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/pkg/version"
	"github.com/lateen-mesh/lateen/proxy/internal/admin"
	"github.com/lateen-mesh/lateen/proxy/internal/bootstrap"
	"github.com/lateen-mesh/lateen/proxy/internal/hotrestart"
	"github.com/lateen-mesh/lateen/proxy/internal/runtimekey"
	"github.com/lateen-mesh/lateen/proxy/internal/server"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Config says what a proxy runs with. Bootstrap or Overlay is required.
type Config struct {
	// Bootstrap is an Envoy bootstrap, YAML or JSON.
	Bootstrap []byte
	// Overlay is merged over Bootstrap, as Envoy's --config-yaml is.
	Overlay []byte
	// Concurrency is the number of workers; 0 means one for each core.
	Concurrency int
	// Logger takes all logs; its own level does not count, LogLevel does. Nil: text to
	// standard error.
	Logger *slog.Logger
	// LogLevel is Envoy's name of the initial level of all components; "" is "info". The
	// admin API changes it later.
	LogLevel string
	// ComponentLogLevels sets single components, "upstream:debug,http:trace".
	ComponentLogLevels string
	// ServiceNode, ServiceCluster and ServiceZone replace node.id, node.cluster and
	// node.locality.zone when they are not empty.
	ServiceNode, ServiceCluster, ServiceZone string
	// AllowUnknownStatic leaves unknown fields of the bootstrap out, with a warning for each;
	// IgnoreUnknownDynamic those of xDS resources, in silence. Default: they are refused by name.
	AllowUnknownStatic, IgnoreUnknownDynamic bool
	// AdminAddressPath is a file that gets the address of the admin API; "": none.
	AdminAddressPath string
	// StatsTags are fixed tags of all statistics.
	StatsTags []StatsTag
	// ReopenLog opens the log of the proxy itself anew, when access logs are; nil: there is
	// nothing to open.
	ReopenLog func() error
	// DrainTime is how long connections of replaced listeners may take to end. Default 10
	// minutes.
	DrainTime time.Duration
	// DrainImmediately asks connections that drain to end at their next chance; by default the
	// share of those that are asked grows over the drain time.
	DrainImmediately bool
	// FileFlushInterval is how long an access-log line may wait in memory. Default 1 second.
	FileFlushInterval time.Duration
	// FileFlushSize is how many bytes of access-log lines are written at once, whatever the interval; 2 MiB at most. Default 64 KiB.
	FileFlushSize int
	// HotRestart lets another process take the sockets over, and takes them over from the one
	// before; nil: neither.
	HotRestart *HotRestart
	// ConfigPath is shown by /server_info; nothing is read from it.
	ConfigPath string
	// Footprint keeps the process small, for a process that runs nothing but this proxy; nil: the Go
	// runtime stays as it is.
	Footprint *Footprint
}

// StatsTag is a tag with a fixed value.
type StatsTag struct{ Name, Value string }

// Proxy is a data plane, running or about to.
type Proxy struct {
	server *server.Server
	admin  *admin.Admin
	boot   *bootstrap.Bootstrap
	levels *server.Levels
	cfg    Config
	parent *hotrestart.Parent // for the process after this one; nil: none may come
	child  *hotrestart.Child  // of the process before this one; nil: there is none
	before atomic.Int64       // connections of that process, at least 1 while it is there
	quit   context.CancelFunc
	quitMu sync.Mutex

	addrMu    sync.Mutex
	adminAddr string
}

// Footprint is what keeps a proxy's process small.
type Footprint = server.Footprint

// NewFootprint sets the process up for one proxy: the Go runtime's collector, and the pages of the
// program's file, of which it gives back what initialising has touched. The earlier it is called, the better.
func NewFootprint() *Footprint { return server.NewFootprint() }

// New reads the configuration. The error lists everything in it that is wrong or not
// supported, by path. Nothing is started or bound, but for the socket of a hot restart.
func New(cfg Config) (*Proxy, error) {
	var handler slog.Handler = slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: server.LevelTrace})
	if cfg.Logger != nil {
		handler = cfg.Logger.Handler()
	}
	keys := runtimekey.NewRegistry()
	boot, dec, err := load(cfg, slog.New(handler), keys)
	if err != nil {
		return nil, err
	}
	level := slog.LevelInfo
	if cfg.LogLevel != "" {
		if level, err = server.ParseLevel(cfg.LogLevel); err != nil {
			return nil, err
		}
	}
	cfg.Bootstrap = nil // it has been read, and may be megabytes
	if cfg.Concurrency <= 0 {
		cfg.Concurrency = runtime.NumCPU()
	}
	server.SetProcs(cfg.Concurrency)
	p := &Proxy{cfg: cfg, boot: boot, levels: server.NewLevels(handler, level)}
	if err := p.levels.SetList(cfg.ComponentLogLevels); err != nil {
		return nil, err
	}
	var predecessor server.Predecessor
	var epoch uint32
	if h := cfg.HotRestart; h != nil {
		if h.ParentShutdownTime == 0 {
			h.ParentShutdownTime = 15 * time.Minute
		}
		if err := p.connect(h); err != nil {
			return nil, err
		}
		epoch = h.Epoch
		if p.child != nil {
			predecessor = p.child
		}
	}
	p.server, err = server.New(server.Config{
		Predecessor: predecessor, RestartEpoch: epoch,
		Bootstrap: boot, Decoder: dec, Keys: keys, Workers: cfg.Concurrency, Levels: p.levels, DrainTime: cfg.DrainTime, DrainImmediately: cfg.DrainImmediately,
		Footprint: cfg.Footprint, IgnoreUnknownDynamic: cfg.IgnoreUnknownDynamic, StatsTags: cfg.statsTags(),
		FileFlushInterval: cfg.FileFlushInterval, FileFlushSize: cfg.FileFlushSize,
	})
	if err != nil {
		p.closeHandOver()
		return nil, err
	}
	p.admin = admin.New(admin.Config{
		Server: p.server, Levels: p.levels, Logger: p.levels.Logger("admin"), Quit: p.Quit, ProfilePath: boot.ProfilePath,
		Options: server.CommandLine{
			Concurrency: cfg.Concurrency, ConfigPath: cfg.ConfigPath, ConfigYAML: string(cfg.Overlay), LogLevel: server.LevelName(level),
			ServiceNode: boot.Node.GetId(), ServiceCluster: boot.Node.GetCluster(),
		},
	})
	return p, nil
}

// Validate judges a configuration as New does and builds nothing. It is what --mode validate
// runs.
func Validate(cfg Config) error {
	log := cfg.Logger
	if log == nil {
		log = slog.Default()
	}
	_, _, err := load(cfg, log, nil)
	return err
}

func load(cfg Config, log *slog.Logger, keys *runtimekey.Registry) (*bootstrap.Bootstrap, *xdsresource.Decoder, error) {
	if len(cfg.Bootstrap) == 0 && len(cfg.Overlay) == 0 {
		return nil, nil, errors.New("no configuration: give a bootstrap file with -c or its text with --config-yaml")
	}
	dec := xdsresource.NewDecoder(server.Extensions()).WithRuntime(keys)
	boot, err := bootstrap.Read(bootstrap.Source{
		Base: cfg.Bootstrap, Overlay: cfg.Overlay, NodeID: cfg.ServiceNode, NodeCluster: cfg.ServiceCluster, Zone: cfg.ServiceZone, Parsing: cfg.Footprint.Parsing,
		UserAgent: "lateen", UserAgentVersion: version.Version(), AllowUnknown: cfg.AllowUnknownStatic,
		Unknown: func(p xdsresource.Problem) {
			log.Warn("the bootstrap has an unknown field, which is left out", "path", p.Path, "reason", p.Reason)
		},
		Unread: func(p xdsresource.Problem) {
			log.Warn("the bootstrap asks for what this proxy does not do", "path", p.Path, "reason", p.Reason)
		},
	}, dec)
	if cfg.IgnoreUnknownDynamic {
		dec = dec.IgnoringUnknown()
	}
	return boot, dec, err
}

func (cfg *Config) statsTags() []stats.TagRule {
	var out []stats.TagRule
	for _, t := range cfg.StatsTags {
		out = append(out, stats.TagRule{Name: t.Name, Fixed: t.Value})
	}
	return out
}

// Run serves until ctx ends, POST /quitquitquit arrives or something that the bootstrap asks
// for cannot be done, which is an error.
func (p *Proxy) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.quitMu.Lock()
	p.quit = cancel
	p.quitMu.Unlock()

	var lis net.Listener
	if p.boot.Admin != nil {
		var err error
		if lis, err = p.listenAdmin(); err != nil {
			p.abandon()
			return err
		}
	}
	var wg sync.WaitGroup
	// The admin API answers from the first moment to the last but one: it is what tells why
	// a start or an end takes long.
	adminCtx, stopAdmin := context.WithCancel(context.WithoutCancel(ctx))
	lifeCtx, endLife := context.WithCancel(context.WithoutCancel(ctx))
	api := &adminAPI{p: p, wg: &wg, ctx: adminCtx, end: cancel}
	api.run(lis)
	wg.Go(func() { p.reopenOnSignal(lifeCtx) })
	p.handOver(lifeCtx, &wg, api)
	err := p.server.Run(ctx)
	stopAdmin()
	endLife()
	wg.Wait()
	return errors.Join(err, api.err)
}

// abandon frees what New made.
func (p *Proxy) abandon() {
	p.server.Abandon()
	p.closeHandOver()
}

func (p *Proxy) closeHandOver() {
	if p.parent != nil {
		p.parent.Close()
	}
	if p.child != nil {
		p.child.Close()
	}
}

// Quit ends Run, as a signal would.
func (p *Proxy) Quit() {
	p.quitMu.Lock()
	defer p.quitMu.Unlock()
	if p.quit != nil {
		p.quit()
	}
}

// Ready is closed when the proxy serves: its listeners, and those of the control plane's
// first answer, accept connections.
func (p *Proxy) Ready() <-chan struct{} { return p.server.Ready() }

// AdminAddr is where the admin API answers, "IP:PORT" or a socket path; "" before Run has
// bound it and when there is none.
func (p *Proxy) AdminAddr() string {
	p.addrMu.Lock()
	defer p.addrMu.Unlock()
	return p.adminAddr
}

// ListenerAddrs lists what listeners are bound to, by name, as "IP:PORT". Ports that the
// system chose are in it.
func (p *Proxy) ListenerAddrs() map[string]string {
	out := map[string]string{}
	for _, l := range p.server.ListenerAddresses() {
		if a := l.Addresses[0]; a.Pipe != "" {
			out[l.Name] = a.Pipe
		} else {
			out[l.Name] = net.JoinHostPort(a.IP.String(), fmt.Sprint(a.Port))
		}
	}
	return out
}

// LowestLevel is the level from which a handler must let logs through; levels are the proxy's
// to change while it runs.
const LowestLevel = server.LevelTrace

// LevelName is Envoy's name of a log level.
func LevelName(l slog.Level) string { return server.LevelName(l) }
