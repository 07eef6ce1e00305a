package controlplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	meshpb "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/controlplane/internal/xdsserver"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdstest"
)

// A new root is told to agents, and signs once the agent of every connected proxy has taken it; a proxy whose agent says nothing is waited for.
func TestNewRootWaitsForEveryProxy(t *testing.T) {
	// The moment between the last word and the first certificate is a tenth of the lifetime, the wait for silent proxies more than half of it.
	r := start(t, func(c *Config) { c.WorkloadCertTTL = 30 * time.Second })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cert := r.enrol("shop", "web")
	proxy, err := xdstest.Start(ctx, connect(t, r.addrs.SecureGRPC, r.tls(cert)), xdstest.Options{Node: webNode(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	if err := proxy.Until(ctx, func(s xdstest.State) bool { return s[xdstest.CDS] != nil }); err != nil {
		t.Fatal(err)
	}
	ads, err := discoverypb.NewAggregatedDiscoveryServiceClient(connect(t, r.addrs.SecureGRPC, r.tls(cert))).StreamAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	roots := func() ([]string, *discoverypb.DiscoveryRequest) {
		t.Helper()
		resp, err := ads.Recv()
		if err != nil {
			t.Fatal(err)
		}
		var pc meshpb.ProxyConfig
		if err := resp.GetResources()[0].UnmarshalTo(&pc); err != nil {
			t.Fatal(err)
		}
		return pc.GetCaCertificatesPem(), &discoverypb.DiscoveryRequest{TypeUrl: resp.GetTypeUrl(), VersionInfo: resp.GetVersionInfo(), ResponseNonce: resp.GetNonce()}
	}
	send := func(req *discoverypb.DiscoveryRequest) {
		t.Helper()
		if err := ads.Send(req); err != nil {
			t.Fatal(err)
		}
	}
	rootFile := filepath.Join(r.dir, "ca", "root-cert.pem")
	old, err := os.ReadFile(rootFile)
	if err != nil {
		t.Fatal(err)
	}
	send(&discoverypb.DiscoveryRequest{Node: webNode(t), TypeUrl: xdsserver.TypeProxyConfig})
	first, ack := roots()
	if len(first) != 1 || first[0] != string(old) {
		t.Fatalf("the agent was told %q", first)
	}
	send(ack)

	serial, err := ReplaceRoot(filepath.Join(r.dir, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := os.ReadFile(rootFile)
	if err != nil {
		t.Fatal(err)
	}
	both, ack := roots()
	if !slices.Equal(both, []string{string(fresh), string(old)}) {
		t.Fatalf("the agent was told %d roots, want the new one and the old one", len(both))
	}
	if s := r.cp.ca.Status(); s.Signer.Serial == serial || s.Next == nil {
		t.Error("the new root signs before the agent has taken it")
	}
	if got := (&distributor{cp: r.cp, roots: both}).Lacking(); len(got) != 1 || !strings.Contains(got[0], "web-1.shop") {
		t.Errorf("lacking is %v, want web-1", got)
	}
	send(ack)
	if err := waitFor(ctx, func() bool { return r.cp.ca.Status().Signer.Serial == serial }); err != nil {
		t.Fatalf("the new root never signed: %v", err)
	}
	if got := (&distributor{cp: r.cp, roots: both}).Lacking(); len(got) != 0 {
		t.Errorf("it signed though %v lack it", got)
	}
	// Clients of the old root and of the new one are let in, and see the control plane under the new one.
	for name, c := range map[string]*tls.Certificate{"old": cert, "new": r.enrol("shop", "web")} {
		conn, err := tls.Dial("tcp", r.addrs.SecureGRPC.String(), &tls.Config{Certificates: []tls.Certificate{*c}, RootCAs: r.roots(), ServerName: "istiod.istio-system.svc", NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		// The refusal of a client's certificate comes with the first read.
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		conn.Close()
	}
	block, _ := pem.Decode(fresh)
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(r.enrol("shop", "web").Certificate[0])
	if err != nil || leaf.CheckSignatureFrom(root) != nil {
		t.Errorf("a workload's certificate is not under the new root: %v", err)
	}
	if _, page := r.page("/debug/ca"); !strings.Contains(page, serial) || strings.Contains(page, "PRIVATE") {
		t.Errorf("/debug/ca says\n%s", page)
	}
}
