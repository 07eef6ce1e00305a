package controlplane

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/controlplane/internal/xdstest"
	"github.com/lateen-mesh/lateen/pkg/certtest"
)

const grantedGateway = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  gatewayClassName: istio
  addresses: [{type: Hostname, value: %[1]s.%[2]s.svc.cluster.local}]
  listeners:
  - {name: open, port: 8443, protocol: HTTPS, hostname: open.example.com, tls: {certificateRefs: [{namespace: bank, name: open}]}}
  - {name: vault, port: 8443, protocol: HTTPS, hostname: vault.example.com, tls: {certificateRefs: [{namespace: bank, name: vault}]}}
`

const doorService = `apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  selector: {gate: %[1]s}
  ports: [{name: https, port: 8443}]
`

const grant = `apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: open, namespace: bank}
spec:
  from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: shop}]
  to: [{group: "", kind: Secret, name: open}]
`

const sendsCredential = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: outside, namespace: shop}
spec:
  host: web.shop.svc.cluster.local
  workloadSelector: {matchLabels: {app: client}}
  trafficPolicy: {tls: {mode: MUTUAL, credentialName: mine}}
`

// TestSecretsOfOtherNamespaces: a Secret goes to another namespace where a ReferenceGrant lets the Gateway there refer to it, to the proxies of that Gateway, and as long as the
// grant is there. A sidecar gets what a destination rule has it show, of its own namespace.
func TestSecretsOfOtherNamespaces(t *testing.T) {
	ca := certtest.New(t)
	pair := ca.Issue(t, certtest.Names("open.example.com"))
	r := start(t, nil)
	for _, name := range []string{"bank/open", "bank/vault", "shop/mine", "bank/mine"} {
		ns, object := filepath.Split(name)
		ns = filepath.Clean(ns)
		r.write("config/"+ns+"/secret/"+object+".yaml", certtest.Secret(ns, object, "kubernetes.io/tls", map[string][]byte{"tls.crt": pair.Chain, "tls.key": pair.Key, "ca.crt": ca.PEM}))
	}
	for _, ns := range []string{"shop", "other"} {
		r.write("config/"+ns+"/service/door.yaml", fmt.Sprintf(doorService, "door", ns))
		r.write("config/"+ns+"/gateway.gateway.networking.k8s.io/door.yaml", fmt.Sprintf(grantedGateway, "door", ns))
	}
	r.write("config/bank/referencegrant/open.yaml", grant)
	r.write("config/shop/destinationrule/outside.yaml", sendsCredential)
	granted := func() bool {
		s := r.cp.pipeline.view.Load().Snapshot()
		for _, g := range s.Gateways.Values() {
			for _, srv := range g.Servers {
				if srv.TLS != nil && len(srv.TLS.Credentials) > 0 {
					return s.Credentials.Len() == 4
				}
			}
		}
		return false
	}
	if err := waitFor(t.Context(), granted); err != nil {
		t.Fatalf("the Gateway does not refer to the Secret: %v", err)
	}
	const open, vault, mine = "kubernetes-gateway://bank/open", "kubernetes-gateway://bank/vault", "kubernetes://mine"
	for _, tt := range []struct {
		name, kind, ns string
		labels         map[string]any
		ask, want      []string
	}{
		{"the Gateway that may refer to it", "router", "shop", map[string]any{"gate": "door"}, []string{open, vault}, []string{open}},
		{"by its other name", "router", "shop", map[string]any{"gate": "door"}, []string{"kubernetes://bank/open", "kubernetes://open"}, nil},
		{"a Gateway of a namespace without a grant", "router", "other", map[string]any{"gate": "door"}, []string{open, vault}, nil},
		{"another proxy of the namespace", "router", "shop", map[string]any{"gate": "window"}, []string{open}, nil},
		{"a sidecar of the namespace, with the gateway's labels", "sidecar", "shop", map[string]any{"gate": "door"}, []string{open}, nil},
		{"the Secret's own namespace, without a Gateway", "router", "bank", map[string]any{"gate": "door"}, []string{open, "kubernetes://open"}, nil},
		{"a client that a rule sends it to", "sidecar", "shop", map[string]any{"app": "client"}, []string{mine, "kubernetes://bank/mine", open}, []string{mine}},
		{"a client of the same labels elsewhere", "sidecar", "bank", map[string]any{"app": "client"}, []string{mine, "kubernetes://shop/mine"}, nil},
		{"a client that no rule sends it to", "sidecar", "shop", map[string]any{"app": "another"}, []string{mine}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) { r.wantSecrets(t, tt.kind, tt.ns, tt.labels, tt.ask, tt.want) })
	}
	// Without the grant the Secret is nobody's but the namespace's own.
	if err := os.Remove(filepath.Join(r.dir, "config/bank/referencegrant/open.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(t.Context(), func() bool { return !granted() }); err != nil {
		t.Fatal(err)
	}
	t.Run("the grant is gone", func(t *testing.T) {
		r.wantSecrets(t, "router", "shop", map[string]any{"gate": "door"}, []string{open}, nil)
	})
}

// wantSecrets asks for secrets on a stream with the identity of the namespace, and compares what comes.
func (r *running) wantSecrets(t *testing.T, kind, ns string, labels map[string]any, ask, want []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n := node(t, kind, "proxy-1", ns, "10.1.0.9", labels)
	delete(n.Metadata.Fields, "SERVICE_ACCOUNT")
	c, err := xdstest.Start(ctx, connect(t, r.addrs.SecureGRPC, r.tls(r.enrol(ns, "front"))), xdstest.Options{
		Node: n, Follow: func(xdstest.State) map[string][]string { return map[string][]string{xdstest.SDS: ask} }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Until(ctx, func(s xdstest.State) bool { return s[xdstest.SDS] != nil }); err != nil {
		t.Fatal(err)
	}
	for _, resp := range c.Responses() {
		if fmt.Sprint(resp.Names) != fmt.Sprint(want) {
			t.Errorf("it was sent %v, want %v", resp.Names, want)
		}
	}
}
