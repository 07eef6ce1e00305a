package xdsserver

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

func TestMemory(t *testing.T) {
	var m memory
	now := time.Unix(0, 0)
	web := &model.Proxy{Namespace: "shop", ServiceAccount: "web", WorkloadName: "web-v1", Name: "web-v1-1"}
	want := func(p *model.Proxy, names string) {
		t.Helper()
		if got := strings.Join(m.of(p, now).All(), " "); got != names {
			t.Errorf("%s begins with %q, want %q", p.Name, got, names)
		}
	}
	want(web, "")
	m.note(web, []string{"*", "80/b", "80/a"}, now)
	m.note(web, nil, now)
	replica := *web
	replica.Name = "web-v1-2"
	want(&replica, "80/a 80/b")
	for _, change := range []func(*model.Proxy){
		func(p *model.Proxy) { p.Namespace = "other" },
		func(p *model.Proxy) { p.ServiceAccount = "other" },
		func(p *model.Proxy) { p.WorkloadName = "other" },
	} {
		other := *web
		change(&other)
		want(&other, "")
	}
	now = now.Add(rememberFor - time.Hour)
	m.note(web, []string{"80/a"}, now)
	now = now.Add(2 * time.Hour)
	want(web, "80/a")
}

// Clients choose the names: what is remembered is bounded, and the latest stays.
func TestMemoryIsBounded(t *testing.T) {
	var m memory
	web := &model.Proxy{Namespace: "shop", Name: "web"}
	for i := range maxRemembered + 10 {
		m.note(web, []string{fmt.Sprintf("80/%03d", i)}, time.Unix(int64(i), 0))
	}
	names := m.of(web, time.Unix(1000, 0))
	if names.Len() != maxRemembered || names.Has("80/009") || !names.Has("80/010") {
		t.Errorf("%d names are remembered, from %s on", names.Len(), names.All()[0])
	}
	for i := range maxRememberedWorkloads {
		m.note(&model.Proxy{Namespace: "shop", Name: fmt.Sprint("w", i)}, []string{"80/a"}, time.Unix(2000, 0))
		if i == 0 {
			m.note(web, []string{"80/a"}, time.Unix(2000, 0))
		}
	}
	if len(m.workloads) != maxRememberedWorkloads || m.order.Len() != maxRememberedWorkloads || m.of(web, time.Unix(2000, 0)) == nil {
		t.Errorf("%d workloads are remembered, %d in order", len(m.workloads), m.order.Len())
	}
	if m.of(&model.Proxy{Namespace: "shop", Name: "w0"}, time.Unix(2000, 0)) != nil {
		t.Error("the one that was longest unheard of is remembered")
	}
}
