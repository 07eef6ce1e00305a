package decision

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/agent"
	"github.com/lateen-mesh/lateen/pkg/jointoken"
	"github.com/lateen-mesh/lateen/proxy"
)

// node is who a proxy says it is.
type node struct {
	kind            string // agent.Sidecar or agent.Router
	name, namespace string
	address         string
	labels          map[string]string
	locality        string
	metadata        map[string]any
	more            []netip.Addr // addresses, besides address
	client          bool         // a sidecar that rows call from
}

// onDemand is the node as one that asks for virtual hosts.
func (n node) onDemand() node { return n.with("LATEEN_ON_DEMAND", "true") }

// with is the node with something more in its metadata.
func (n node) with(key, value string) node {
	n.metadata = maps.Clone(n.metadata)
	if n.metadata == nil {
		n.metadata = map[string]any{}
	}
	n.metadata[key] = value
	return n
}

// nodeAt is the proxy at which a place's rows are decided.
func (w *world) nodeAt(t *testing.T, where string) node {
	t.Helper()
	if where == "gateway" {
		return node{kind: agent.Router, name: "istio-ingressgateway-1", namespace: "istio-system", address: gatewayAddress, labels: gatewayLabels()}
	}
	if name, ok := strings.CutPrefix(where, "gateway "); ok {
		for _, g := range w.table.Gateways {
			if g.Name == name {
				return node{kind: agent.Router, name: g.Name, namespace: g.Namespace, address: gatewayAddress, labels: g.Labels}
			}
		}
		t.Fatalf("there is no gateway %q", name)
	}
	if name, ok := at(where); ok {
		a := w.app(t, name)
		return node{kind: agent.Sidecar, name: a.Name, namespace: a.Namespace, address: a.Address, labels: a.Labels}
	}
	for i, c := range w.table.Clients {
		if c.Name == where {
			n := node{kind: agent.Sidecar, name: c.Name, namespace: c.Namespace, address: fmt.Sprintf("10.10.1.%d", i+1), labels: c.Labels,
				locality: c.Locality, metadata: c.Metadata, client: true}
			if c.IPv6 != "" {
				n.more = []netip.Addr{netip.MustParseAddr(c.IPv6)}
			}
			return n
		}
	}
	t.Fatalf("there is no client %q", where)
	return node{}
}

// proxyKind is a program that decides.
type proxyKind struct {
	// run runs it on a bootstrap until ctx ends. ready is closed when it serves what the control plane told it first.
	run func(ctx context.Context, t *testing.T, bootstrap []byte, ready chan<- struct{}) error
	// differs: it is not ours. Rows may say that it decides otherwise, and it may close a connection during a handshake where ours says why: it sends no
	// alert when it has no certificate, and does not wait for its alert to arrive.
	differs bool
}

// ours is Lateen's proxy in this process.
var ours = proxyKind{run: func(ctx context.Context, t *testing.T, bootstrap []byte, ready chan<- struct{}) error {
	p, err := proxy.New(proxy.Config{Bootstrap: bootstrap, Concurrency: 1, Logger: logger(t), LogLevel: "warning", FileFlushInterval: 10 * time.Millisecond})
	if err != nil {
		return err
	}
	go func() {
		select {
		case <-p.Ready():
			close(ready)
		case <-ctx.Done():
		}
	}()
	return p.Run(ctx)
}}

// joins are the parts of an agent's configuration by which it becomes a member of the mesh.
func (w *world) joins(t *testing.T, namespace, account string) agent.Config {
	t.Helper()
	key, err := jointoken.ReadKey(w.ca)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jointoken.Mint(key, namespace, account, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	tokenFile := filepath.Join(dir, "token")
	if err := os.WriteFile(tokenFile, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	return agent.Config{
		Namespace: namespace, ServiceAccount: account, Discovery: w.secure, RootCertFile: filepath.Join(w.ca, "root-cert.pem"), TokenFile: tokenFile, Dir: dir, Logger: logger(t),
	}
}

// startProxy runs a proxy with its agent, as in a pod, until the returned function is called.
func (w *world) startProxy(t *testing.T, n node, kind proxyKind) (stop func()) {
	t.Helper()
	labels := map[string]any{}
	for k, v := range n.labels {
		labels[k] = v
	}
	metadata := map[string]any{"LABELS": labels, "INTERCEPTION_MODE": "REDIRECT", "LATEEN_BIND": "0.0.0.0"}
	maps.Copy(metadata, n.metadata)
	ready := make(chan struct{})
	cfg := w.joins(t, n.namespace, "default")
	cfg.Type, cfg.Name, cfg.IP, cfg.Concurrency = n.kind, n.name, netip.MustParseAddr(n.address), 1
	cfg.AdminIP = netip.MustParseAddr("127.0.0.1") // captured connections do not reach it
	if w.table.System != "" {
		roots, err := w.table.certs.part(w.table.System, "ca", true)
		if err != nil {
			t.Fatal(err)
		}
		cfg.SystemRoots = roots
	}
	cfg.Locality, cfg.Metadata, cfg.MoreIPs = n.locality, metadata, n.more
	cfg.RunProxy = func(ctx context.Context, p agent.ProxyRun) error { return kind.run(ctx, t, p.Bootstrap, ready) }
	a, err := agent.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, n.name, a.Run, ready)
}
