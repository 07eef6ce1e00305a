package e2e

import (
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
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/agent"
	"github.com/lateen-mesh/lateen/pkg/jointoken"
	"github.com/lateen-mesh/lateen/pkg/spiffe"
)

// join makes the test a workload of the mesh, with a join token as `lateen demo` mints them.
func (m *mesh) join(t *testing.T, serviceAccount string) *agent.Identity {
	t.Helper()
	id, err := m.joinIn(t.Context(), t.TempDir(), serviceAccount)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// joinIn is join with a folder for the token.
func (m *mesh) joinIn(ctx context.Context, dir, serviceAccount string) (*agent.Identity, error) {
	key, err := jointoken.ReadKey(filepath.Join(m.state, "ca"))
	if err != nil {
		return nil, err
	}
	token, err := jointoken.Mint(key, "istioinaction", serviceAccount, time.Now(), time.Minute)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return agent.Join(ctx, agent.Config{
		Namespace: "istioinaction", ServiceAccount: serviceAccount, Discovery: m.run.XDSTLS, RootCertFile: filepath.Join(m.state, "ca", "root-cert.pem"), TokenFile: file,
	})
}

// foreign is a certificate with the name of a workload, signed by another authority.
func foreign(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	uri, err := url.Parse("spiffe://cluster.local/ns/istioinaction/sa/webapp")
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"elsewhere"}}, URIs: []*url.URL{uri},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// exchange sends one request on a connection and returns the answer's first line.
func exchange(conn net.Conn) (string, error) {
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, "GET /items HTTP/1.1\r\nhost: catalog.istioinaction\r\nconnection: close\r\n\r\n"); err != nil {
		return "", err
	}
	raw, err := io.ReadAll(conn)
	line, _, ok := strings.Cut(string(raw), "\r\n")
	if !ok && err == nil {
		err = errors.New("closed without an answer")
	}
	if ok {
		err = nil
	}
	return line, err
}

func plaintext(address string) (string, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return "", err
	}
	return exchange(conn)
}

// withCertificate asks over TLS, as a sidecar would. The server's identity, when the handshake got that far, is returned too.
func withCertificate(address string, certs ...tls.Certificate) (line string, server spiffe.ID, err error) {
	raw, err := net.Dial("tcp", address)
	if err != nil {
		return "", server, err
	}
	conn := tls.Client(raw, &tls.Config{
		Certificates: certs, InsecureSkipVerify: true, // the test looks at the certificate itself
		NextProtos: []string{"istio-http/1.1", "istio", "http/1.1"}, ServerName: "outbound_.80_._.catalog.istioinaction.svc.cluster.local",
	})
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return "", server, err
	}
	server, err = spiffe.FromCertificate(conn.ConnectionState().PeerCertificates[0])
	if err != nil {
		conn.Close()
		return "", server, err
	}
	line, err = exchange(conn)
	return line, server, err
}

func TestMutualTLS(t *testing.T) {
	m := shared
	address := m.address(t, "catalog-v1-1") + ":3000"
	if line, err := plaintext(address); err != nil || !strings.Contains(line, "200") {
		t.Errorf("plaintext under PERMISSIVE: %q %v", line, err)
	}
	m.apply(t, "security/peerauthentication-strict.yaml")
	eventually(t, settleTime, func() error {
		if line, err := plaintext(address); err == nil {
			return fmt.Errorf("plaintext under STRICT: %q", line)
		}
		return nil
	})
	for range 20 {
		if line, err := plaintext(address); err == nil {
			t.Fatalf("plaintext under STRICT: %q", line)
		}
	}
	if line, _, err := withCertificate(address); err == nil {
		t.Errorf("without a certificate: %q", line)
	}
	if line, _, err := withCertificate(address, foreign(t)); err == nil {
		t.Errorf("with another authority's certificate: %q", line)
	}
	line, server, err := withCertificate(address, m.join(t, "webapp").Certificate)
	if err != nil || !strings.Contains(line, "200") {
		t.Errorf("with a certificate of the mesh: %q %v", line, err)
	}
	if want := "spiffe://cluster.local/ns/istioinaction/sa/catalog"; server.String() != want {
		t.Errorf("the server is %s, want %s", server, want)
	}
	for range 50 {
		m.mustGet(t, webappHost, "/api/catalog") // the shop itself goes on
	}
}

// A workload may have its own identity only.
func TestIdentityCannotBeChosen(t *testing.T) {
	m := shared
	key, err := jointoken.ReadKey(filepath.Join(m.state, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jointoken.Mint(key, "istioinaction", "forum", time.Now(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	for name, content := range map[string]string{"another's token": token, "no token of ours": "x.y.z"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := agent.Join(t.Context(), agent.Config{
			Namespace: "istioinaction", ServiceAccount: "catalog", Discovery: m.run.XDSTLS, RootCertFile: filepath.Join(m.state, "ca", "root-cert.pem"), TokenFile: file,
		})
		if err == nil {
			t.Errorf("%s: catalog's certificate was given out", name)
		}
	}
}
