package sample

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMakeCertificate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certificates")
	first, err := MakeCertificate(dir, "webapp.example.com")
	if err != nil {
		t.Fatal(err)
	}
	second, err := MakeCertificate(dir, "alice")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	authority, err := os.ReadFile(first.AuthorityFile)
	if err != nil || !roots.AppendCertsFromPEM(authority) || string(authority) != string(second.Authority) {
		t.Fatalf("one authority for both: %v", err)
	}
	for name, c := range map[string]*Certificate{"webapp.example.com": first, "alice": second} {
		pair, err := tls.LoadX509KeyPair(c.ChainFile, c.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if st, err := os.Stat(c.KeyFile); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", c.KeyFile, st.Mode(), err)
		}
	}
	for _, bad := range []string{"", "a/b", "..", "ca"} {
		if _, err := MakeCertificate(dir, bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	// An authority whose key is another's is not used.
	if err := os.WriteFile(filepath.Join(dir, "ca.key"), second.Key, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := MakeCertificate(dir, "bob"); err == nil || !strings.Contains(err.Error(), "is not the key of ca.pem") {
		t.Errorf("a key of another: %v", err)
	}
}

// TestAppEndsTLS: an app with a certificate speaks TLS itself.
func TestAppEndsTLS(t *testing.T) {
	c, err := MakeCertificate(t.TempDir(), "echo.example.com")
	if err != nil {
		t.Fatal(err)
	}
	addr := startWith(t, Config{Kind: "tcp-echo", Certificate: c.ChainFile, Key: c.KeyFile, Getenv: env("POD_NAME", "echo-1")})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.Authority)
	conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, ServerName: "echo.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.HasPrefix(line, "Welcome") {
		t.Errorf("%q %v", line, err)
	}
}
