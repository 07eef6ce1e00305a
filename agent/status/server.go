package status

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"

	"github.com/lateen-mesh/lateen/pkg/lifecycle"
)

// timeoutHeader is how Prometheus says how long it waits, in seconds.
const timeoutHeader = "X-Prometheus-Scrape-Timeout-Seconds"

// Bounds of the server and of a scrape.
const (
	defaultTimeout = 10 * time.Second // Prometheus' own default (scrape_timeout)
	maxTimeout     = time.Minute
	readyTimeout   = 2 * time.Second
	headerTimeout  = 5 * time.Second
	idleTimeout    = 90 * time.Second // longer than most scrape intervals, so that scrapers keep their connection
	maxHeader      = 16 << 10
	maxConnections = 64
	maxScrapes     = 4 // at once: an application that asks the agent in turn comes to an end
)

// Config of a Server.
type Config struct {
	// Address is where it listens; port 0 for any.
	Address netip.AddrPort
	// Proxy is the proxy's admin API, which has its metrics.
	Proxy netip.AddrPort
	// Application has metrics, and is at Target, HOST:PORT; nil: it has none.
	Application *Application
	Target      string
	// Compress: answers are compressed for those who take that.
	Compress bool
	// Ready says why the proxy does not serve.
	Ready  func(context.Context) error
	Logger *slog.Logger
}

// Server is an agent's status port.
type Server struct {
	cfg      Config
	listener net.Listener
	http     http.Server
	app      *http.Client
	proxy    *http.Transport
	slots    chan struct{} // one for each scrape
	handlers sync.WaitGroup
	merge    atomic.Bool

	scrapes, failures atomic.Uint64
	proxyFailures     atomic.Uint64
}

// Listen opens the port. The server belongs to the caller: it must Run or Close.
func Listen(cfg Config) (*Server, error) {
	l, err := net.Listen("tcp", cfg.Address.String())
	if err != nil {
		return nil, fmt.Errorf("status port: %w", err)
	}
	s := &Server{
		cfg: cfg, listener: l, app: applicationClient(), slots: make(chan struct{}, maxScrapes),
		proxy: &http.Transport{DisableKeepAlives: true, DisableCompression: true},
	}
	s.merge.Store(true)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stats/prometheus", s.stats)
	mux.HandleFunc("GET /metrics", s.stats)
	mux.HandleFunc("GET /healthz/ready", s.ready)
	s.http = http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.handlers.Add(1)
			defer s.handlers.Done()
			mux.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, WriteTimeout: 2 * maxTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// SetMerge says whether the application's metrics are part of what scrapers get (enablePrometheusMerge); at first they are.
func (s *Server) SetMerge(on bool) {
	if s.merge.Swap(on) != on && s.cfg.Application != nil {
		s.cfg.Logger.Info("merging of the application's metrics (enablePrometheusMerge)", "on", on)
	}
}

// Close closes a server that does not run.
func (s *Server) Close() error { return s.listener.Close() }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	defer s.handlers.Wait()
	g := lifecycle.NewGroup(ctx)
	s.http.BaseContext = func(net.Listener) context.Context { return g.Context() }
	g.Go("end", func(ctx context.Context) error {
		<-ctx.Done()
		return s.http.Close() // scrapes have ended with ctx
	})
	g.Go("serve", func(context.Context) error {
		defer g.Stop()
		err := s.http.Serve(netutil.LimitListener(s.listener, maxConnections))
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	})
	return g.Wait()
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if err := s.cfg.Ready(ctx); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

// stats answers with everything there is. The application's metrics come last, since OpenMetrics ends with a mark, and give the answer its form.
func (s *Server) stats(w http.ResponseWriter, r *http.Request) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		http.Error(w, fmt.Sprintf("%d scrapes are under way", maxScrapes), http.StatusServiceUnavailable)
		return
	}
	s.scrapes.Add(1)
	timeout := scrapeTimeout(r.Header)
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	var own []byte
	format := textFormat
	if s.cfg.Application != nil && s.merge.Load() {
		// Not all of the scraper's time: an application that takes too long must not take the proxy's metrics with it.
		text, as, err := s.cfg.Application.scrape(ctx, s.app, s.cfg.Target, r.Header, timeout*8/10)
		if err != nil {
			s.failures.Add(1)
			s.cfg.Logger.Warn("the application's metrics are left out", "error", err)
		} else {
			own, format = text, as
		}
	}
	proxy, err := s.ask(ctx, r.URL.RawQuery)
	if err != nil {
		s.proxyFailures.Add(1)
		s.cfg.Logger.Warn("the proxy's metrics are left out", "error", err)
	} else {
		defer proxy.Close()
	}
	w.Header().Set("Content-Type", format)
	out := s.compressed(w, r)
	if _, err := out.Write(s.counters()); err != nil {
		return // whoever asked has gone
	}
	if proxy != nil {
		if _, err := io.Copy(out, proxy); err != nil {
			s.proxyFailures.Add(1)
			s.cfg.Logger.Warn("the proxy's metrics are incomplete", "error", err)
			panic(http.ErrAbortHandler) // half a line is a wrong number: the scraper has to see that this is no answer
		}
	}
	_, _ = out.Write(own) // who has gone needs none
	_ = out.Close()
}

// ask is the proxy's metrics, with the scraper's query (usedonly, filter), for the caller to close.
func (s *Server) ask(ctx context.Context, query string) (io.ReadCloser, error) {
	url := "http://" + s.cfg.Proxy.String() + "/stats/prometheus"
	if query != "" {
		url += "?" + query
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.proxy.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("/stats/prometheus answers %d", resp.StatusCode)
	}
	return resp.Body, nil
}

// counters are those of the agent itself, by Istio's names.
func (s *Server) counters() []byte {
	b := []byte("# TYPE istio_agent_scrapes_total counter\nistio_agent_scrapes_total ")
	b = strconv.AppendUint(b, s.scrapes.Load(), 10)
	b = append(b, "\n# TYPE istio_agent_scrape_failures_total counter\n"...)
	for _, c := range []struct {
		kind string
		n    uint64
	}{{"application", s.failures.Load()}, {"envoy", s.proxyFailures.Load()}} {
		b = append(b, `istio_agent_scrape_failures_total{type="`+c.kind+`"} `...)
		b = append(strconv.AppendUint(b, c.n, 10), '\n')
	}
	return b
}

// scrapeTimeout is how long the scraper waits, within bounds.
func scrapeTimeout(h http.Header) time.Duration {
	seconds, err := strconv.ParseFloat(h.Get(timeoutHeader), 64)
	if err != nil || math.IsNaN(seconds) || seconds <= 0 {
		return defaultTimeout
	}
	return time.Duration(min(seconds, maxTimeout.Seconds()) * float64(time.Second))
}
