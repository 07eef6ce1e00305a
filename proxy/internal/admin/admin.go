package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/lateen-mesh/lateen/proxy/internal/server"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Config is what the API needs.
type Config struct {
	Server *server.Server
	Levels *server.Levels
	Logger *slog.Logger
	// Options are shown by /server_info.
	Options server.CommandLine
	// Quit is called by POST /quitquitquit.
	Quit func()
	// ProfilePath is the file that /cpuprofiler writes. Default: Envoy's, /var/log/envoy/envoy.prof.
	ProfilePath string
}

// Admin serves the API.
type Admin struct {
	server *server.Server
	levels *server.Levels
	log    *slog.Logger
	opts   server.CommandLine
	quit   func()
	prof   *profiler
	pages  []page
	mux    map[string]page
}

// page is one path.
type page struct {
	path, help string
	// post is set for paths that change something: Envoy wants POST there.
	post  bool
	serve func(http.ResponseWriter, *http.Request)
}

// New returns the API; it starts nothing.
func New(cfg Config) *Admin {
	a := &Admin{server: cfg.Server, levels: cfg.Levels, log: cfg.Logger, opts: cfg.Options, quit: cfg.Quit, prof: newProfiler(cfg.ProfilePath), mux: map[string]page{}}
	a.pages = []page{
		{"/", "Admin home page", false, a.home},
		{"/certs", "print certs on machine", false, a.certs},
		{"/clusters", "upstream cluster status (format: text or json)", false, a.clusters},
		{"/config_dump", "dump current configs (resource, name_regex, include_eds)", false, a.configDump},
		{"/cpuprofiler", "enable/disable the CPU profiler (enable=y|n)", true, a.prof.cpu},
		{"/drain_listeners", "drain listeners (graceful, skip_exit, inboundonly)", true, a.drain},
		{"/healthcheck/fail", "cause the server to fail health checks", true, a.healthcheck(true)},
		{"/healthcheck/ok", "cause the server to pass health checks", true, a.healthcheck(false)},
		{"/heap_dump", "dump current heap profile", false, a.prof.heapDump},
		{"/help", "print out list of admin commands", false, a.help},
		{"/init_dump", "what is still warming", false, a.initDump},
		{"/listeners", "print listener info (format: text or json)", false, a.listeners},
		{"/logging", "query or change logging levels (level, paths, or <logger>=<level>)", true, a.logging},
		{"/memory", "print current allocation/heap usage", false, a.memory},
		{"/quitquitquit", "exit the server", true, a.quitQuitQuit},
		{"/ready", "print server state, return 200 if LIVE, otherwise return 503", false, a.ready},
		{"/reopen_logs", "reopen access logs", true, a.reopenLogs},
		{"/reset_counters", "reset all counters to zero", true, a.resetCounters},
		{"/runtime", "print runtime values", false, a.runtime},
		{"/runtime_modify", "Adds or modifies runtime values as passed in query parameters. To delete a previously added key, use an empty string as the value. Note that deletion only applies to overrides added via this endpoint; values loaded from disk can be modified via override but not deleted. E.g. ?key1=value1&key2=value2...", true, a.runtimeModify},
		{"/server_info", "print server version/status information", false, a.serverInfo},
		{"/stats", "print server stats (usedonly, filter, type, format: text, json or prometheus)", false, a.stats},
		{"/stats/prometheus", "print server stats in prometheus format (usedonly, filter)", false, a.prometheus},
	}
	for _, p := range a.pages {
		a.mux[p.path] = p
	}
	return a
}

// ServeHTTP dispatches on the exact path.
func (a *Admin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-cache, max-age=0")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Server", "envoy")
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	p, ok := a.mux[r.URL.Path]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprintf(w, "invalid path. ")
		a.help(w, r)
		return
	}
	if p.post && r.Method != http.MethodPost {
		http.Error(w, fmt.Sprintf("Method %s not allowed, POST required.", r.Method), http.StatusMethodNotAllowed)
		return
	}
	if !p.post && r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodPost {
		http.Error(w, fmt.Sprintf("Method %s not allowed", r.Method), http.StatusMethodNotAllowed)
		return
	}
	p.serve(w, r)
}

// Listen opens the API's socket. A Unix socket that nobody listens on any more is replaced.
func Listen(addr xdsresource.Address) (net.Listener, error) {
	if addr.Pipe == "" {
		return net.Listen("tcp", net.JoinHostPort(addr.IP.String(), strconv.Itoa(int(addr.Port))))
	}
	lis, err := net.Listen("unix", addr.Pipe)
	if errors.Is(err, syscall.EADDRINUSE) && addr.Pipe[0] != '@' {
		if c, derr := net.Dial("unix", addr.Pipe); derr == nil {
			c.Close()
		} else if errors.Is(derr, syscall.ECONNREFUSED) && os.Remove(addr.Pipe) == nil {
			lis, err = net.Listen("unix", addr.Pipe)
		}
	}
	if err == nil && addr.PipeMode != 0 && addr.Pipe[0] != '@' {
		err = os.Chmod(addr.Pipe, os.FileMode(addr.PipeMode))
	}
	return lis, err
}

// Run serves until ctx ends.
func (a *Admin) Run(ctx context.Context, lis net.Listener) error {
	c := newCounts(a.server.Stats())
	srv := &http.Server{
		Handler: c.handler(a), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-ctx.Done()
		// Whoever asked this process to quit through this API still gets its answer.
		short, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if srv.Shutdown(short) != nil {
			_ = srv.Close()
		}
	}()
	err := srv.Serve(c.connections(lis))
	<-done
	a.prof.end()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (a *Admin) help(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "admin commands are:")
	for _, p := range a.pages {
		method := ""
		if p.post {
			method = " (POST)"
		}
		fmt.Fprintf(w, "  %s%s: %s\n", p.path, method, p.help)
	}
	fmt.Fprintf(w, "  resources of /config_dump?resource=: %s\n", strings.Join(resourceFields, ", "))
}

// home is a plain list of links; a browser gets where it wants.
func (a *Admin) home(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	fmt.Fprint(w, "<!DOCTYPE html><title>Lateen proxy admin</title><table>")
	for _, p := range a.pages {
		if p.post {
			fmt.Fprintf(w, "<tr><td><form action=%q method=post><button>%s</button></form><td>%s", p.path[1:], p.path[1:], p.help)
			continue
		}
		fmt.Fprintf(w, "<tr><td><a href=%q>%s</a><td>%s", "."+p.path, strings.TrimPrefix(p.path, "/"), p.help)
	}
	fmt.Fprintln(w, "</table>")
}

func (a *Admin) ready(w http.ResponseWriter, _ *http.Request) {
	state := a.server.State()
	if state != server.Live {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprintln(w, state)
}

// logging serves POST /logging: levels of all loggers, after the change that was asked for.
func (a *Admin) logging(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if len(q) > 1 {
		http.Error(w, "usage: /logging?<name>=<level> (change single level)\nusage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\nusage: /logging?level=<level> (change all levels)\nusage: /logging (query levels)", http.StatusBadRequest)
		return
	}
	for name, values := range q {
		var err error
		switch name {
		case "level":
			err = a.levels.Set("", values[0])
		case "paths":
			err = a.levels.SetList(values[0])
		default:
			err = a.levels.Set(name, values[0])
		}
		if err != nil {
			http.Error(w, "error: "+err.Error(), http.StatusBadRequest)
			return
		}
	}
	fmt.Fprintln(w, "active loggers:")
	a.levels.Each(func(name, level string) { fmt.Fprintf(w, "  %s: %s\n", name, level) })
}

func (a *Admin) drain(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	d := server.Drain{Inbound: q.Has("inboundonly"), Graceful: q.Has("graceful"), SkipExit: q.Has("skip_exit")}
	if d.SkipExit && !d.Graceful {
		http.Error(w, "skip_exit requires graceful", http.StatusBadRequest)
		return
	}
	a.server.DrainListeners(d)
	fmt.Fprintln(w, "OK")
}

func (a *Admin) healthcheck(fail bool) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		a.server.FailHealthcheck(fail)
		fmt.Fprintln(w, "OK")
	}
}

func (a *Admin) quitQuitQuit(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "OK")
	a.quit()
}

func compileFull(re string) (*regexp.Regexp, error) { return regexp.Compile("^(?:" + re + ")$") }

func protoName(s string) protoreflect.Name { return protoreflect.Name(s) }

// format reads ?format=, which must be one of those allowed; the first is the default.
func format(w http.ResponseWriter, r *http.Request, allowed ...string) (string, bool) {
	f := r.URL.Query().Get("format")
	if f == "" {
		return allowed[0], true
	}
	if !slices.Contains(allowed, f) {
		http.Error(w, fmt.Sprintf("format %q is not known here: use %s", f, strings.Join(allowed, ", ")), http.StatusBadRequest)
		return "", false
	}
	return f, true
}
