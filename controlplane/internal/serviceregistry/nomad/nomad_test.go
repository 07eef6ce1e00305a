package nomad

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/serviceregistry/watch"
	standin "github.com/lateen-mesh/lateen/test/standin/nomad"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func instance(ns, service, alloc, address string, port int, tags ...string) standin.Registration {
	return standin.Registration{
		ID: "_nomad-task-" + alloc + "-group-web-" + service + "-http", ServiceName: service, Namespace: ns, NodeID: "n1", Datacenter: "dc1",
		JobID: service, AllocID: alloc, Tags: tags, Address: address, Port: port,
	}
}

// describe gives "host/namespace port=address:port ..." with unhealthy endpoints marked by "!".
func describe(r *model.Registration) string {
	if r == nil {
		return "nothing"
	}
	out := []string{r.Key()}
	for _, in := range r.Instances {
		e := fmt.Sprintf("%d=%s:%d", in.ServicePort, in.Address, in.Port)
		if in.Unhealthy {
			e += "!"
		}
		out = append(out, e)
	}
	return strings.Join(out, " ")
}

// followed is what a registry has said so far.
type followed struct {
	mu       sync.Mutex
	services map[string]string
	changed  chan struct{}
}

func follow(t *testing.T, opts Options) (*watch.Watcher, *followed) {
	t.Helper()
	w, err := New(opts, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	f := &followed{services: map[string]string{}, changed: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- w.Run(ctx, func(d watch.Delta) {
			f.mu.Lock()
			defer f.mu.Unlock()
			for _, r := range d.Changed {
				f.services[r.Key()] = describe(r)
			}
			for _, key := range d.Removed {
				delete(f.services, key)
			}
			select {
			case f.changed <- struct{}{}:
			default:
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w, f
}

// until waits for exactly these services.
func (f *followed) until(t *testing.T, want ...string) {
	t.Helper()
	over := time.After(time.Minute)
	for {
		f.mu.Lock()
		got := slices.Sorted(maps.Values(f.services))
		f.mu.Unlock()
		if slices.Equal(got, want) {
			return
		}
		select {
		case <-f.changed:
		case <-over:
			t.Fatalf("services %q, want %q", got, want)
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for over := time.After(time.Minute); !ok(); {
		select {
		case <-tick.C:
		case <-over:
			t.Fatalf("within 20 s it did not come to this: %s", what)
		}
	}
}

func TestNomad(t *testing.T) {
	agent := standin.New()
	defer agent.Close()
	agent.Put(instance("default", "web", "a1", "10.0.0.1", 23001, "version=v1", "protocol=http"))
	agent.Put(instance("default", "web", "a2", "10.0.0.2", 23002, "version|v2", "protocol|http"))
	agent.Put(instance("default", "redis", "a3", "10.0.0.3", 23003, "port|6379", "protocol|tcp"))
	agent.Put(instance("team", "web", "a4", "10.0.0.4", 23004))
	agent.SetCheck("a1", "web", "success")
	agent.SetCheck("a2", "web", "pending")
	w, f := follow(t, Options{Address: agent.Addr(), Namespace: "*", CheckInterval: 20 * time.Millisecond})
	f.until(t,
		"redis.service.nomad/default 6379=10.0.0.3:23003",
		"web.service.nomad/default 80=10.0.0.1:23001 80=10.0.0.2:23002!", // not checked yet
		"web.service.team.ns.nomad/team 80=10.0.0.4:23004")

	agent.SetCheck("a2", "web", "success")
	agent.Remove(instance("team", "web", "a4", "", 0).ID)
	agent.Put(instance("default", "redis", "a5", "10.0.0.5", 23005, "port|6379", "protocol|tcp"))
	f.until(t,
		"redis.service.nomad/default 6379=10.0.0.3:23003 6379=10.0.0.5:23005",
		"web.service.nomad/default 80=10.0.0.1:23001 80=10.0.0.2:23002")

	// A check fails, and runs anew after its client has been restarted: until it has succeeded it counts as before.
	agent.SetCheck("a1", "web", "failure")
	failed := "web.service.nomad/default 80=10.0.0.1:23001! 80=10.0.0.2:23002"
	redis := "redis.service.nomad/default 6379=10.0.0.3:23003 6379=10.0.0.5:23005"
	f.until(t, redis, failed)
	agent.SetCheck("a1", "web", "pending")
	agent.SetCheck("a2", "web", "pending")
	before := agent.CheckReads("a1") + agent.CheckReads("a2")
	eventually(t, "the checks are read again", func() bool { return agent.CheckReads("a1")+agent.CheckReads("a2") >= before+6 })
	f.until(t, redis, failed)
	// An allocation without checks is not asked again and again.
	if n := agent.CheckReads("a3"); n > 1 {
		t.Errorf("the checks of an allocation without any were read %d times", n)
	}

	// Nomad goes, and comes back.
	agent.SetDown(true)
	eventually(t, "the registry is away", func() bool { return !w.Status().Connected })
	f.until(t, redis, failed)
	agent.SetDown(false)
	agent.SetCheck("a1", "web", "success")
	agent.SetCheck("a2", "web", "success")
	f.until(t, redis, "web.service.nomad/default 80=10.0.0.1:23001 80=10.0.0.2:23002")
	if s := w.Status(); s.Registry != "Nomad" || s.Services != 2 || !strings.Contains(s.LastError, "500 Internal Server Error: No cluster leader") {
		t.Errorf("status %+v", s)
	}
}

func TestToken(t *testing.T) {
	agent := standin.New()
	defer agent.Close()
	agent.SetToken("secret")
	agent.Put(instance("default", "web", "a1", "10.0.0.1", 23001))
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("old\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, f := follow(t, Options{Address: agent.Addr(), TokenFile: file})
	eventually(t, "the token is refused", func() bool { return strings.Contains(w.Status().LastError, "needs read-job") })
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.until(t, "web.service.nomad/default 80=10.0.0.1:23001")
}

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		opts Options
		want string
	}{
		{Options{}, "needs the address of an agent"},
		{Options{Address: "ftp://x"}, "write it as http://HOST:4646"},
		{Options{Address: "http://x:1", TokenFile: "/no/such/file"}, "--nomad-token-file names the file"},
		{Options{Address: "https://x:1", CAFile: "/no/such/file"}, "no such file"},
		{Options{Address: "https://x:1", CAFile: "nomad.go"}, "holds no certificate"},
		{Options{Address: "https://x:1", CertFile: "nomad.go"}, "TLS"},
	} {
		if _, err := New(tt.opts, nil, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: err %v, want %q", tt.opts, err, tt.want)
		}
	}
}

func TestRegistration(t *testing.T) {
	s := scope{domain: "nomad"}
	for _, tt := range []struct {
		name     string
		list     []registration
		want     string
		problems string
	}{
		{"several ports", []registration{{ID: "a", Address: "10.0.0.1", Port: 23001, Tags: []string{"port|8080", "port-grpc|9090:23900"}}},
			"web.service.nomad/default 8080=10.0.0.1:23001 9090=10.0.0.1:23900", ""},
		{"no port", []registration{{ID: "a", Address: "10.0.0.1"}}, "nothing", "instance a has no port"},
		{"bad port", []registration{{ID: "a", Address: "10.0.0.1", Port: 99999}}, "nothing", "instance a: 80 to 65536 are no ports"},
		{"bad tag", []registration{{ID: "a", Address: "10.0.0.1", Port: 23001, Tags: []string{"port|many"}}}, "nothing", `"many" is no port`},
		{"nothing", nil, "nothing", ""},
	} {
		r, problems := s.registration("default", "web", tt.list, nil)
		if got := describe(r); got != tt.want || !strings.Contains(strings.Join(problems, "; "), tt.problems) || tt.problems == "" && len(problems) > 0 {
			t.Errorf("%s: %s, problems %q; want %s, %q", tt.name, got, problems, tt.want, tt.problems)
		}
	}
}

// TestChecksThatCannotBeRead leave the instance as it was, and are told.
func TestChecksThatCannotBeRead(t *testing.T) {
	now := time.Unix(1000, 0)
	var results []checkResult
	var err error
	c := newChecks(func(context.Context, string, string) ([]checkResult, error) { return results, err }, time.Second, func() time.Time { return now })
	list := []registration{{ID: "a", AllocID: "a1"}}
	for _, step := range []struct {
		results   []checkResult
		err       error
		unhealthy bool
		problem   bool
	}{
		{nil, errors.New("no path to node"), false, true},
		{[]checkResult{{"web", "success"}, {"web", "failure"}, {"other", "success"}}, nil, true, false},
		{nil, errors.New("no path to node"), true, true},
		{[]checkResult{{"web", "success"}, {"other", "failure"}}, nil, false, false},
		{[]checkResult{{"web", "strange"}}, nil, false, false},
	} {
		results, err = step.results, step.err
		now = now.Add(time.Second)
		got, problems := c.unhealthy(t.Context(), "default", "web", list)
		if got["a1"] != step.unhealthy || (len(problems) > 0) != step.problem {
			t.Errorf("%+v: unhealthy %v, problems %q", step, got, problems)
		}
	}
	now = now.Add(2 * while)
	c.unhealthy(t.Context(), "default", "web", nil)
	if len(c.allocs) != 0 {
		t.Error("allocations are never forgotten")
	}
}
