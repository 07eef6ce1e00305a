package authentication

import (
	"crypto/ecdsa"
	"encoding/json"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	security "istio.io/api/security/v1beta1"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

func TestNobodysKey(t *testing.T) {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(nobody()), &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != 1 || !set.Keys[0].Valid() || !set.Keys[0].IsPublic() {
		t.Fatalf("not one public key: %s", nobody())
	}
	if _, err := set.Keys[0].Key.(*ecdsa.PublicKey).ECDH(); err != nil {
		t.Errorf("not a point of the curve: %v", err)
	}
	cfg := Config([]*model.RequestAuthentication{{Rules: []model.TokenRule{{JWTRule: &security.JWTRule{Issuer: "a"}}}}}, Options{Cluster: func(string) string { return "" }})
	if got := cfg.Providers["origins-0"].GetLocalJwks().GetInlineString(); got != nobody() {
		t.Errorf("without keys: %s", got)
	}
}

func TestConfig(t *testing.T) {
	rule := func(issuer string) model.TokenRule {
		return model.TokenRule{JWTRule: &security.JWTRule{Issuer: issuer, Jwks: "{}"}}
	}
	cluster := func(string) string { return "c" }
	if got := Config([]*model.RequestAuthentication{{}}, Options{Cluster: cluster}); got != nil {
		t.Errorf("a policy without rules: %v", got)
	}
	one := Config([]*model.RequestAuthentication{{Rules: []model.TokenRule{rule("a")}}}, Options{Cluster: cluster})
	if got := len(one.Rules[0].GetRequires().GetRequiresAny().GetRequirements()); got != 2 {
		t.Errorf("of one issuer %d requirements, want it or no token", got)
	}
	// Of two issuers: the one, the other, or of both that each has a good token or none.
	two := Config([]*model.RequestAuthentication{{Rules: []model.TokenRule{rule("a")}}, {Rules: []model.TokenRule{rule("b")}}}, Options{Cluster: cluster, Reroute: true})
	any := two.Rules[0].GetRequires().GetRequiresAny().GetRequirements()
	if len(any) != 3 || any[0].GetProviderName() != "origins-0" || any[1].GetProviderName() != "origins-1" || len(any[2].GetRequiresAll().GetRequirements()) != 2 {
		t.Errorf("of two issuers: %v", two.Rules[0])
	}
	told := Config([]*model.RequestAuthentication{{Rules: []model.TokenRule{{JWTRule: &security.JWTRule{Issuer: "a", Jwks: "{}", OutputPayloadToHeader: "x-payload"}}}}}, Options{Cluster: cluster})
	if p := told.Providers["origins-0"]; p.ForwardPayloadHeader != "x-payload" || p.Forward || p.ClearRouteCache {
		t.Errorf("of a payload in a header: %v", p)
	}
	// An issuer that has not said where its keys are is one whose keys cannot be fetched, and none whose tokens are bad.
	unknown := Config([]*model.RequestAuthentication{{Rules: []model.TokenRule{{JWTRule: &security.JWTRule{Issuer: "https://a"}, Discovered: true}}}}, Options{Cluster: cluster})
	if p := unknown.Providers["origins-0"]; p.GetLocalJwks() != nil || p.GetRemoteJwks().GetHttpUri().GetCluster() != "c" || !p.GetRemoteJwks().GetAsyncFetch().GetFastListener() {
		t.Errorf("of an issuer that is not known yet: %v", p)
	}
	if !two.Providers["origins-1"].ClearRouteCache {
		t.Error("routes do not follow claims at a gateway")
	}
}

// TestRefresh: how long keys are used is what was asked for, whether they can be had or not.
func TestRefresh(t *testing.T) {
	rules := []*model.RequestAuthentication{{Rules: []model.TokenRule{{JWTRule: &security.JWTRule{Issuer: "a", JwksUri: "https://a/keys"}}, {JWTRule: &security.JWTRule{Issuer: "b"}, Discovered: true}}}}
	for asked, want := range map[time.Duration]time.Duration{0: keysRefresh, time.Hour: time.Hour} {
		got := Config(rules, Options{Cluster: func(string) string { return "c" }, Refresh: asked}).Providers
		known, unknown := got["origins-0"].GetRemoteJwks(), got["origins-1"].GetRemoteJwks()
		if known.GetCacheDuration().AsDuration() != want || known.GetAsyncFetch().GetFailedRefetchDuration() != nil || unknown.GetAsyncFetch().GetFailedRefetchDuration().AsDuration() != want {
			t.Errorf("%v: %v and %v", asked, known, unknown)
		}
	}
}
