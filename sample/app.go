package sample

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Config of one app.
type Config struct {
	// Kind is one of Kinds().
	Kind string
	// Address to listen on, "IP:PORT"; an empty IP means all addresses.
	Address string
	// Certificate and Key are files with which the app ends TLS itself; empty: it speaks in the clear.
	Certificate, Key string
	// Getenv reads the app's environment; os.Getenv in a process. Which variables matter is said at each app.
	Getenv func(string) string
	Logger *slog.Logger
}

// Kinds lists the apps that there are.
func Kinds() []string {
	return []string{"catalog", "details", "forum", "productpage", "ratings", "reviews", "tcp-echo", "users", "webapp"}
}

// DefaultPort is the port of an app whose address is not given; 0 for an unknown kind.
func DefaultPort(kind string) int {
	switch kind {
	case "webapp", "forum":
		return 8080
	case "catalog":
		return 3000
	case "details", "productpage", "ratings", "reviews":
		return 9080
	case "users":
		return 8000
	case "tcp-echo":
		return 2701
	}
	return 0
}

// Run serves one app until ctx ends.
func Run(ctx context.Context, cfg Config) error {
	ln, err := net.Listen("tcp", cfg.Address)
	if err != nil {
		return fmt.Errorf("%s: %w; choose another with --address", cfg.Kind, err)
	}
	return Serve(ctx, cfg, ln)
}

// Serve is Run on a listener that is already open; it closes it.
func Serve(ctx context.Context, cfg Config, ln net.Listener) error {
	if cfg.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(cfg.Certificate, cfg.Key)
		if err != nil {
			ln.Close()
			return fmt.Errorf("%s: %w", cfg.Kind, err)
		}
		ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}})
	}
	if cfg.Kind == "tcp-echo" {
		return serveEcho(ctx, cfg, ln)
	}
	handler, err := NewHandler(cfg)
	if err != nil {
		ln.Close()
		return err
	}
	cfg.Logger.Info("app serves", "app", cfg.Kind, "address", ln.Addr().String())
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 30 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	select {
	case err := <-served:
		return fmt.Errorf("%s: %w", cfg.Kind, err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := server.Shutdown(stop); err != nil {
		server.Close() // requests that are still held by a fault
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("%s: %w", cfg.Kind, err)
	}
	return nil
}

// NewHandler returns the HTTP side of an app: its own paths, and the control paths under /shop/.
func NewHandler(cfg Config) (http.Handler, error) {
	app := http.NewServeMux()
	switch cfg.Kind {
	case "webapp", "forum", "productpage", "reviews":
		client, err := upstreamClient(cfg.Getenv)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", cfg.Kind, err)
		}
		caller := map[string]func(*http.ServeMux, *http.Client, func(string) string){
			"webapp": webapp, "forum": forum, "productpage": productpage, "reviews": reviews,
		}
		caller[cfg.Kind](app, client, cfg.Getenv)
	case "details":
		details(app)
	case "ratings":
		ratings(app)
	case "catalog":
		catalog(app, cfg.Getenv)
	case "users":
		users(app)
	default:
		return nil, fmt.Errorf("there is no HTTP app %q; there are %v", cfg.Kind, Kinds())
	}
	c := newControl()
	mux := http.NewServeMux()
	c.routes(mux)
	mux.Handle("/", c.observe(app))
	return mux, nil
}

// upstreamClient calls other services through the proxy that HTTP_PROXY names. net/http's own ProxyFromEnvironment would skip the
// proxy for loopback addresses, which is where everything of a mesh on a laptop lives.
func upstreamClient(getenv func(string) string) (*http.Client, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: 60 * time.Second, DisableCompression: true}
	proxy := getenv("HTTP_PROXY")
	if proxy == "" {
		proxy = getenv("http_proxy")
	}
	if proxy != "" {
		u, err := url.Parse(proxy)
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("HTTP_PROXY=%q is not a URL such as http://127.0.0.1:15080", proxy)
		}
		transport.Proxy = http.ProxyURL(u)
	}
	return &http.Client{
		Transport: transport,
		// A redirect by the mesh is the caller's to see.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

func envOr(getenv func(string) string, key, otherwise string) string {
	if v := getenv(key); v != "" {
		return v
	}
	return otherwise
}
