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
	ending  string
	args    func(program, config string) []string
}

// site is what a peer's configuration is made of.
type site struct {
	Plain, TLS, Origin            string
	PlainPort, TLSPort            string
	OriginPort                    string
	Cert, Key, Combined, Dir, PID string
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
				b, err := exec.CommandContext(ctx, "go", "build", "-o", out, "./cmd/lateen-proxy").CombinedOutput()
				if err != nil {
					return "", fmt.Errorf("build: %v\n%s", err, b)
				}
				return out, nil
			},
			config: envoyConfig(true), ending: "yaml",
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
			config: envoyConfig(false), ending: "yaml",
			args: func(p, c string) []string {
				return []string{p, "-c", c, "--concurrency", "1", "--disable-hot-restart", "-l", "error"}
			},
		},
	}
}

func (p peer) start(ctx context.Context, dir, origin string, cert certificate) (*process, error) {
	prog, err := p.find(ctx)
	if err != nil {
		return nil, err
	}
	plain, secure := freeAddr(), freeAddr()
	conf := filepath.Join(dir, p.name+"."+p.ending)
	var b bytes.Buffer
	parsed, err := template.New(p.name).Parse(p.config)
	if err != nil {
		return nil, err
	}
	err = parsed.Execute(&b, site{
		Plain: plain, TLS: secure, Origin: origin,
		PlainPort: port(plain), TLSPort: port(secure), OriginPort: port(origin),
		Cert: cert.cert, Key: cert.key, Combined: cert.combined,
		Dir: dir, PID: filepath.Join(dir, p.name+".pid"),
	})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(conf, b.Bytes(), 0o644); err != nil {
		return nil, err
	}
	proc, err := launch(ctx, p.name, dir, p.args(prog, conf)...)
	if err != nil {
		return nil, err
	}
	proc.plain, proc.tls = plain, secure
	for _, url := range []string{"http://" + plain + "/", "https://" + secure + "/"} {
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

// extraPeer reads the flag -peer: NAME=KIND:COMMAND. The command gets a configuration of that
// kind (lateen, haproxy, nginx or envoy), whose file stands where it says {config}.
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
	return peer{}, fmt.Errorf("%q: kind %q is none of lateen, haproxy, nginx, envoy", text, kind)
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
	for tool, deb := range map[string]string{"nginx": "nginx-light", "haproxy": "haproxy", "wrk": "wrk", "h2load": "nghttp2-client"} {
		if lookPath(tool) != nil {
			missing = append(missing, deb)
		}
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

// startOrigin starts nginx as the server behind all proxies: the cheapest one at hand, so
// that the proxies are what is measured.
func startOrigin(ctx context.Context, dir string) (*process, error) {
	addr := freeAddr()
	conf := filepath.Join(dir, "origin.conf")
	text := fmt.Sprintf(originConfig, filepath.Join(dir, "origin.pid"), addr, strings.Repeat("0123456789", 20))
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return nil, err
	}
	p, err := launch(ctx, "origin", dir, program("nginx"), "-c", conf, "-g", "daemon off;")
	if err != nil {
		return nil, err
	}
	p.addr = addr
	if err := p.await(ctx, "http://"+addr+"/", dir); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

type certificate struct{ cert, key, combined string }

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
	c := certificate{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "both.pem")}
	for path, b := range map[string][]byte{c.cert: certPEM, c.key: keyPEM, c.combined: append(certPEM, keyPEM...)} {
		// nginx's worker may run as another user; the key is worth nothing after the run.
		if err := os.WriteFile(path, b, 0o644); err != nil {
			return certificate{}, err
		}
	}
	return c, nil
}
