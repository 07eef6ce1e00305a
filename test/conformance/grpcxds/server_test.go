package grpcxds

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	xdscreds "google.golang.org/grpc/credentials/xds"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/xds"

	"github.com/lateen-mesh/lateen/test/conformance/runproxy"
)

const (
	strict = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}}
`
	// One call for all but who has a header, and one principal where there is one. Of tokens gRPC's servers know nothing.
	policies = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny, namespace: shop}
spec:
  action: DENY
  rules:
  - to: [{operation: {paths: [/grpc.health.v1.Health/Check]}}]
    when: [{key: "request.headers[x-refuse]", values: ["yes"]}]
  - from: [{source: {principals: ["*/sa/mallory"]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: allow, namespace: shop}
spec:
  rules:
  - from: [{source: {requestPrincipals: ["*"]}}]
  - to: [{operation: {methods: [POST], paths: [/grpc.health.v1.Health/*]}}]
`
)

// TestServer: gRPC's own server asks for a listener by its address, and serves by the mesh's policies.
func TestServer(t *testing.T) {
	m := &mesh{t: t, dir: t.TempDir(), grpc: runproxy.FreePort(t), http: runproxy.FreePort(t), greeterPorts: map[string]int{"v1-a": runproxy.FreePort(t)}}
	m.write("service.yaml", service)
	m.workload("v1-a")
	m.start()
	ids := newIdentities(t)
	at := fmt.Sprint("127.0.0.1:", m.greeterPorts["v1-a"])
	m.serve(at, ids)

	call := func(creds credentials.TransportCredentials, header ...string) codes.Code {
		conn, err := grpc.NewClient(at, grpc.WithTransportCredentials(creds))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), header...), 20*time.Second)
		defer cancel()
		_, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
		return status.Code(err)
	}
	is := func(what string, want codes.Code, creds credentials.TransportCredentials, header ...string) {
		t.Helper()
		m.eventually(what, func() error {
			if got := call(creds, header...); got != want {
				return fmt.Errorf("%v, want %v", got, want)
			}
			return nil
		})
	}
	is("a server without policies serves", codes.OK, insecure.NewCredentials())

	m.write("policies.yaml", policies)
	is("what is denied is refused", codes.PermissionDenied, insecure.NewCredentials(), "x-refuse", "yes")
	is("and all else served", codes.OK, insecure.NewCredentials())

	m.write("strict.yaml", strict)
	is("plaintext ends with STRICT", codes.Unavailable, insecure.NewCredentials())
	is("a member of the mesh is served", codes.OK, ids.client(t, "shop", "web"))
	is("a principal that is denied is not", codes.PermissionDenied, ids.client(t, "shop", "mallory"))
	is("nor is a stranger", codes.Unavailable, newIdentities(t).client(t, "shop", "web"))

	m.remove("strict.yaml")
	is("and plaintext is served again", codes.OK, insecure.NewCredentials())
}

// serve runs a server of gRPC's health service by xDS until the test ends.
func (m *mesh) serve(at string, ids *identities) {
	t := m.t
	t.Helper()
	cert, key := ids.files(t, "shop", "greeter")
	bootstrap, err := json.Marshal(map[string]any{
		"xds_servers": []any{map[string]any{
			"server_uri": fmt.Sprint("127.0.0.1:", m.grpc), "channel_creds": []any{map[string]string{"type": "insecure"}}, "server_features": []string{"xds_v3"},
		}},
		"node": map[string]any{
			"id":       "sidecar~127.0.0.1~greeter-v1-a.shop~shop.svc.cluster.local",
			"metadata": map[string]any{"GENERATOR": "grpc", "NAMESPACE": "shop", "INSTANCE_IPS": "127.0.0.1", "LABELS": map[string]string{"app": "greeter"}},
		},
		"certificate_providers": map[string]any{"default": map[string]any{
			"plugin_name": "file_watcher",
			"config":      map[string]string{"certificate_file": cert, "private_key_file": key, "ca_certificate_file": ids.root, "refresh_interval": "900s"},
		}},
		"server_listener_resource_name_template": "xds.istio.io/grpc/lds/inbound/%s",
	})
	if err != nil {
		t.Fatal(err)
	}
	creds, err := xdscreds.NewServerCredentials(xdscreds.ServerOptions{FallbackCreds: insecure.NewCredentials()})
	if err != nil {
		t.Fatal(err)
	}
	s, err := xds.NewGRPCServer(grpc.Creds(creds), xds.BootstrapContentsForTesting(bootstrap))
	if err != nil {
		t.Fatal(err)
	}
	healthpb.RegisterHealthServer(s, health.NewServer())
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// identities are an authority of a mesh.
type identities struct {
	dir, root string
	cert      *x509.Certificate
	key       *ecdsa.PrivateKey
	serial    int64
}

func newIdentities(t *testing.T) *identities {
	t.Helper()
	ids := &identities{dir: t.TempDir()}
	ids.root = filepath.Join(ids.dir, "root.pem")
	template := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, key := ids.sign(t, template, nil)
	var err error
	if ids.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	ids.key = key
	ids.write(t, ids.root, "CERTIFICATE", der)
	return ids
}

// sign makes a key, and a certificate for it; without an authority yet it signs itself.
func (ids *identities) sign(t *testing.T, template *x509.Certificate, uri *url.URL) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ids.serial++
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(ids.serial), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if uri != nil {
		template.URIs = []*url.URL{uri}
	}
	parent, signer := ids.cert, ids.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

func (ids *identities) write(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// files are a certificate of the mesh and its key.
func (ids *identities) files(t *testing.T, namespace, account string) (cert, key string) {
	t.Helper()
	der, private := ids.sign(t, &x509.Certificate{
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, &url.URL{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/" + namespace + "/sa/" + account})
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(ids.dir, account+".pem"), filepath.Join(ids.dir, account+".key")
	ids.write(t, cert, "CERTIFICATE", der)
	ids.write(t, key, "PRIVATE KEY", raw)
	return cert, key
}

// client shows a certificate of the mesh, and takes any: whom it calls is not what is tested.
func (ids *identities) client(t *testing.T, namespace, account string) credentials.TransportCredentials {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(ids.files(t, namespace, account))
	if err != nil {
		t.Fatal(err)
	}
	return credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true})
}
