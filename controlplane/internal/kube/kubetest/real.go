package kubetest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

// AssetsVariable names the folder that holds the programs kube-apiserver and etcd, as controller-runtime's envtest has it.
const AssetsVariable = "KUBEBUILDER_ASSETS"

// Real is a real API server, with etcd and without anything that runs pods. It ends with its test.
type Real struct {
	t          *testing.T
	kubeconfig string
	client     *dynamic.DynamicClient
}

// Start starts the API server of $KUBEBUILDER_ASSETS; without it the test is skipped, and says so.
func Start(t *testing.T) *Real {
	t.Helper()
	assets := os.Getenv(AssetsVariable)
	if assets == "" {
		t.Skipf("no API server here; this makes the test run: $%s names a folder with kube-apiserver and etcd", AssetsVariable)
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	etcd, peer, api := freePort(t), freePort(t), freePort(t)
	key := filepath.Join(dir, "sa.key")
	if out, err := exec.CommandContext(t.Context(), "openssl", "genrsa", "-out", key, "2048").CombinedOutput(); err != nil {
		t.Fatalf("openssl: %v: %s", err, out)
	}
	run(t, filepath.Join(assets, "etcd"), "--data-dir", filepath.Join(dir, "etcd"), "--unsafe-no-fsync", "--log-level", "error",
		"--listen-client-urls", "http://"+etcd, "--advertise-client-urls", "http://"+etcd, "--listen-peer-urls", "http://"+peer)
	_, port, _ := net.SplitHostPort(api)
	run(t, filepath.Join(assets, "kube-apiserver"), "--etcd-servers", "http://"+etcd, "--secure-port", port, "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1",
		"--cert-dir", filepath.Join(dir, "pki"), "--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", key,
		"--service-account-signing-key-file", key, "--token-auth-file", write("tokens", "secret,admin,1,system:masters\n"), "--authorization-mode", "RBAC",
		"--service-cluster-ip-range", "10.96.0.0/16", "--disable-admission-plugins", "ServiceAccount")
	r := &Real{t: t, kubeconfig: write("kubeconfig", fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: \"https://%s\", insecure-skip-tls-verify: true}}]\n"+
		"users: [{name: u, user: {token: secret}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\ncurrent-context: c\n", api))}
	cfg, err := clientcmd.BuildConfigFromFlags("", r.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	cfg.QPS, cfg.Burst = 200, 200
	if r.client, err = dynamic.NewForConfig(cfg); err != nil {
		t.Fatal(err)
	}
	r.until("the API server answers", func(ctx context.Context) error {
		_, err := r.client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	return r
}

// Kubeconfig is the path of a kubeconfig that may do everything.
func (r *Real) Kubeconfig() string { return r.kubeconfig }

// Put applies the objects of a YAML text, their statuses included.
func (r *Real) Put(text string) {
	r.t.Helper()
	for _, doc := range strings.Split(text, "\n---\n") {
		var m map[string]any
		if err := yaml.Unmarshal([]byte(doc), &m); err != nil {
			r.t.Fatal(err)
		}
		if len(m) == 0 {
			continue
		}
		o := &unstructured.Unstructured{Object: m}
		status, hasStatus := m["status"]
		delete(m, "status")
		to := r.resource(o)
		// A kind whose definition has just come is served a moment later.
		r.until("applied: "+o.GetKind()+" "+o.GetName(), func(ctx context.Context) error {
			_, err := to.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: "test", Force: true})
			return err
		})
		if hasStatus {
			m["status"] = status
			r.until("status of "+o.GetName(), func(ctx context.Context) error {
				_, err := to.ApplyStatus(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: "test", Force: true})
				return err
			})
		}
	}
}

func (r *Real) resource(o *unstructured.Unstructured) dynamic.ResourceInterface {
	path := resourceOf(o.GetAPIVersion(), o.GetKind())
	gv, err := schema.ParseGroupVersion(o.GetAPIVersion())
	if err != nil {
		r.t.Fatal(err)
	}
	all := r.client.Resource(gv.WithResource(path[strings.LastIndexByte(path, '/')+1:]))
	if ns := o.GetNamespace(); ns != "" {
		return all.Namespace(ns)
	}
	return all
}

func (r *Real) until(what string, f func(context.Context) error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			r.t.Fatalf("%s: not within a minute: %v", what, err)
		}
	}
}

// run starts a program that ends with the test.
func run(t *testing.T, path string, args ...string) {
	t.Helper()
	cmd := exec.Command(path, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
