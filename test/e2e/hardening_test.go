package e2e

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/pkg/jointoken"
)

// privateKey is how a key begins in each form in which bytes are shown, whatever kind of key it is.
var privateKey = []string{"PRIVATE KEY", base64.StdEncoding.EncodeToString([]byte("-----BEGIN PRIVATE KEY"))[:28], base64.StdEncoding.EncodeToString([]byte("-----BEGIN RSA PRIVATE"))[:28],
	base64.StdEncoding.EncodeToString([]byte("-----BEGIN EC PRIVATE"))[:24]}

// No page of a proxy's admin API, no log and no file of the mesh's folder shows a private key or a token, but those files that are for them and that only
// their owner can read.
func TestNoSecretIsShown(t *testing.T) {
	m := shared
	joinKey, err := jointoken.ReadKey(filepath.Join(m.state, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	secrets := append([]string{string(joinKey)}, privateKey...)
	m.mustGet(t, webappHost, "/api/catalog")
	for _, p := range m.run.Proxies {
		help, err := fetch(m.client, "http://"+p.Admin+"/help", "")
		if err != nil {
			t.Fatal(err)
		}
		pages := 0
		for line := range strings.Lines(help.body) {
			path, _, ok := strings.Cut(strings.TrimSpace(line), ":")
			if !ok || !strings.HasPrefix(path, "/") || strings.Contains(path, " ") { // those with a method change something
				continue
			}
			queries := []string{""}
			if path == "/config_dump" {
				queries = append(queries, "?include_eds", "?mask=bootstrap", "?resource=dynamic_active_secrets", "?resource=static_secrets")
			}
			for _, query := range queries {
				a, err := fetch(m.client, "http://"+p.Admin+path+query, "")
				if err != nil {
					t.Errorf("%s%s: %v", p.Name, path, err)
					continue
				}
				pages++
				for _, secret := range secrets {
					if strings.Contains(a.body, secret) {
						t.Errorf("%s of %s shows %.30q", path+query, p.Name, secret)
					}
				}
			}
		}
		if pages < 15 {
			t.Errorf("%s: only %d pages were looked at, of\n%s", p.Name, pages, help.body)
		}
	}
	files := 0
	if err := filepath.WalkDir(m.state, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		for _, secret := range append(secrets, "eyJhbGciOi") { // how a JWT begins
			if !bytes.Contains(raw, []byte(secret)) {
				continue
			}
			if info.Mode().Perm()&0o077 != 0 || strings.HasSuffix(path, ".log") || strings.HasSuffix(path, ".out") {
				t.Errorf("%s (mode %04o) holds %.30q", path, info.Mode().Perm(), secret)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if files < 10 {
		t.Errorf("only %d files were looked at", files)
	}
}

// Proxies speak TLS 1.3 with each other, with a key exchange that a quantum computer does not break later; others may come with 1.2, and nobody with less.
func TestWhatTLSAgreesOn(t *testing.T) {
	m := shared
	m.mustGet(t, webappHost, "/api/catalog")
	for _, of := range []string{"deploy/webapp.istioinaction", "deploy/istio-ingressgateway.istio-system"} {
		seen := 0
		for line := range strings.Lines(m.must(t, "proxy-config", "secret", of)) {
			if !strings.HasPrefix(line, "cluster.outbound|") {
				continue
			}
			seen++
			if !strings.Contains(line, "X25519MLKEM768") || strings.Contains(line, ",") || !strings.Contains(line, "TLSv1.3") {
				t.Errorf("%s: %s", of, line)
			}
		}
		if seen == 0 {
			t.Errorf("%s shows no connection", of)
		}
	}
	mine := m.join(t, "webapp").Certificate
	for name, address := range map[string]string{"a sidecar": m.address(t, "catalog-v1-1") + ":3000", "the control plane": m.run.XDSTLS} {
		for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
			err := func() error {
				conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", address, &tls.Config{
					Certificates: []tls.Certificate{mine}, InsecureSkipVerify: true, NextProtos: []string{"istio", "h2"},
					ServerName: "outbound_.80_._.catalog.istioinaction.svc.cluster.local", MinVersion: version, MaxVersion: version,
				})
				if err != nil {
					return err
				}
				defer conn.Close()
				if got := conn.ConnectionState().Version; got != version {
					return fmt.Errorf("%s was agreed on", tls.VersionName(got))
				}
				return nil
			}()
			if (err == nil) != want {
				t.Errorf("%s, %s: %v", name, tls.VersionName(version), err)
			}
		}
	}
}
