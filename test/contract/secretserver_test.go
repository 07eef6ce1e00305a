package contract

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
)

// secretServer serves secrets by name, each stream the one that it asks for. It knows nothing of Lateen.
type secretServer struct {
	secretv3.UnimplementedSecretDiscoveryServiceServer
	secrets map[string]*tlsv3.Secret
}

func (s *secretServer) StreamSecrets(st secretv3.SecretDiscoveryService_StreamSecretsServer) error {
	for {
		req, err := st.Recv()
		if err != nil {
			return nil
		}
		if req.GetVersionInfo() != "" {
			continue // acknowledged
		}
		secret := s.secrets[req.GetResourceNames()[0]]
		if secret == nil {
			return status.Errorf(codes.NotFound, "no secret %q", req.GetResourceNames())
		}
		a, err := anypb.New(secret)
		if err != nil {
			return err
		}
		if err := st.Send(&discoveryv3.DiscoveryResponse{TypeUrl: req.GetTypeUrl(), VersionInfo: "1", Nonce: "1", Resources: []*anypb.Any{a}}); err != nil {
			return err
		}
	}
}

// authority signs certificates of one root.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}}
	var der []byte
	a.key, der = a.sign(a.cert)
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) sign(template *x509.Certificate) (*ecdsa.PrivateKey, []byte) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	signer := a.key
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	return key, der
}

func (a *authority) issue(name string) tls.Certificate {
	key, der := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func inline(kind string, der []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})}}
}

func (a *authority) certificate(secret, name string) *tlsv3.Secret {
	c := a.issue(name)
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		a.t.Fatal(err)
	}
	return &tlsv3.Secret{Name: secret, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
		CertificateChain: inline("CERTIFICATE", c.Certificate[0]), PrivateKey: inline("PRIVATE KEY", der),
	}}}
}

func (a *authority) roots(secret string) *tlsv3.Secret {
	return &tlsv3.Secret{Name: secret, Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline("CERTIFICATE", a.cert.Raw)}}}
}

// Certificates of a provider of the mesh's settings: a gateway shows one, and lets in who has one by the provider's roots; a sidecar shows one
// to a server outside. The proxies ask the provider itself, by its cluster, which nothing but their TLS names.
func TestSecretProvider(t *testing.T) {
	a := newAuthority(t)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]*tlsv3.Secret{}
	for _, s := range []*tlsv3.Secret{
		a.certificate("sds://edge", "shop.example"), a.roots("sds://edge-cacert"), a.certificate("sds://client", "client.shop"), a.roots("sds://client-cacert"),
	} {
		secrets[s.GetName()] = s
	}
	srv := grpc.NewServer()
	secretv3.RegisterSecretDiscoveryServiceServer(srv, &secretServer{secrets: secrets})
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(lis) }()
	t.Cleanup(func() { srv.Stop(); <-done })

	bank := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("x-client", r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	bank.TLS = &tls.Config{Certificates: []tls.Certificate{a.issue("bank.example")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool()}
	bank.StartTLS()
	defer bank.Close()

	dir := t.TempDir()
	write(t, filepath.Join(dir, "mesh.yaml"), `
extensionProviders:
- {name: edge, sds: {name: edge, service: secrets.example, port: 9000}}
- {name: clients, sds: {name: client, service: observability/secrets.example, port: 9000}}
`)
	write(t, filepath.Join(dir, "config.yaml"), serviceEntry("secrets", "GRPC", lis.Addr())+serviceEntry("bank", "HTTP", bank.Listener.Addr())+`---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: https, protocol: HTTPS}, hosts: [shop.example], tls: {mode: MUTUAL, credentialName: sds://edge}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: istioinaction}
spec: {hosts: [shop.example], gateways: [istio-system/edge], http: [{route: [{destination: {host: catalog}}]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: bank, namespace: istioinaction}
spec:
  host: bank.example
  workloadSelector: {matchLabels: {app: client}}
  trafficPolicy: {tls: {mode: MUTUAL, credentialName: sds://client}}
`)
	m := startMesh(t, dir)

	ask := func(client *tls.Config) (*http.Response, error) {
		transport := &http.Transport{TLSClientConfig: client, DisableKeepAlives: true}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+m.gateway, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "shop.example"
		return (&http.Client{Transport: transport, Timeout: time.Minute}).Do(req)
	}
	known := &tls.Config{ServerName: "shop.example", RootCAs: a.pool(), Certificates: []tls.Certificate{a.issue("customer")}}
	resp, err := ask(known)
	if err != nil {
		t.Fatalf("a client with a certificate: %v", err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("x-app") == "" {
		t.Errorf("a client with a certificate: %s from %q", resp.Status, resp.Header.Get("x-app"))
	}
	if resp, err := ask(&tls.Config{ServerName: "shop.example", RootCAs: a.pool(), Certificates: []tls.Certificate{newAuthority(t).issue("customer")}}); err == nil {
		resp.Body.Close()
		t.Error("a client with a certificate of another authority got in")
	}
	got := m.send(t, testCase{Name: "bank", From: "mesh", Request: "GET http://bank.example:9000/"}, "bank")
	if got.resp.StatusCode != http.StatusOK || got.resp.Header.Get("x-client") != "client.shop" {
		t.Errorf("the server outside answered %s to %q: %s", got.resp.Status, got.resp.Header.Get("x-client"), got.body)
	}
}
