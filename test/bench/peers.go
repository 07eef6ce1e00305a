package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/lateen-mesh/lateen/test/internal/envoybin"
)

// peer is a proxy that can be measured.
type peer struct {
	name    string
	find    func(ctx context.Context) (string, error) // its program
	version []string                                  // arguments that print the version
	config  string                                    // template of its configuration
	env     []string
	envoy   bool // takes Envoy's configuration
	mesh    bool // has Istio's filters
	ending  string
	profile string // the file that a profile of it goes to, "" for none
	args    func(program, config string) []string
}

func peers(o options) []peer {
	return append(knownPeers(o), o.extra...)
}

func knownPeers(o options) []peer {
	return []peer{
		{
			name: "lateen",
			find: func(ctx context.Context) (string, error) {
				if o.proxy != "" {
					return filepath.Abs(o.proxy)
				}
				out := filepath.Join(os.TempDir(), "lateen-bench-proxy")
				build := exec.CommandContext(ctx, "go", "build", "-pgo=proxy/cpu.pgo", "-o", out, "./cmd/lateen-proxy")
				build.Env = append(os.Environ(), "CGO_ENABLED=0") // as `make build` does
				b, err := build.CombinedOutput()
				if err != nil {
					return "", fmt.Errorf("build: %v\n%s", err, b)
				}
				return out, nil
			},
			config: envoyConfig(true), ending: "yaml", envoy: true, mesh: true, profile: o.profile,
			args: func(p, c string) []string { return []string{p, "-c", c, "--concurrency", "1", "--log-level", "error"} },
		},
		{
			name: "haproxy", find: installed("haproxy"), version: []string{"-v"},
			config: haproxyConfig, ending: "cfg",
			args: func(p, c string) []string { return []string{p, "-db", "-f", c} },
		},
		{
			name: "nginx", find: installed("nginx"), version: []string{"-v"},
			config: nginxConfig, ending: "conf",
			args: func(p, c string) []string { return []string{p, "-c", c, "-g", "daemon off;"} },
		},
		{
			name: "envoy", find: envoybin.Find, version: []string{"--version"},
			config: envoyConfig(false), ending: "yaml", envoy: true,
			args: func(p, c string) []string {
				return []string{p, "-c", c, "--concurrency", "1", "--disable-hot-restart", "-l", "error"}
			},
		},
		{
			name: "caddy", find: installed("caddy"), version: []string{"version"},
			config: caddyConfig, ending: "caddyfile", env: []string{"GOMAXPROCS=1"},
			args: func(p, c string) []string { return []string{p, "run", "--adapter", "caddyfile", "--config", c} },
		},
	}
}

// wanted reports whether the flags ask for a peer.
func (o options) wanted(p peer) bool {
	return o.only == "" || contains(strings.Split(o.only, ","), p.name) ||
		slices.ContainsFunc(o.extra, func(e peer) bool { return e.name == p.name })
}

// envoyLike are the peers that take Envoy's configuration.
func envoyLike(o options) []peer {
	return slices.DeleteFunc(peers(o), func(p peer) bool { return !p.envoy || !o.wanted(p) })
}

// start starts a peer on a configuration of its own.
func (p peer) start(ctx context.Context, dir string, o origins, cert certificate) (*process, error) {
	prog, err := p.find(ctx)
	if err != nil {
		return nil, err
	}
	at := site{
		Plain: freeAddr(), Policed: freeAddr(), TLS: freeAddr(), TCP: freeAddr(), GRPC: freeAddr(), Origin: o.http.addr, GRPCOrigin: o.grpc.addr,
		Dir: dir, PID: filepath.Join(dir, p.name+".pid"), StreamModule: streamModule(),
	}
	if p.profile != "" {
		file, err := filepath.Abs(p.profile)
		if err != nil {
			return nil, err
		}
		at.Admin, at.Profile = freeAddr(), file
	}
	conf, err := write(dir, p.name+"."+p.ending, p.config, at, cert)
	if err != nil {
		return nil, err
	}
	proc, err := launch(ctx, p.name, dir, p.env, p.args(prog, conf)...)
	if err != nil {
		return nil, err
	}
	proc.plain, proc.tls, proc.grpc, proc.admin = at.Plain, at.TLS, at.GRPC, at.Admin
	if p.envoy {
		proc.policed, proc.token = at.Policed, cert.token
	}
	if strings.Contains(p.config, ".TCP}}") && (p.config != nginxConfig || at.StreamModule != "") {
		proc.tcp = at.TCP
	}
	for _, url := range []string{"http://" + at.Plain + "/", "https://" + at.TLS + "/"} {
		if err := proc.await(ctx, url, dir); err != nil {
			proc.stop()
			return nil, err
		}
	}
	if len(p.version) > 0 {
		out, _ := exec.CommandContext(ctx, prog, p.version...).CombinedOutput()
		proc.version = versionOf(string(out))
	}
	return proc, nil
}

// write fills in a configuration's template and returns the file.
func write(dir, name, text string, at site, cert certificate) (string, error) {
	at.Cert, at.Key, at.Combined, at.KeySet = cert.cert, cert.key, cert.combined, cert.keySet
	parsed, err := template.New(name).Funcs(template.FuncMap{"port": port}).Parse(text)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	if err := parsed.Execute(&b, at); err != nil {
		return "", err
	}
	file := filepath.Join(dir, name)
	return file, os.WriteFile(file, b.Bytes(), 0o644)
}

// streamModule is nginx's module for TCP, "" where it is not installed.
func streamModule() string {
	for _, dir := range []string{"/usr/lib/nginx/modules", "/usr/lib64/nginx/modules"} {
		if _, err := os.Stat(filepath.Join(dir, "ngx_stream_module.so")); err == nil {
			return filepath.Join(dir, "ngx_stream_module.so")
		}
	}
	return ""
}

// extraPeer reads the flag -peer: NAME=KIND:COMMAND. The command gets a configuration of that
// kind (lateen, haproxy, nginx, envoy or caddy), whose file stands where it says {config}.
func extraPeer(o options, text string) (peer, error) {
	name, rest, ok := strings.Cut(text, "=")
	kind, command, ok2 := strings.Cut(rest, ":")
	words := strings.Fields(command)
	if !ok || !ok2 || name == "" || len(words) == 0 {
		return peer{}, fmt.Errorf("%q: want NAME=KIND:COMMAND, the file of its configuration being {config}", text)
	}
	for _, k := range knownPeers(o) {
		if k.name != kind {
			continue
		}
		k.name, k.version = name, nil
		k.find = func(context.Context) (string, error) { return exec.LookPath(words[0]) }
		k.args = func(program, config string) []string {
			out := []string{program}
			for _, w := range words[1:] {
				out = append(out, strings.ReplaceAll(w, "{config}", config))
			}
			return out
		}
		return k, nil
	}
	return peer{}, fmt.Errorf("%q: kind %q is none of lateen, haproxy, nginx, envoy, caddy", text, kind)
}

// versionOf picks the first word with a dotted number out of a version banner.
func versionOf(banner string) string {
	for _, w := range strings.FieldsFunc(banner, func(r rune) bool { return strings.ContainsRune(" /\n\t:,", r) }) {
		if strings.Count(w, ".") >= 1 && w[0] >= '0' && w[0] <= '9' {
			return w
		}
	}
	return ""
}

func installed(name string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		if err := lookPath(name); err != nil {
			return "", fmt.Errorf("not installed: apt-get install %s", name)
		}
		return program(name), nil
	}
}

// installPackages gets what is missing where this user may; what stays missing is named
// when it is needed.
func installPackages(ctx context.Context) {
	var missing []string
	for tool, deb := range map[string]string{"nginx": "nginx-light", "haproxy": "haproxy", "caddy": "caddy", "wrk": "wrk", "h2load": "nghttp2-client"} {
		if lookPath(tool) != nil {
			missing = append(missing, deb)
		}
	}
	if streamModule() == "" {
		missing = append(missing, "libnginx-mod-stream")
	}
	if len(missing) == 0 || os.Geteuid() != 0 {
		return
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", "apt-get update -qq && apt-get install -y -qq --no-install-recommends "+strings.Join(missing, " "))
	// The packages would start their services; a policy file that says no keeps them down.
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "could not install %s: %v: %s\n", strings.Join(missing, ", "), err, tail(out))
	}
}

type certificate struct {
	cert, key, combined string
	token, keySet       string // a token that the key has signed, and what verifies it
}

// writeCertificate makes a self-signed certificate in the forms that the peers read.
func writeCertificate(dir string) (certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return certificate{}, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return certificate{}, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return certificate{}, err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	c := certificate{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), combined: filepath.Join(dir, "both.pem")}
	if c.token, c.keySet, err = signToken(key); err != nil {
		return certificate{}, err
	}
	for path, b := range map[string][]byte{c.cert: certPEM, c.key: keyPEM, c.combined: append(certPEM, keyPEM...)} {
		// nginx's worker may run as another user; the key is worth nothing after the run.
		if err := os.WriteFile(path, b, 0o644); err != nil {
			return certificate{}, err
		}
	}
	return c, nil
}
