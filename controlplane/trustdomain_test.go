package controlplane

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/structpb"
	meshpb "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/controlplane/internal/xdsserver"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdstest"
	"github.com/lateen-mesh/lateen/pkg/certtest"
)

// identityOf is who the control plane says that shop/web is.
func (r *running) identityOf() string {
	r.t.Helper()
	leaf, err := x509.ParseCertificate(r.enrol("shop", "web").Certificate[0])
	if err != nil {
		r.t.Fatal(err)
	}
	return leaf.URIs[0].String()
}

// The mesh's settings say the trust domain of all identities. Another one is pushed at once, with the one before as an alias, and issued under when the proxies
// have said that they know it. Mistakes elsewhere in the settings change nothing of it, nor does a restart.
func TestTrustDomain(t *testing.T) {
	dir := t.TempDir()
	r := &running{t: t, dir: dir}
	r.write("mesh.yaml", "trustDomain: mesh.example\ntrustDomainAliases: [old.example]\n")
	r.write("config/shop/service/web.yaml", webService)
	r.write("workloads/web-1.yaml", "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: web-1, namespace: shop}\nspec: {address: 10.1.0.1, labels: {app: web}, serviceAccount: web}\n")
	// The moment between the last proxy's word and the first certificate is a tenth of a certificate's life.
	short := func(c *Config) { c.WorkloadCertTTL, c.MaxWorkloadCertTTL = 2*time.Second, time.Hour }
	r.run(short)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if got := r.identityOf(); got != "spiffe://mesh.example/ns/shop/sa/web" {
		t.Errorf("it issues %s", got)
	}
	client := func() *xdstest.Client {
		c, err := xdstest.Start(ctx, connect(t, r.addrs.SecureGRPC, r.tls(r.enrol("shop", "web"))), xdstest.Options{Node: webNode(t)})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	wants := func(names ...string) func(xdstest.State) bool {
		return func(s xdstest.State) bool {
			c := string(s[xdstest.CDS]["outbound|80||web.shop.svc.cluster.local"].GetValue())
			for _, name := range names {
				if absent, not := strings.CutPrefix(name, "not "); strings.Contains(c, absent) == not {
					return false
				}
			}
			return true
		}
	}
	issues := func(when, want string) {
		t.Helper()
		got := r.identityOf()
		for got != want && ctx.Err() == nil {
			got = r.identityOf()
		}
		if got != want {
			t.Errorf("%s it issues %s", when, got)
		}
	}
	proxy := client()
	if err := proxy.Until(ctx, wants("spiffe://mesh.example/ns/shop/sa/web")); err != nil {
		t.Fatal(err)
	}

	r.write("mesh.yaml", "trustDomain: new.example\ntrustDomainAliases: [older.example]\n")
	if err := proxy.Until(ctx, wants("spiffe://new.example/ns/shop/sa/web", "spiffe://older.example/ns/shop/sa/web", "spiffe://mesh.example/ns/shop/sa/web", "not old.example")); err != nil {
		t.Fatal(err)
	}
	issues("after the change", "spiffe://new.example/ns/shop/sa/web")
	_, page := r.page("/debug/ca")
	if !strings.Contains(page, `"trustDomain": "new.example"`) || !strings.Contains(page, `"mesh.example"`) {
		t.Errorf("the authority's page is %s", page)
	}
	proxy.Close()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}

	// A change while no control plane runs, in settings with a mistake elsewhere: nothing but the trust domain counts of them.
	r.write("mesh.yaml", "trustDomain: newest.example\nnoSuchField: 1\n")
	r.run(short)
	proxy = client()
	defer proxy.Close()
	if err := proxy.Until(ctx, wants("spiffe://newest.example/ns/shop/sa/web", "spiffe://new.example/ns/shop/sa/web", "spiffe://mesh.example/ns/shop/sa/web")); err != nil {
		t.Error(err)
	}
	issues("after a new start", "spiffe://newest.example/ns/shop/sa/web")
}

// What stands elsewhere in the file does not decide of whom identities are; a file that cannot be read does not let the control plane start.
func TestTrustDomainOfAFile(t *testing.T) {
	for _, tt := range []struct{ text, own, err string }{
		{"", "", ""},
		{"trustDomain: a.example\nnoSuchField: 1\n", "a.example", ""},
		{"trustDomain: A\n", "", "trustDomain: trust domain \"A\""},
		{"trustDomain: [\n", "", "cannot be read"},
		{"trustDomain: {a: b}\n", "", "cannot be read"},
	} {
		file := filepath.Join(t.TempDir(), "mesh.yaml")
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		own, _, err := trustDomain(file)
		if own != tt.own || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: %q, %v", tt.text, own, err)
		}
	}
	if own, _, err := trustDomain(filepath.Join(t.TempDir(), "none")); own != "" || err != nil {
		t.Errorf("no file: %q, %v", own, err)
	}
}

// Roots of others reach agents: those of the mesh's settings, with the trust domains that they are for, and those that a bundle's endpoint tells, when it tells them.
// An agent that knows no trust domains, as Istio's, has them all. Nothing needs a new start.
func TestRootsOfOthers(t *testing.T) {
	partner, remote := certtest.New(t), certtest.New(t)
	block, _ := pem.Decode(remote.PEM)
	endpoint := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"keys": [{"use": "x509-svid", "x5c": [%q]}]}`, base64.StdEncoding.EncodeToString(block.Bytes))
	}))
	defer endpoint.Close()
	away := httptest.NewTLSServer(http.NotFoundHandler())
	away.Close()
	r := start(t, func(c *Config) { c.bundleClient = endpoint.Client() })
	own, err := os.ReadFile(filepath.Join(r.dir, "ca", "root-cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	agent := func(knows string) (told func() []string) {
		ads, err := discoverypb.NewAggregatedDiscoveryServiceClient(connect(t, r.addrs.GRPC, insecure.NewCredentials())).StreamAggregatedResources(ctx)
		if err != nil {
			t.Fatal(err)
		}
		n := webNode(t)
		n.Metadata.Fields["LATEEN_TRUST_BY_DOMAIN"] = structpb.NewStringValue(knows)
		req := &discoverypb.DiscoveryRequest{Node: n, TypeUrl: xdsserver.TypeProxyConfig}
		return func() []string {
			t.Helper()
			if err := ads.Send(req); err != nil {
				t.Fatal(err)
			}
			resp, err := ads.Recv()
			if err != nil {
				t.Fatal(err)
			}
			req = &discoverypb.DiscoveryRequest{TypeUrl: resp.GetTypeUrl(), VersionInfo: resp.GetVersionInfo(), ResponseNonce: resp.GetNonce()}
			var pc meshpb.ProxyConfig
			if err := resp.GetResources()[0].UnmarshalTo(&pc); err != nil {
				t.Fatal(err)
			}
			return pc.GetCaCertificatesPem()
		}
	}
	ours, istios := agent("true"), agent("false")
	want := func(when string, told func() []string, roots ...string) {
		t.Helper()
		var got []string
		for !slices.Equal(got, roots) && ctx.Err() == nil {
			got = told()
		}
		if ctx.Err() != nil {
			t.Errorf("%s: told %q, want %q", when, got, roots)
		}
	}
	want("at first", ours, string(own))
	want("at first", istios, string(own))

	indented := strings.ReplaceAll(string(partner.PEM), "\n", "\n    ")
	r.write("mesh.yaml", "caCertificates:\n- spiffeBundleUrl: "+strings.TrimPrefix(endpoint.URL, "https://")+"\n- spiffeBundleUrl: "+away.URL+"\n  trustDomains: [away.example]\n"+
		"- trustDomains: [partner.example]\n  pem: |\n    "+indented+"\n")
	want("a domain has a root of its own", ours,
		"lateen.io/trust-domains: cluster.local\n"+string(own), "lateen.io/trust-domains: away.example,cluster.local,partner.example\nlateen.io/peers-only\n"+string(remote.PEM),
		"lateen.io/trust-domains: partner.example\nlateen.io/peers-only\n"+string(partner.PEM))
	want("all roots", istios, string(own), string(remote.PEM), string(partner.PEM))
	if err := waitFor(ctx, func() bool {
		_, page := r.page("/debug/errors")
		return strings.Contains(page, "0 roots are known; the last question had no answer: ")
	}); err != nil {
		t.Error("nobody says that an endpoint is away")
	}

	r.write("mesh.yaml", "caCertificates: [{pem: \""+strings.ReplaceAll(string(partner.PEM), "\n", `\n`)+"\"}]\n")
	want("one for all", ours, string(own), "lateen.io/peers-only\n"+string(partner.PEM))
	r.write("mesh.yaml", "{}\n")
	want("none", ours, string(own))
}
