package controlplane

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/controlplane/internal/configstore"
	"github.com/lateen-mesh/lateen/controlplane/internal/gatewayapi"
	"github.com/lateen-mesh/lateen/controlplane/internal/oidc"
	"github.com/lateen-mesh/lateen/controlplane/internal/snapshot"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdstest"
)

// TestIssuersAreAskedBeforeProxiesAreServed: a control plane that starts anew does not take the keys of an issuer away from proxies that have them. What is
// heard later is pushed, and issuers that nobody names any more are not followed.
func TestIssuersAreAskedBeforeProxiesAreServed(t *testing.T) {
	const issuer, policy = "https://issuer.example.com", "shop/tokens"
	set, err := config.Load([]config.File{{Name: "a.yaml", Data: []byte(
		"apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: tokens, namespace: shop}\nspec: {jwtRules: [{issuer: '" + issuer + "'}]}\n")}}, config.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o := set.Get(schema.RequestAuthentication, "shop", "tokens")

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	followed, pushed, loaded, done := make(chan []string, 10), make(chan string, 10), make(chan struct{}), make(chan error, 1)
	p := newPipeline(slog.New(slog.DiscardHandler), prometheus.NewRegistry(), snapshot.New(), gatewayapi.Options{}, noAuthority{}, func(i []string) { followed <- i })
	keys := func(v served) string {
		a, _ := v.Snapshot().RequestAuthentications.Get(policy)
		if a == nil {
			return "no policy"
		}
		return a.Rules[0].GetJwksUri()
	}
	go func() { done <- p.run(ctx, 1, loaded, func(v served) { pushed <- keys(v) }) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	atLoad := make(chan string, 1)
	go func() {
		<-loaded
		atLoad <- keys(served{p.view.Load()})
	}()
	next := func(what string, c <-chan string, want string) {
		t.Helper()
		select {
		case got := <-c:
			if got != want {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		case <-ctx.Done():
			t.Fatalf("%s: nothing comes", what)
		}
	}

	p.add(ctx, sourced{source: "config", batch: configstore.Batch{Changed: []*config.Object{o}}})
	next("the first view", pushed, "")
	if got := <-followed; len(got) != 1 || got[0] != issuer {
		t.Errorf("followed: %v", got)
	}
	p.add(ctx, sourced{source: "oidc", issuers: map[string]oidc.Answer{issuer: {KeysURI: "https://keys.example.com/1"}}})
	next("with what the issuer says", pushed, "https://keys.example.com/1")
	next("when proxies are served", atLoad, "https://keys.example.com/1")
	<-followed
	p.add(ctx, sourced{source: "oidc", issuers: map[string]oidc.Answer{issuer: {KeysURI: "https://keys.example.com/2"}}})
	next("when keys have moved", pushed, "https://keys.example.com/2")
	<-followed
	p.add(ctx, sourced{source: "config", batch: configstore.Batch{Deleted: []config.Key{o.Key()}}})
	next("when the policy is gone", pushed, "no policy")
	if got := <-followed; len(got) != 0 {
		t.Errorf("followed without a policy: %v", got)
	}
}

// A gateway of a network that is given by name: proxies are told of the addresses that DNS tells, before they are told anything and when these change.
func TestGatewayByName(t *testing.T) {
	var at atomic.Value
	at.Store("192.0.2.1")
	r := &running{t: t, dir: t.TempDir()}
	r.write("config/web.yaml", "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: web, namespace: shop}\nspec: {hosts: [web.test], location: MESH_INTERNAL, resolution: STATIC, "+
		"ports: [{name: http, number: 80, protocol: HTTP}], endpoints: [{address: 10.2.0.1, network: east, labels: {security.istio.io/tlsMode: istio}}]}\n")
	r.write("config/networks.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"+
		"data: {meshNetworks: 'networks: {west: {endpoints: [{fromCidr: 10.1.0.0/16}]}, east: {gateways: [{address: gw.test, port: 15443}]}}'}\n")
	r.run(func(c *Config) {
		c.namesEach = 10 * time.Millisecond
		c.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr(at.Load().(string))}, nil
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n := webNode(t)
	proxy, err := xdstest.Start(ctx, connect(t, r.addrs.GRPC, insecure.NewCredentials()), xdstest.Options{Node: n})
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	const cluster = "outbound|80||web.test"
	if err := proxy.Until(ctx, func(s xdstest.State) bool { return s[xdstest.EDS][cluster] != nil }); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"192.0.2.1", "192.0.2.2"} {
		at.Store(address)
		if err := proxy.Until(ctx, func(s xdstest.State) bool {
			got := string(s[xdstest.EDS][cluster].GetValue())
			if strings.Contains(got, "10.2.0.1") {
				t.Error("it was told of what it cannot reach")
			}
			return strings.Contains(got, address)
		}); err != nil {
			t.Fatalf("%s: %v", address, err)
		}
	}
}

// noAuthority issues nothing.
type noAuthority struct{}

func (noAuthority) TrustDomain() string             { return "" }
func (noAuthority) SetTrustDomain(string, []string) {}
func (noAuthority) FormerTrustDomains() []string    { return nil }
