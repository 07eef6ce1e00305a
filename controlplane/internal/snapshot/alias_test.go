package snapshot

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

func externalName(name, target string) string {
	return "apiVersion: v1\nkind: Service\nmetadata: {name: " + name + "}\nspec: {type: ExternalName, externalName: " + target + ", ports: [{name: http, port: 80}]}\n---\n"
}

func TestAliases(t *testing.T) {
	const host = "catalog.shop.svc.cluster.local"
	b := New()
	shown := func(s *model.Snapshot) string {
		var out []string
		for _, svc := range s.Services.Values() {
			if c := s.Concrete(svc, "shop"); c != nil {
				out = append(out, svc.Name+"="+c.Name)
			}
		}
		var names []string
		for _, svc := range s.AliasesOf(host, "shop") {
			names = append(names, svc.Name)
		}
		return strings.Join(out, " ") + " of " + fmt.Sprint(names)
	}
	s, _ := b.Update(events(t, externalName("a", "Catalog.shop.svc.cluster.local.")+externalName("b", "a.shop.svc.cluster.local"))...)
	if got := shown(s); got != "b=a of []" {
		t.Errorf("without the service: %s", got)
	}
	s, ch := b.Update(events(t, catalog)...)
	if got := shown(s); got != "a=catalog b=catalog of [a b]" {
		t.Errorf("with it: %s", got)
	}
	if !ch.Hosts["a.shop.svc.cluster.local"] || !ch.ListenerHosts["a.shop.svc.cluster.local"] {
		t.Errorf("what it means to its alias is not said: %+v", ch)
	}
	s, ch = b.Update(events(t, externalName("a", "www.example.com"))...)
	if got := shown(s); got != "b=a of []" || !ch.Hosts[host] {
		t.Errorf("another target: %s, %+v", got, ch)
	}
	// Two that stand for each other stand for nobody.
	s, _ = b.Update(events(t, externalName("a", "b.shop.svc.cluster.local"))...)
	if got := shown(s); got != " of []" {
		t.Errorf("a circle: %s", got)
	}
	s, _ = b.Update(Delete("config", events(t, externalName("a", "x.example.com"))[0].Key), Delete("config", events(t, externalName("b", "x.example.com"))[0].Key))
	if s.Aliases.Len() != 0 {
		t.Errorf("left over: %v", s.Aliases.Keys())
	}
}

// TestPodsHaveListeners: endpoints of a service that is called by pod concern listeners, those of others do not.
func TestPodsHaveListeners(t *testing.T) {
	for _, c := range []struct {
		clusterIP, port string
		want            bool
	}{{"None", "tcp", true}, {"None", "http", false}, {"10.0.0.1", "tcp", false}} {
		b := New()
		b.Update(events(t, fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: catalog}\nspec: {clusterIP: %q, selector: {app: catalog}, ports: [{name: %s, port: 80}]}\n", c.clusterIP, c.port))...)
		_, ch := b.Update(events(t, workload("w1", "127.0.1.1", ""))...)
		if got := ch.ListenerHosts["catalog.shop.svc.cluster.local"]; got != c.want {
			t.Errorf("%+v: listeners concerned: %v", c, got)
		}
	}
}
