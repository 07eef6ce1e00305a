package consulmesh

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/lateen-mesh/lateen/controlplane"
)

// Agent is the Consul that a scenario runs on.
type Agent interface {
	Addr() string
	// Kill ends it as a power cut would.
	Kill()
	// Restart begins it anew at the same address, with nothing registered.
	Restart()
}

// Run runs the scenario.
func Run(t *testing.T, agent Agent) {
	m := Start(t, agent.Addr(), controlplane.ConsulCatalog{})

	// Nothing is registered: the gateway says so.
	if status, _ := m.Get("/", ""); status != 503 && status != 404 {
		t.Errorf("without instances the answer is %d", status)
	}
	m.App("web-1", "v1")
	m.App("web-2", "v2")
	m.Until("/", "", 200, "web-1")
	m.Until("/", "v2", 200, "web-2")
	if problems := m.Registry().Problems; len(problems) > 0 {
		t.Errorf("problems: %v", problems)
	}

	// A check that fails takes its instance out, within a second; one that warns does not.
	m.App("web-3", "v2")
	m.Until("/", "v2", 200, "web-3")
	took := m.Fail("web-2", "v2", "web-3")
	t.Logf("an instance whose check turned critical got no request after %v", took.Round(time.Millisecond))
	if took > time.Second {
		t.Errorf("that is more than a second")
	}
	m.SetCheck("web-2", api.HealthWarning)
	m.Until("/", "v2", 200, "web-2")

	// An instance that is taken away is gone at once, and so is a service.
	m.Deregister("web-3")
	m.settled("v2", "web-2")
	m.SetCheck("web-2", api.HealthPassing)

	m.services(t)

	// Consul dies: no request fails.
	agent.Kill()
	m.eventually(func() string { return "the registry is said to be away" }, func() bool { return !m.Registry().Connected })
	m.all(t, 500)

	// It comes back and knows nothing: the services have time to register again.
	agent.Restart()
	m.eventually(func() string { return "the registry is said to be back" }, func() bool { return m.Registry().Connected })
	m.all(t, 500)
	if r := m.Registry(); r.LastError == "" {
		t.Error("the last error is forgotten")
	}
	m.App("web-4", "v1")
	m.Until("/", "", 200, "web-4")
	m.App("web-5", "v2")
	m.Until("/", "v2", 200, "web-5")
}

// Fail lets an instance's check fail and returns how long it took until another one got every request for their version.
func (m *Mesh) Fail(id, version, other string) time.Duration {
	m.t.Helper()
	begin := time.Now()
	m.SetCheck(id, api.HealthCritical)
	m.settled(version, other)
	return time.Since(begin)
}

// settled waits until 20 requests in a row are answered by one instance.
func (m *Mesh) settled(version, who string) {
	m.t.Helper()
	row := 0
	m.eventually(func() string { return "all requests for version " + version + " are answered by " + who }, func() bool {
		for row = 0; row < 20; row++ {
			if status, got := m.Get("/", version); status != 200 || got != who {
				return false
			}
		}
		return true
	})
}

// all sends requests, none of which may fail.
func (m *Mesh) all(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		version := ""
		if i%2 == 1 {
			version = "v2"
		}
		if status, who := m.Get("/", version); status != 200 {
			t.Fatalf("request %d with version %q: %d %s", i, version, status, who)
		}
	}
}

// services looks at the pages that show where services come from.
func (m *Mesh) services(t *testing.T) {
	t.Helper()
	var services []struct {
		Hostname   string
		Origin     string
		Attributes struct{ ServiceRegistry, Name, Namespace string }
	}
	m.Page("/debug/registryz", &services)
	found := false
	for _, s := range services {
		if s.Hostname != "web.service.consul" {
			continue
		}
		found = true
		if a := s.Attributes; a.ServiceRegistry != "Consul" || a.Name != "web" || a.Namespace != "default" || !strings.HasPrefix(s.Origin, "ConsulService default/web (consul ") {
			t.Errorf("/debug/registryz shows %+v", s)
		}
	}
	if !found {
		t.Errorf("/debug/registryz does not show the service: %+v", services)
	}
}
