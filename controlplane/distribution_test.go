package controlplane

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/credentials/insecure"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdstest"
)

// distribution is an answer of /debug/distribution.
type distribution struct {
	Version uint64
	Missing []struct{ Resource, Why string }
	Proxies []string
	Behind  []struct {
		Proxy, Why string
		Refused    bool
	}
}

func (r *running) distribution(query string) distribution {
	r.t.Helper()
	code, page := r.page("/debug/distribution?" + query)
	if code != http.StatusOK {
		r.t.Fatalf("%s: %d %s", query, code, page)
	}
	var d distribution
	if err := json.Unmarshal([]byte(page), &d); err != nil {
		r.t.Fatal(err)
	}
	return d
}

// changed writes a file and returns the version of the mesh that has it.
func (r *running) changed(ctx context.Context, name, text, resource string) string {
	r.t.Helper()
	r.write(name, text)
	raw, err := os.ReadFile(filepath.Join(r.dir, name))
	if err != nil {
		r.t.Fatal(err)
	}
	query := "resource=" + resource + "@" + config.FileVersion(sha256.Sum256(raw))
	var d distribution
	if err := waitFor(ctx, func() bool { d = r.distribution(query); return d.Version > 0 }); err != nil {
		r.t.Fatalf("%s: %+v", query, d)
	}
	return "version=" + strconv.FormatUint(d.Version, 10)
}

// TestDistribution: a change is served by a proxy when the proxy has said so; one that it does not concern, at once.
func TestDistribution(t *testing.T) {
	r := start(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var slow, refuses atomic.Bool
	answer := make(chan struct{})
	c, err := xdstest.Start(ctx, connect(t, r.addrs.GRPC, insecure.NewCredentials()), xdstest.Options{
		Node: webNode(t),
		Check: func(xdstest.State, string) error {
			if slow.Load() {
				<-answer
			}
			return nil
		},
		Refuse: func(typeURL string, _ []string) string {
			if typeURL == xdstest.CDS && refuses.Load() {
				return "no such balancer"
			}
			return ""
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	served := func(query string) {
		t.Helper()
		var d distribution
		if err := waitFor(ctx, func() bool { d = r.distribution(query); return len(d.Proxies) == 1 && len(d.Behind) == 0 }); err != nil {
			t.Fatalf("not served: %+v", d)
		}
	}
	lags := func(query, why string, refused bool) {
		t.Helper()
		var d distribution
		if err := waitFor(ctx, func() bool {
			d = r.distribution(query)
			return len(d.Behind) == 1 && strings.Contains(d.Behind[0].Why, why) && d.Behind[0].Refused == refused
		}); err != nil {
			t.Fatalf("%+v, want that it %q", d, why)
		}
	}
	const rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: web, namespace: shop}\nspec:\n  host: web\n  trafficPolicy: {connectionPool: {tcp: {maxConnections: "
	const ruleName = "destinationrule.networking.istio.io/shop/web"
	served(r.changed(ctx, "config/rule.yaml", rule+"5}}}\n", ruleName))

	slow.Store(true)
	second := r.changed(ctx, "config/rule.yaml", rule+"6}}}\n", ruleName)
	lags(second, "has not answered for CDS", false)
	slow.Store(false)
	close(answer)
	served(second)

	refuses.Store(true)
	third := r.changed(ctx, "config/rule.yaml", rule+"7}}}\n", ruleName)
	lags(third, "has refused CDS: no such balancer", true)
	// What another namespace keeps to itself does not concern the proxy, whatever it has refused before.
	served(r.changed(ctx, "config/private.yaml", "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: private, namespace: other}\n"+
		"spec: {hosts: [private.test], exportTo: [.], resolution: DNS, ports: [{name: http, number: 80, protocol: HTTP}]}\n",
		"serviceentry.networking.istio.io/other/private"))
	refuses.Store(false)
	served(r.changed(ctx, "mesh.yaml", "ingressService: elsewhere\n", "meshconfig"))

	// gone: each is there until its file is not, and it is served when the proxy has said so.
	gone := func(file, resource string) string {
		t.Helper()
		query := "gone=" + resource
		query += "&gone=service/shop/never"
		if d := r.distribution(query); d.Version != 0 || len(d.Missing) != 1 || !strings.Contains(d.Missing[0].Why, "still has it, in the form ") {
			t.Errorf("%s: %+v", query, d)
		}
		if err := os.Remove(filepath.Join(r.dir, file)); err != nil {
			t.Fatal(err)
		}
		var d distribution
		if err := waitFor(ctx, func() bool { d = r.distribution(query); return d.Version > 0 && len(d.Missing) == 0 }); err != nil {
			t.Fatalf("%s: %+v", query, d)
		}
		return "version=" + strconv.FormatUint(d.Version, 10)
	}
	answer = make(chan struct{})
	slow.Store(true)
	without := gone("config/rule.yaml", ruleName)
	lags(without, "has not answered for CDS", false)
	slow.Store(false)
	close(answer)
	served(without)
	served(gone("mesh.yaml", "meshconfig"))
	served(gone("config/private.yaml", "serviceentry/other/private"))
	r.changed(ctx, "config/rule.yaml", rule+"8}}}\n", ruleName)

	for query, want := range map[string]string{
		"resource=" + ruleName + "@0123":     "has another form of it",
		"resource=virtualservice/shop/no@01": "has not read it",
	} {
		query += "&gone=service/shop/never"
		if d := r.distribution(query); d.Version != 0 || len(d.Missing) != 1 || !strings.Contains(d.Missing[0].Why, want) {
			t.Errorf("%s: %+v, want %q", query, d, want)
		}
	}
	for _, bad := range []string{"", "?version=x", "?resource=" + ruleName, "?resource=nokind/a/b@1", "?resource=service/web@1", "?gone=nokind/a/b", "?gone=service/web"} {
		if code, page := r.page("/debug/distribution" + bad); code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", bad, code, page)
		}
	}
}
