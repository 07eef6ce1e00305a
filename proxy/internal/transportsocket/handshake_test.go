package transportsocket_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/pkg/certtest"
	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

// certificate is a tls_certificates entry.
func certificate(p certtest.Pair) string {
	return fmt.Sprintf("{certificate_chain: {inline_string: %q}, private_key: {inline_string: %q}}", p.Chain, p.Key)
}

func secured(t *testing.T, common, more string) *proxytest.Proxy {
	return proxytest.Start(t, proxytest.Config{
		Routes:      "- {match: {prefix: /}, direct_response: {status: 200}}",
		FilterChain: "transport_socket: {name: envoy.transport_sockets.tls, typed_config: {'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, common_tls_context: {" + common + "}" + more + "}}",
	})
}

// get asks once over a connection of its own.
func get(t *testing.T, p *proxytest.Proxy, cfg *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	cfg.InsecureSkipVerify = true
	c, err := tls.Dial("tcp", p.Addr, cfg)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer c.Close()
	if _, err := fmt.Fprint(c, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"); err != nil {
		return c.ConnectionState(), err
	}
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	if !strings.HasPrefix(string(buf[:n]), "HTTP/1.1 200") {
		return c.ConnectionState(), fmt.Errorf("%q, %w", buf[:n], err)
	}
	return c.ConnectionState(), nil
}

// TestChooseCertificate: by name, then by the kind of key.
func TestChooseCertificate(t *testing.T) {
	ca := certtest.New(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	named := func(name string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.DNSNames = []string{name} }
	}
	certs := []string{
		certificate(ca.IssueFor(t, rsaKey, named("a.example"))), certificate(ca.Issue(t, named("a.example"))),
		certificate(ca.Issue(t, named("*.wild.example"))), certificate(ca.Issue(t, named("b.example"))),
	}
	onlyRSA := []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	for scan, missed := range map[string]string{"": "a.example rsa", ", full_scan_certs_on_sni_mismatch: true": "a.example ecdsa"} {
		p := secured(t, "tls_certificates: ["+strings.Join(certs, ", ")+"]", scan)
		for _, test := range []struct {
			sni    string
			suites []uint16
			want   string
		}{
			{"a.example", nil, "a.example ecdsa"}, {"A.Example", nil, "a.example ecdsa"}, {"a.example", onlyRSA, "a.example rsa"},
			{"b.example", nil, "b.example ecdsa"}, {"x.wild.example", nil, "*.wild.example ecdsa"}, {"", nil, "a.example ecdsa"}, {"", onlyRSA, "a.example rsa"},
			{"nobody.example", nil, missed}, {"x.y.wild.example", nil, missed},
		} {
			cfg := &tls.Config{ServerName: test.sni, CipherSuites: test.suites}
			if test.suites != nil {
				cfg.MaxVersion = tls.VersionTLS12
			}
			st, err := get(t, p, cfg)
			if err != nil {
				t.Errorf("%q%s: %v", test.sni, scan, err)
				continue
			}
			kind := "rsa"
			if _, ok := st.PeerCertificates[0].PublicKey.(*ecdsa.PublicKey); ok {
				kind = "ecdsa"
			}
			if got := st.PeerCertificates[0].DNSNames[0] + " " + kind; got != test.want {
				t.Errorf("%q%s: %s, want %s", test.sni, scan, got, test.want)
			}
		}
	}
}

// TestTickets: servers with the same keys resume each other's sessions, unless they are told not to.
func TestTickets(t *testing.T) {
	cert := "tls_certificates: [" + certificate(certtest.New(t).Issue(t, nil)) + "]"
	key := func(b byte) string {
		return "{inline_bytes: " + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune(b)), 80))) + "}"
	}
	for name, test := range map[string]struct {
		first, second string
		want          bool
	}{
		"same keys":     {", session_ticket_keys: {keys: [" + key('a') + "]}", ", session_ticket_keys: {keys: [" + key('a') + "]}", true},
		"an older key":  {", session_ticket_keys: {keys: [" + key('a') + "]}", ", session_ticket_keys: {keys: [" + key('b') + ", " + key('a') + "]}", true},
		"other keys":    {", session_ticket_keys: {keys: [" + key('a') + "]}", ", session_ticket_keys: {keys: [" + key('b') + "]}", false},
		"long enough":   {", session_timeout: 100s, session_ticket_keys: {keys: [" + key('a') + "]}", ", session_timeout: 100s, session_ticket_keys: {keys: [" + key('a') + "]}", true},
		"no stateless":  {", disable_stateless_session_resumption: true", ", disable_stateless_session_resumption: true", false},
		"own, separate": {"", "", false},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			cfg := &tls.Config{ServerName: "a", MinVersion: version, MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(8)}
			if _, err := get(t, secured(t, cert, test.first), cfg); err != nil {
				t.Fatal(err)
			}
			p := secured(t, cert, test.second)
			st, err := get(t, p, cfg)
			if err != nil || st.DidResume != test.want {
				t.Errorf("%s, version %x: resumed %v, %v", name, version, st.DidResume, err)
			}
			reused := int64(0)
			if test.want {
				reused = 1
			}
			p.WantStats(map[string]int64{"listener.main.ssl.session_reused": reused, "listener.main.ssl.handshake": 1})
		}
	}
}

// TestSecretFiles: a certificate whose files are moved into place is shown to the next client, and a connection goes on.
func TestSecretFiles(t *testing.T) {
	ca, dir := certtest.New(t), t.TempDir()
	put := func(name string, content []byte) {
		t.Helper()
		tmp := filepath.Join(dir, "."+name)
		if err := os.WriteFile(tmp, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	pair := ca.Issue(t, nil)
	put("key.pem", pair.Key)
	put("cert.pem", pair.Chain)
	source := t.TempDir()
	sds := filepath.Join(source, "sds.yaml")
	text := fmt.Sprintf("resources: [{'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret, name: own, tls_certificate: {watched_directory: {path: %s}, certificate_chain: {filename: %s/cert.pem}, private_key: {filename: %s/key.pem}}}]", dir, dir, dir)
	if err := os.WriteFile(sds, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := secured(t, "tls_certificate_sds_secret_configs: [{name: own, sds_config: {path_config_source: {path: "+sds+"}}}]", "")
	serial := func() string {
		st, err := get(t, p, &tls.Config{})
		if err != nil {
			return err.Error()
		}
		return st.PeerCertificates[0].SerialNumber.String()
	}
	proxytest.Eventually(t, func() error {
		if got := serial(); got != pair.Cert.SerialNumber.String() {
			return fmt.Errorf("serial number %s", got)
		}
		return nil
	})
	old, err := tls.Dial("tcp", p.Addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	next := ca.Issue(t, nil)
	put("cert.pem", next.Chain) // beside the old key: not taken
	put("key.pem", next.Key)
	proxytest.Eventually(t, func() error {
		if got := serial(); got != next.Cert.SerialNumber.String() {
			return fmt.Errorf("serial number %s", got)
		}
		return nil
	})
	if _, err := fmt.Fprint(old, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	if n, err := old.Read(buf); !strings.HasPrefix(string(buf[:n]), "HTTP/1.1 200") {
		t.Errorf("the old connection: %q, %v", buf[:n], err)
	}
}

func TestTLSRefused(t *testing.T) {
	cert := "tls_certificates: [" + certificate(certtest.New(t).Issue(t, nil)) + "]"
	for _, test := range [][3]string{
		{cert, ", require_sni: true", "require_sni"}, {cert, ", ocsp_staple_policy: MUST_STAPLE", "tls_certificates[0]: has no ocsp_staple"}, {cert, ", session_ticket_keys: {keys: [{inline_string: short}]}", "has 5 bytes"},
		{cert + ", tls_params: {signature_algorithms: [ed25519]}", "", "signature_algorithms"},
		{strings.Replace(cert, "[{", "[{pkcs12: {inline_string: x}, ", 1), "", "pkcs12: stands beside certificate_chain"},
		{strings.Replace(cert, "[{", "[{ocsp_staple: {inline_string: x}, ", 1), "", "ocsp_staple"},
		{cert + ", validation_context: {match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: a}}]}", "", "without a trusted_ca"},
		{cert + ", validation_context: {match_typed_subject_alt_names: [{san_type: OTHER_NAME, matcher: {exact: a}}]}", "", `oid: "" is no object identifier, which OTHER_NAME needs`},
	} {
		err := proxytest.Check(proxytest.Config{
			FilterChain: "transport_socket: {name: envoy.transport_sockets.tls, typed_config: {'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, common_tls_context: {" + test[0] + "}" + test[1] + "}}",
		})
		if err == nil || !strings.Contains(err.Error(), test[2]) {
			t.Errorf("%s: %v", test[2], err)
		}
	}
}
