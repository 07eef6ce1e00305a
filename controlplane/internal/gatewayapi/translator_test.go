package gatewayapi

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
	"github.com/lateen-mesh/lateen/controlplane/internal/derived"
)

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func parse(t *testing.T, text string) []*config.Object {
	t.Helper()
	set, err := config.Load([]config.File{{Name: "test.yaml", Data: []byte(text)}}, config.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return set.All()
}

const translated = `
apiVersion: v1
kind: Service
metadata: {name: catalog}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: door-istio}
spec: {selector: {gateway: door}, ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: door}
spec: {gatewayClassName: istio, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec: {parentRefs: [{name: door}], rules: [{backendRefs: [{name: catalog, port: 80}]}]}
`

// A change yields what differs, and times of conditions stay where the condition does.
func TestTranslator(t *testing.T) {
	now := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	tr := derived.NewTranslator(API{}, func() time.Time { return now })
	objects := parse(t, translated)
	step := func(what string, changed []*config.Object, deleted []config.Key, want ...string) {
		t.Helper()
		now = now.Add(time.Hour)
		tr.Note(changed, deleted)
		made, gone := tr.Translate()
		var got []string
		for _, o := range made {
			got = append(got, "+"+o.Kind.Name)
		}
		for _, k := range gone {
			got = append(got, "-"+k.Kind.Name)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	route := config.Key{Kind: schema.HTTPRoute, Namespace: "default", Name: "r"}
	times := func() (accepted, resolved string) {
		t.Helper()
		var st struct {
			Parents []struct {
				Conditions []struct{ Type, LastTransitionTime string }
			}
		}
		if err := json.Unmarshal(tr.Status(route), &st); err != nil || len(st.Parents) != 1 || len(st.Parents[0].Conditions) != 2 {
			t.Fatalf("%s %v", tr.Status(route), err)
		}
		return st.Parents[0].Conditions[0].LastTransitionTime, st.Parents[0].Conditions[1].LastTransitionTime
	}
	services := slices.DeleteFunc(slices.Clone(objects), func(o *config.Object) bool { return o.Kind != schema.Service })
	step("Services alone", services, nil)
	step("all", objects, nil, "+Gateway", "+VirtualService")
	step("nothing", nil, nil)
	step("the same again", objects, nil)
	step("kinds that do not matter", parse(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"), nil)
	if a, r := times(); a != "2024-01-01T02:00:00Z" || r != a {
		t.Errorf("times %s %s", a, r)
	}
	// Without its Service the rule answers 500: the route is accepted as before, and its references are not resolved since now.
	step("a Service goes", nil, []config.Key{{Kind: schema.Service, Namespace: "default", Name: "catalog"}}, "+VirtualService")
	if a, r := times(); a != "2024-01-01T02:00:00Z" || r != "2024-01-01T06:00:00Z" {
		t.Errorf("times %s %s", a, r)
	}
	step("the route goes", nil, []config.Key{route}, "-VirtualService")
	if tr.Status(route) != nil {
		t.Error("a route that is gone has a status")
	}
	step("the Gateway goes", nil, []config.Key{{Kind: schema.K8sGateway, Namespace: "default", Name: "door"}}, "-Gateway")
}

// Whatever objects there are, conversion neither fails nor yields two objects of one name, and its status is JSON.
func FuzzConvert(f *testing.F) {
	f.Add(translated)
	f.Add(strings.ReplaceAll(translated, "http", "*"))
	f.Fuzz(func(t *testing.T, text string) {
		set, _ := config.Load([]config.File{{Name: "fuzz.yaml", Data: []byte(text)}}, config.LoadOptions{}) // what is right of it
		r := API{Options{SharedGateway: "default/door-istio"}}.Convert(set)
		seen := map[config.Key]bool{}
		for _, o := range r.Objects {
			if seen[o.Key()] {
				t.Errorf("%s is made twice", o)
			}
			seen[o.Key()] = true
		}
		for k, raw := range r.Status {
			if !json.Valid(raw) {
				t.Errorf("%s: %s", k, raw)
			}
		}
	})
}
