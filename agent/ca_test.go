package agent

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	securitypb "istio.io/api/security/v1alpha1"
)

// testCA is a certificate authority that a test serves on loopback. It checks nothing but the token, and remembers how it was asked.
type testCA struct {
	securitypb.UnimplementedIstioCertificateServiceServer
	root    *x509.Certificate
	rootPEM []byte
	key     *ecdsa.PrivateKey
	ttl     time.Duration
	address string

	mu     sync.Mutex
	refuse error // answered instead of a certificate
	asked  []how
}

type how struct {
	token, identity string
}

func startCA(t *testing.T, ttl time.Duration) *testCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	ca := &testCA{key: key, ttl: ttl}
	ca.root, ca.rootPEM = ca.sign(t, template, template, &key.PublicKey)

	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf, _ := ca.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{"istiod.istio-system.svc"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, ca.root, &serverKey.PublicKey)
	pool := x509.NewCertPool()
	pool.AddCert(ca.root)
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: serverKey}},
		ClientAuth:   tls.VerifyClientCertIfGiven, ClientCAs: pool,
	})))
	securitypb.RegisterIstioCertificateServiceServer(server, ca)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ca.address = ln.Addr().String()
	done := make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	return ca
}

func (ca *testCA) sign(t *testing.T, template, parent *x509.Certificate, public *ecdsa.PublicKey) (*x509.Certificate, []byte) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// issue signs a public key for a URI.
func (ca *testCA) issue(uri *url.URL, public any) ([]string, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), URIs: []*url.URL{uri},
		NotBefore: time.Now().Add(-2 * time.Minute), NotAfter: time.Now().Add(ca.ttl), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.root, public, ca.key)
	if err != nil {
		return nil, err
	}
	return []string{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(ca.rootPEM)}, nil
}

func (ca *testCA) CreateCertificate(ctx context.Context, req *securitypb.IstioCertificateRequest) (*securitypb.IstioCertificateResponse, error) {
	var h how
	if md, ok := metadata.FromIncomingContext(ctx); ok && len(md.Get("authorization")) > 0 {
		h.token = md.Get("authorization")[0]
	}
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(info.State.PeerCertificates) > 0 {
			h.identity = info.State.PeerCertificates[0].URIs[0].String()
		}
	}
	ca.mu.Lock()
	ca.asked = append(ca.asked, h)
	refuse := ca.refuse
	ca.mu.Unlock()
	if refuse != nil {
		return nil, refuse
	}
	block, _ := pem.Decode([]byte(req.GetCsr()))
	if block == nil {
		return nil, status.Error(codes.InvalidArgument, "no PEM")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err == nil && len(csr.URIs) != 1 {
		err = errors.New("want one URI")
	}
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	chain, err := ca.issue(csr.URIs[0], csr.PublicKey)
	return &securitypb.IstioCertificateResponse{CertChain: chain}, err
}

func (ca *testCA) requests() []how {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return append([]how(nil), ca.asked...)
}

func (ca *testCA) setRefuse(err error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.refuse = err
}

// files writes the root and a token to a folder.
func (ca *testCA) files(t *testing.T) (root, token string) {
	t.Helper()
	dir := t.TempDir()
	root, token = filepath.Join(dir, "root-cert.pem"), filepath.Join(dir, "token")
	for path, content := range map[string][]byte{root: ca.rootPEM, token: []byte("the-token\n")} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root, token
}
