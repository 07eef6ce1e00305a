package controlplane

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	clusterpb "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/lateen-mesh/lateen/controlplane/internal/xdstest"
)

const webFilter = `apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: web, namespace: shop}
spec:
  configPatches:
  - applyTo: CLUSTER
    match: {cluster: {service: web.shop.svc.cluster.local}}
    patch: {operation: MERGE, value: {connect_timeout: 3s}}
  - applyTo: CLUSTER
    match: {cluster: {service: wep.shop.svc.cluster.local}}
    patch: {operation: MERGE, value: {connect_timeout: 4s}}
`

// TestPatchesThatDoNothingAreReported: a patch that matches nothing of any proxy is said by name, and so is one whose result a proxy refuses.
func TestPatchesThatDoNothingAreReported(t *testing.T) {
	r := start(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := xdstest.Start(ctx, connect(t, r.addrs.SecureGRPC, r.tls(r.enrol("shop", "web"))), xdstest.Options{
		Node: webNode(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r.write("config/shop/envoyfilter/web.yaml", webFilter)
	patched := func(s xdstest.State) bool {
		a := s[xdstest.CDS]["outbound|80||web.shop.svc.cluster.local"]
		if a == nil {
			return false
		}
		cl := &clusterpb.Cluster{}
		return a.UnmarshalTo(cl) == nil && cl.ConnectTimeout.AsDuration() == 3*time.Second
	}
	if err := c.Until(ctx, patched); err != nil {
		t.Fatal(err)
	}
	said := func(r *running) []string {
		var page struct {
			NoEffect []struct{ Field, Text string }
		}
		_, text := r.page("/debug/errors")
		if err := json.Unmarshal([]byte(text), &page); err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, n := range page.NoEffect {
			out = append(out, n.Field+": "+n.Text)
		}
		return out
	}
	got := said(r)
	if len(got) != 1 || !strings.HasPrefix(got[0], "spec.configPatches[1]: matches nothing of any of the 1 connected proxies") {
		t.Errorf("reported %q, want the patch for a service that is not there", got)
	}

	refusing, err := xdstest.Start(ctx, connect(t, r.addrs.SecureGRPC, r.tls(r.enrol("shop", "web"))), xdstest.Options{
		Node: webNode(t),
		Refuse: func(typeURL string, _ []string) string {
			if typeURL == xdstest.CDS {
				return "cluster outbound|80||web.shop.svc.cluster.local: no"
			}
			return ""
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer refusing.Close()
	if err := waitFor(ctx, func() bool {
		return strings.Contains(strings.Join(said(r), "\n"), "spec.configPatches[0]: proxy web-1.shop refuses outbound|80||web.shop.svc.cluster.local, which the patch has changed")
	}); err != nil {
		t.Errorf("reported %q, want the patch whose cluster is refused", said(r))
	}
}
