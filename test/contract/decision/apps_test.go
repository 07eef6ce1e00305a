package decision

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// rowHeader carries which question of which row a request belongs to, and doHeader what the application does with it.
const (
	rowHeader = "x-row"
	doHeader  = "x-do"
)

// seen is a request as an application saw it.
type seen struct {
	app, path, host, protocol string
	sni                       string // "" without TLS
	header                    http.Header
	head                      string // as it came, in HTTP/1 without TLS
}

// mirrored reports whether the request is a copy.
func (s *seen) mirrored() bool {
	host, _, _ := strings.Cut(s.host, ":")
	return strings.HasSuffix(host, "-shadow")
}

// origin is all applications of a world. They answer, and keep what they were asked.
type origin struct {
	mu   sync.Mutex
	seen map[string][]seen // by question
}

// asked returns what has arrived of a question.
func (o *origin) asked(question string) []seen {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seen[question]
}

// record keeps a request and returns how many of its question came before, copies apart.
func (o *origin) record(s seen) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	id, before := s.header.Get(rowHeader), 0
	for i := range o.seen[id] {
		if !o.seen[id][i].mirrored() {
			before++
		}
	}
	o.seen[id] = append(o.seen[id], s)
	return before
}

// startApps runs every application of a table.
func startApps(t *testing.T, apps []App, certs *certificates) *origin {
	o := &origin{seen: map[string][]seen{}}
	for i := range apps {
		a := &apps[i]
		for _, p := range a.Ports {
			network, address := "tcp", net.JoinHostPort(a.Address, strconv.FormatUint(uint64(p.Target), 10))
			if p.Socket != "" {
				network, address = "unix", p.Socket
			}
			l, err := net.Listen(network, address)
			if err != nil {
				t.Fatalf("%s: %v", a.Name, err)
			}
			switch p.Speaks {
			case "http":
				o.serveHTTP(t, overheard{l}, a.Name)
			case "tcp", "banner":
				serveBytes(t, l, a.Name, p.Speaks == "banner")
			case "tunnel":
				serve(t, l, a.Name, tunnels(a.Name))
			case "https":
				o.serveHTTP(t, tls.NewListener(l, serverTLS(t, p, certs, "h2", "http/1.1")), a.Name)
			case "keys":
				keys, err := certs.signers.jwks(p.Keys)
				if err != nil {
					t.Fatalf("%s: %v", a.Name, err)
				}
				if p.Certificate != "" {
					l = tls.NewListener(l, serverTLS(t, p, certs, "http/1.1"))
				}
				serve(t, l, a.Name, issuer(keys))
			case "authorizer":
				serveAuthorizer(t, l)
			case "tls":
				serveBytes(t, tls.NewListener(l, serverTLS(t, p, certs)), a.Name, false)
			default:
				t.Fatalf("%s speaks %q, which is not http, https, tcp, banner, tls, tunnel, keys or authorizer", a.Name, p.Speaks)
			}
		}
	}
	return o
}

func (o *origin) serveHTTP(t *testing.T, l net.Listener, name string) {
	serve(t, l, name, func(w http.ResponseWriter, r *http.Request) {
		s := seen{app: name, path: r.URL.RequestURI(), host: r.Host, protocol: r.Proto, header: r.Header.Clone()}
		if c, ok := r.Context().Value(overheardKey{}).(*overheardConn); ok && r.ProtoMajor == 1 {
			s.head = c.head()
		}
		if r.TLS != nil {
			s.sni = r.TLS.ServerName
		}
		before := o.record(s)
		w.Header().Set("x-app", name)
		status := http.StatusOK
		switch what, arg, _ := strings.Cut(r.Header.Get(doHeader), " "); what {
		case "":
		case "sleep":
			d, _ := time.ParseDuration(arg)
			select {
			case <-time.After(d):
			case <-r.Context().Done():
			}
		default:
			limits := map[string]int{"": 1 << 30, "once": 1, "twice": 2}
			if before < limits[arg] {
				status, _ = strconv.Atoi(what)
			}
		}
		w.WriteHeader(status)
		fmt.Fprint(w, name)
	})
}

// issuer answers with a key set, but where issuers have their discovery documents with one that says where the keys are.
func issuer(keys string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration") {
			fmt.Fprintf(w, `{"issuer": "http://%s", "jwks_uri": "http://%s/keys"}`, r.Host, r.Host)
			return
		}
		fmt.Fprint(w, keys)
	}
}

func serve(t *testing.T, l net.Listener, name string, handler http.HandlerFunc) {
	srv := &http.Server{Protocols: new(http.Protocols), ReadHeaderTimeout: 10 * time.Second, Handler: handler}
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, overheardKey{}, c)
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("%s: %v", name, err)
		}
	})
}

// tunnels answers each line that a request carries with the application's name, the request's method and whom the bytes are for.
func tunnels(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		in, out, flush := io.Reader(r.Body), io.Writer(w), rc.Flush
		if r.Method == http.MethodConnect {
			c, rw, err := rc.Hijack()
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			defer c.Close()
			in, out, flush = rw, rw, rw.Flush
			fmt.Fprint(out, "HTTP/1.1 200 OK\r\n\r\n")
		} else if err := rc.EnableFullDuplex(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		for lines := bufio.NewScanner(in); flush() == nil && lines.Scan(); {
			fmt.Fprintln(out, name, r.Method, r.Host)
		}
	}
}

// serveBytes answers each line with the application's name, or says it at once.
func serveBytes(t *testing.T, l net.Listener, name string, first bool) {
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				stop := context.AfterFunc(ctx, func() { c.Close() })
				defer stop()
				if first {
					fmt.Fprintln(c, name)
				}
				for lines := bufio.NewScanner(c); lines.Scan(); {
					fmt.Fprintln(c, name)
				}
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		l.Close()
		wg.Wait()
	})
}

// serverTLS is how an application serves TLS.
func serverTLS(t *testing.T, p AppPort, certs *certificates, alpn ...string) *tls.Config {
	t.Helper()
	cfg := &tls.Config{NextProtos: alpn}
	if p.Certificate == "" {
		cfg.Certificates = []tls.Certificate{certificate(t)}
	} else {
		i, ok := certs.issued[p.Certificate]
		if !ok {
			t.Fatalf("there is no certificate %q", p.Certificate)
		}
		cert, err := i.tls()
		if err != nil {
			t.Fatal(err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	if p.Clients != "" {
		a := certs.authorities[p.Clients]
		if a == nil {
			t.Fatalf("no certificate is signed by %q", p.Clients)
		}
		cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		cfg.ClientCAs.AddCert(a.cert)
	}
	return cfg
}

func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "application"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
