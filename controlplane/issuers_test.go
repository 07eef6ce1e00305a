package controlplane

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/controlplane/internal/configstore"
	"github.com/lateen-mesh/lateen/controlplane/internal/gatewayapi"
	"github.com/lateen-mesh/lateen/controlplane/internal/oidc"
	"github.com/lateen-mesh/lateen/controlplane/internal/snapshot"
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
	p := newPipeline(slog.New(slog.DiscardHandler), prometheus.NewRegistry(), snapshot.New(), gatewayapi.NewTranslator(gatewayapi.Options{}, time.Now), func(i []string) { followed <- i })
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
