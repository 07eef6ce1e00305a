package kube_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/controlplane/internal/configstore"
	"github.com/lateen-mesh/lateen/controlplane/internal/configstore/kube"
	client "github.com/lateen-mesh/lateen/controlplane/internal/kube"
	"github.com/lateen-mesh/lateen/controlplane/internal/kube/kubetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// definition is one of a kind of Istio's networking group.
func definition(kind, plural, established string, versions ...string) string {
	var list []string
	for _, v := range versions {
		name, served := strings.CutSuffix(v, "!")
		list = append(list, fmt.Sprintf("{name: %s, served: %v}", name, !served))
	}
	return fmt.Sprintf("apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: %s.networking.istio.io}\n"+
		"spec: {group: networking.istio.io, names: {kind: %s}, versions: [%s]}\nstatus: {conditions: [{type: Established, status: %q}]}",
		plural, kind, strings.Join(list, ", "), established)
}

func virtualService(version, name, rest string) string {
	return "apiVersion: networking.istio.io/" + version + "\nkind: VirtualService\n" +
		"metadata: {name: " + name + ", namespace: shop, managedFields: [{manager: kubectl}], uid: u-" + name + ", generation: 3, creationTimestamp: \"2026-11-30T10:00:00Z\"}\nspec: " + rest
}

const good = `{hosts: [web], http: [{route: [{destination: {host: web}}]}]}`

// run runs a store until the test ends and returns its batches.
func run(t *testing.T, s *kubetest.Server) (*kube.Store, func() string) {
	t.Helper()
	c, err := client.Connect(s.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	store := kube.New(kube.Options{Client: c, Mesh: true})
	ctx, cancel := context.WithCancel(t.Context())
	batches, done := make(chan configstore.Batch), make(chan error, 1)
	go func() {
		done <- store.Run(ctx, func(b configstore.Batch) {
			select {
			case batches <- b:
			case <-ctx.Done():
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return store, func() string {
		t.Helper()
		select {
		case b := <-batches:
			return describe(b)
		case <-time.After(20 * time.Second):
			t.Fatal("no batch within 20 s")
			return ""
		}
	}
}

func describe(b configstore.Batch) string {
	var out []string
	for _, o := range b.Changed {
		out = append(out, o.String())
	}
	for _, k := range b.Deleted {
		out = append(out, "-"+k.String())
	}
	if b.Mesh != nil {
		out = append(out, fmt.Sprintf("mesh %q", b.Mesh.Data))
	}
	return strings.Join(out, "; ")
}

func expect(t *testing.T, next func() string, want string) {
	t.Helper()
	if got := next(); got != want {
		t.Fatalf("batch is %q, want %q", got, want)
	}
}

// TestStore follows a cluster in which kinds and objects come, change, turn bad and go.
func TestStore(t *testing.T) {
	s := kubetest.New(t)
	s.Put("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {istio-injection: enabled}}\nspec: {finalizers: [kubernetes]}\nstatus: {phase: Active}")
	s.Put("apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop, managedFields: [{manager: x}]}\n" +
		"spec: {clusterIP: 10.96.0.7, clusterIPs: [10.96.0.7], type: LoadBalancer, sessionAffinity: None, internalTrafficPolicy: Cluster, selector: {app: web}, ports: [{name: http, port: 80, targetPort: http, protocol: TCP, nodePort: 30080}]}\n" +
		"status: {loadBalancer: {ingress: [{ip: 203.0.113.7, ipMode: VIP}]}}")
	s.Put("apiVersion: v1\nkind: Secret\nmetadata: {name: token, namespace: shop}\ntype: kubernetes.io/service-account-token\ndata: {token: eA==}")
	s.Put("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other, namespace: istio-system}\ndata: {mesh: 'not: {read'}")
	s.Put(definition("VirtualService", "virtualservices", "True", "v1alpha3", "v1beta1", "v1"))
	s.Put(definition("Gateway", "gateways", "False", "v1"))
	s.Put(virtualService("v1", "web", good))
	s.Put("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web, namespace: shop}\n" +
		"spec: {rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}\nstatus: {loadBalancer: {}}")
	s.Put("apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: mesh}\nspec: {controller: istio.io/ingress-controller}")
	store, next := run(t, s)
	expect(t, next, "Ingress shop/web; IngressClass mesh; Namespace shop; Service shop/web; VirtualService shop/web")

	// Everything is as config has it, and as the server says.
	for _, o := range store.Objects() {
		switch spec := o.Spec.(type) {
		case *corev1.Service:
			if ip := spec.Status.LoadBalancer.Ingress; len(ip) != 1 || ip[0].IP != "203.0.113.7" || spec.Spec.ClusterIP != "10.96.0.7" {
				t.Errorf("service is %+v", spec)
			}
		case *networking.VirtualService:
			if o.UID != "u-web" || o.Generation != 3 || o.Created.IsZero() || o.ResourceVersion == "" || o.APIVersion != "networking.istio.io/v1" || o.Source.File != "" || o.Position("spec.hosts") != 0 {
				t.Errorf("virtual service is %+v", o)
			}
		}
	}

	// A mistake keeps the last good form, and takes nothing with it.
	s.Put(virtualService("v1", "web", `{hosts: [web], http: [{route: [{destination: {host: web}, weight: -1}]}]}`))
	s.Put(virtualService("v1", "api", strings.ReplaceAll(good, "web", "api")))
	expect(t, next, "VirtualService shop/api")
	m := store.Mistakes()
	if len(m) != 1 || !m[0].Kept || m[0].Key.String() != "VirtualService shop/web" || !strings.HasPrefix(m[0].Error(), "spec.http[0].route[0].weight: ") {
		t.Errorf("mistakes are %+v", m)
	}
	if len(store.State().Objects) != 6 {
		t.Errorf("%d objects are in force", len(store.State().Objects))
	}
	s.Put(virtualService("v1", "web", good))
	expect(t, next, "VirtualService shop/web")
	if m := store.Mistakes(); len(m) != 0 {
		t.Errorf("mistakes are %+v", m)
	}

	// A kind that comes later.
	s.Put("apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g, namespace: shop}\nspec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}")
	s.Put(definition("Gateway", "gateways", "True", "v1beta1!", "v1"))
	expect(t, next, "Gateway shop/g")

	// The mesh configuration.
	s.Put("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {mesh: 'accessLogFile: /dev/stdout'}")
	expect(t, next, `ConfigMap istio-system/istio; mesh "accessLogFile: /dev/stdout"`)
	if v := store.State().MeshVersion; v == "" {
		t.Error("the mesh configuration has no version")
	}
	s.Delete("v1", "ConfigMap", "istio-system", "istio")
	expect(t, next, `-ConfigMap istio-system/istio; mesh ""`)

	// After a break of everything what went is gone.
	s.Cut()
	s.Delete("networking.istio.io/v1", "VirtualService", "shop", "api")
	expect(t, next, "-VirtualService shop/api")

	// A definition that goes takes its objects with it.
	s.Delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "gateways.networking.istio.io")
	expect(t, next, "-Gateway shop/g")
	if n := store.State().Number; n != 8 {
		t.Errorf("%d batches were counted", n)
	}
}
