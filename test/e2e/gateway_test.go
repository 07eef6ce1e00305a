package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/samples/shop"
)

// wallet is a folder of certificates that `lateen sample certificate` makes.
type wallet struct {
	m   *mesh
	dir string
}

// secret makes a certificate and applies a Secret with it, as the manifests tell.
func (w wallet) secret(t *testing.T, host, name string, args ...string) {
	t.Helper()
	w.m.applyText(t, w.m.must(t, append([]string{"sample", "certificate", host, "--dir", w.dir, "--secret", name}, args...)...))
}

// client is who trusts the wallet's authority and connects to the gateway for port 443, whatever name it asks for. as is a certificate of the
// wallet, "" for none.
func (w wallet) client(t *testing.T, as string) *http.Client {
	t.Helper()
	cfg := &tls.Config{RootCAs: x509.NewCertPool()}
	if as != "" {
		w.m.must(t, "sample", "certificate", as, "--dir", w.dir)
		pair, err := tls.LoadX509KeyPair(filepath.Join(w.dir, as+".pem"), filepath.Join(w.dir, as+".key"))
		if err != nil {
			t.Fatal(err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	if raw, err := os.ReadFile(filepath.Join(w.dir, "ca.pem")); err != nil || !cfg.RootCAs.AppendCertsFromPEM(raw) {
		t.Fatalf("ca.pem: %v", err)
	}
	return w.m.clientWith(t, cfg)
}

func (m *mesh) clientWith(t *testing.T, cfg *tls.Config) *http.Client {
	tr := &http.Transport{
		TLSClientConfig: cfg, MaxIdleConnsPerHost: 16,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", m.run.GatewayTLS)
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// serves waits until a client gets 200 from a URL.
func serves(t *testing.T, client *http.Client, url string) {
	t.Helper()
	eventually(t, settleTime, func() error {
		a, err := fetch(client, url, "")
		if err == nil && a.code != http.StatusOK {
			err = fmt.Errorf("%d %.200s", a.code, a.body)
		}
		return err
	})
}

const (
	webappHTTPS  = "https://" + webappHost + "/api/catalog"
	catalogHTTPS = "https://" + catalogGW + "/items"
)

// O11, C5 to C7 and C10: a Secret and a Gateway are applied, and TLS works at the gateway for who trusts the authority and asks for the
// name; a second host on the port has a certificate of its own.
func TestGatewayTLS(t *testing.T) {
	m := shared
	w := wallet{m, filepath.Join(t.TempDir(), "certificates")}
	w.secret(t, webappHost, "webapp-credential")
	if out := m.apply(t, "gateway/https.yaml"); strings.Contains(out, "IST") {
		t.Errorf("apply has something against it:\n%s", out)
	}
	client := w.client(t, "")
	serves(t, client, webappHTTPS)

	if _, err := fetch(m.clientWith(t, nil), webappHTTPS, ""); !isA[*tls.CertificateVerificationError](err) {
		t.Errorf("a client that does not trust the authority: %v", err)
	}
	if a, err := fetch(client, "https://localhost/api/catalog", webappHost); err == nil {
		t.Errorf("a client that asks for another name got %d", a.code)
	}
	out := m.must(t, "proxy-config", "secret", "deploy/istio-ingressgateway.istio-system")
	if !strings.Contains(out, "kubernetes://webapp-credential") {
		t.Errorf("proxy-config secret does not show it:\n%s", out)
	}

	w.secret(t, catalogGW, "catalog-credential")
	m.apply(t, "gateway/https-catalog.yaml")
	serves(t, client, catalogHTTPS)
	serves(t, client, webappHTTPS)
}

// C6: a new certificate is shown within a second to new connections, and costs no request on old and new ones.
func TestGatewayCertificateIsRenewed(t *testing.T) {
	m := shared
	w := wallet{m, filepath.Join(t.TempDir(), "certificates")}
	w.secret(t, webappHost, "webapp-credential")
	m.apply(t, "gateway/https.yaml")
	client := w.client(t, "")
	serves(t, client, webappHTTPS)
	serial := func() (string, error) {
		c, err := tls.Dial("tcp", m.run.GatewayTLS, &tls.Config{InsecureSkipVerify: true, ServerName: webappHost})
		if err != nil {
			return "", err
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
	}
	before, err := serial()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var requests sync.WaitGroup
	failures := make(chan error, 1)
	for i := range 4 {
		requests.Go(func() {
			each := client // two keep their connections, two make new ones
			if i%2 == 1 {
				each = w.client(t, "")
				each.Transport.(*http.Transport).DisableKeepAlives = true
			}
			for ctx.Err() == nil {
				if a, err := fetch(each, webappHTTPS, ""); err != nil || a.code != http.StatusOK {
					select {
					case failures <- fmt.Errorf("%d %w", a.code, err):
					default:
					}
					return
				}
			}
		})
	}
	for range 5 {
		w.secret(t, webappHost, "webapp-credential")
		eventually(t, settleTime, func() error {
			after, err := serial()
			if err == nil && after == before {
				err = errors.New("the old certificate is shown")
			}
			before = after
			return err
		})
	}
	cancel()
	requests.Wait()
	select {
	case err := <-failures:
		t.Errorf("a request failed: %v", err)
	default:
	}
}

// C8 and C9: a redirect to TLS, and clients that must show a certificate.
func TestGatewayRedirectAndMutual(t *testing.T) {
	m := shared
	w := wallet{m, filepath.Join(t.TempDir(), "certificates")}
	w.secret(t, webappHost, "webapp-credential")
	w.secret(t, webappHost, "webapp-credential-mtls", "--mutual")
	m.apply(t, "gateway/https.yaml")
	serves(t, w.client(t, ""), webappHTTPS)

	m.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	defer func() { m.client.CheckRedirect = nil }()
	m.apply(t, "gateway/https-redirect.yaml")
	m.settle(t, webappHost, "/api/catalog", func(a answer) bool {
		return a.code == http.StatusMovedPermanently && a.header.Get("location") == "https://"+webappHost+"/api/catalog"
	})
	m.mustGet(t, "localhost", "/api/catalog") // another host of the same port is not redirected

	m.apply(t, "gateway/https-mutual.yaml")
	alice := w.client(t, "alice")
	eventually(t, settleTime, func() error {
		anybody := w.client(t, "")
		if a, err := fetch(anybody, webappHTTPS, ""); err == nil {
			return fmt.Errorf("a client without a certificate got %d", a.code)
		}
		return nil
	})
	serves(t, alice, webappHTTPS)
	stranger := wallet{m, filepath.Join(t.TempDir(), "certificates")}
	stranger.client(t, "mallory") // makes the other authority
	pair, err := tls.LoadX509KeyPair(filepath.Join(stranger.dir, "mallory.pem"), filepath.Join(stranger.dir, "mallory.key"))
	if err != nil {
		t.Fatal(err)
	}
	if a, err := fetch(m.clientWith(t, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}}), webappHTTPS, ""); err == nil {
		t.Errorf("a client of another authority got %d", a.code)
	}
}

// serve runs an app of the sample outside of the mesh.
func (m *mesh) serve(t *testing.T, app, address string, args ...string) {
	t.Helper()
	cmd := exec.Command(m.bin, append([]string{"sample", "serve", app, "--address", address}, args...)...)
	cmd.Env = append(os.Environ(), "POD_NAME="+app+" at "+address)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // ends it, or it has ended
		_ = cmd.Wait()
	})
	eventually(t, settleTime, func() error {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err
	})
}

// O12: bytes to a server that speaks first; and a TLS server on the same port is reported while that has it (C14).
func TestGatewayTCP(t *testing.T) {
	m := shared
	address := m.run.Block + ".2.2:2701"
	m.serve(t, "tcp-echo", address)
	m.apply(t, "gateway/tcp-echo.yaml")
	eventually(t, settleTime, func() error {
		c, err := net.DialTimeout("tcp", m.run.GatewayTCP, time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return err
		}
		r := bufio.NewReader(c)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return err
			}
			if strings.HasPrefix(line, "Service ") {
				break // the end of the greeting
			}
		}
		fmt.Fprintln(c, "hello")
		if line, err := r.ReadString('\n'); err != nil || line != "hello\n" {
			return fmt.Errorf("the echo is %q: %w", line, err)
		}
		return nil
	})
	text, err := shop.ForBlock("gateway/sni-passthrough.yaml", m.run.Block)
	if err != nil {
		t.Fatal(err)
	}
	if out := m.applyText(t, string(text)); !strings.Contains(out, "cannot share a port") {
		t.Errorf("apply does not report the conflict:\n%s", out)
	}
}

// O13: two servers with certificates of their own behind one port, told apart by the name that clients ask for.
func TestGatewayPassthrough(t *testing.T) {
	m := shared
	w := wallet{m, filepath.Join(t.TempDir(), "certificates")}
	for _, n := range []string{"1", "2"} {
		host := "simple-sni-" + n + ".istioinaction.io"
		m.must(t, "sample", "certificate", host, "--dir", w.dir)
		m.serve(t, "catalog", m.run.Block+".2.1"+n+":3443", "--certificate", filepath.Join(w.dir, host+".pem"), "--key", filepath.Join(w.dir, host+".key"))
	}
	m.apply(t, "gateway/sni-passthrough.yaml")
	client := w.client(t, "")
	client.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", m.run.GatewayTCP)
	}
	for _, n := range []string{"1", "2"} {
		serves(t, client, "https://simple-sni-"+n+".istioinaction.io/items")
	}
	if a, err := fetch(client, "https://simple-sni-3.istioinaction.io/items", ""); err == nil {
		t.Errorf("a name that nobody has got %d", a.code)
	}
}

// keyForms are pieces by which a key is found in whatever holds it: lines of its PEM, and the same in base64 at each of the three offsets.
func keyForms(key []byte) [][]byte {
	var out [][]byte
	for line := range bytes.Lines(key) {
		if line = bytes.TrimSpace(line); len(line) < 60 || bytes.HasPrefix(line, []byte("-----")) {
			continue
		}
		out = append(out, line)
		for offset := range 3 {
			text := base64.StdEncoding.EncodeToString(line[offset : offset+45])
			out = append(out, []byte(text[4:len(text)-4]))
		}
	}
	return out
}

// isA reports whether an error is, or wraps, one of a type.
func isA[T error](err error) bool {
	var e T
	return errors.As(err, &e)
}

// TestPrivateKeysStayPrivate: a key is in the Secret's own file, which only its owner can read, and nowhere else that the mesh writes or shows.
func TestPrivateKeysStayPrivate(t *testing.T) {
	m := shared
	w := wallet{m, filepath.Join(t.TempDir(), "certificates")}
	w.secret(t, webappHost, "webapp-credential")
	m.apply(t, "gateway/https.yaml")
	serves(t, w.client(t, ""), webappHTTPS)
	key, err := os.ReadFile(filepath.Join(w.dir, webappHost+".key"))
	if err != nil {
		t.Fatal(err)
	}
	shows := func(text []byte) bool {
		// In PEM, or in base64 of PEM as in a Secret.
		for _, part := range keyForms(key) {
			if bytes.Contains(text, part) {
				return true
			}
		}
		return false
	}
	found := 0
	err = filepath.WalkDir(m.state, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil || !shows(raw) {
			return err
		}
		found++
		if info, err := d.Info(); err != nil || info.Mode().Perm() != 0o600 || filepath.Base(filepath.Dir(path)) != "secret" {
			t.Errorf("%s holds the key, mode %v %v", path, info.Mode(), err)
		}
		return nil
	})
	if err != nil || found != 1 {
		t.Errorf("%d files hold the key, want the Secret's own: %v", found, err)
	}
	gateway := ""
	for _, p := range m.run.Proxies {
		if p.Type == "router" {
			gateway = p.Admin
		}
	}
	for _, url := range []string{
		"http://" + gateway + "/config_dump", "http://" + gateway + "/certs", "http://" + m.run.Debug + "/debug/configz",
		"http://" + m.run.Debug + "/debug/config_dump?proxyID=istio-ingressgateway-1.istio-system", "http://" + m.run.Debug + "/debug/errors",
	} {
		a, err := fetch(m.client, url, "")
		if err != nil || a.code != http.StatusOK {
			t.Fatalf("%s: %d %v", url, a.code, err)
		}
		if shows([]byte(a.body)) {
			t.Errorf("%s shows the key", url)
		}
	}
	for _, args := range [][]string{
		{"get", "gateway", "-A", "-o", "yaml"}, {"get", "secret", "-A"}, {"get", "all", "-A"}, {"proxy-config", "secret", "deploy/istio-ingressgateway.istio-system", "-o", "json"}, {"analyze", "-A"},
	} {
		if out, _ := m.lateen(args...); shows([]byte(out)) {
			t.Errorf("lateen %s shows the key", strings.Join(args, " "))
		}
	}
}
