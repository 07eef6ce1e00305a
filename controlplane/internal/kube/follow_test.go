package kube_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/lateen-mesh/lateen/controlplane/internal/kube"
	"github.com/lateen-mesh/lateen/controlplane/internal/kube/kubetest"
)

func pod(ns, name, ip string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", namespace: " + ns + "}\nstatus: {podIP: " + ip + "}"
}

// text is a log that several goroutines write.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *text) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *text) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), part)
}

// follow follows pods and returns what it is told, and what fails.
func follow(t *testing.T, s *kubetest.Server, log *text) (*kube.Client, chan kube.Update, chan time.Time) {
	t.Helper()
	c, err := kube.Connect(s.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	failures := make(chan time.Time, 100)
	c.Health.Observe(func(_ bool, failed time.Time) {
		if !failed.IsZero() {
			failures <- failed
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	updates, done := make(chan kube.Update), make(chan struct{})
	go func() {
		defer close(done)
		kube.Follow(ctx, c.Pods(), c.Health, slog.New(slog.NewTextHandler(log, nil)), func(u kube.Update) {
			select {
			case updates <- u:
			case <-ctx.Done():
			}
		})
	}()
	t.Cleanup(func() { cancel(); <-done })
	return c, updates, failures
}

func next(t *testing.T, updates chan kube.Update) string {
	t.Helper()
	select {
	case u := <-updates:
		var names []string
		for _, o := range u.Objects {
			m, err := meta.Accessor(o)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, m.GetNamespace()+"/"+m.GetName()+"@"+o.(*corev1.Pod).Status.PodIP)
		}
		slices.Sort(names)
		for _, n := range u.Gone {
			names = append(names, "-"+n.String())
		}
		if u.All {
			return u.Resource + " all: " + strings.Join(names, " ")
		}
		return u.Resource + ": " + strings.Join(names, " ")
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was told within 20 s")
		return ""
	}
}

// TestFollow: all that there is, then each change, over a connection that breaks and events that are gone.
func TestFollow(t *testing.T) {
	s, log := kubetest.New(t), &text{}
	s.Put(pod("shop", "a", "10.0.0.1"))
	c, updates, failures := follow(t, s, log)
	want := func(what string) {
		t.Helper()
		if got := next(t, updates); got != what {
			t.Fatalf("told %q, want %q", got, what)
		}
	}
	want("pods all: shop/a@10.0.0.1")
	s.Put(pod("shop", "b", "10.0.0.2"))
	want("pods: shop/b@10.0.0.2")
	s.Put(pod("shop", "b", "10.0.0.3"))
	want("pods: shop/b@10.0.0.3")
	s.Delete("v1", "Pod", "shop", "a")
	want("pods: -shop/a")
	if st := c.Health.State(); len(st.Failing) != 0 || st.LastContact.IsZero() {
		t.Errorf("health is %+v", st)
	}
	// What happens while the watch is cut comes with a new list.
	s.Refuse("v1", "Pod", http.StatusServiceUnavailable)
	s.Cut()
	<-failures
	s.Put(pod("shop", "c", "10.0.0.4"))
	s.Delete("v1", "Pod", "shop", "b")
	s.Refuse("v1", "Pod", 0)
	want("pods all: shop/c@10.0.0.4")
	if st := c.Health.State(); len(st.Failing) != 0 || st.LastError == "" || st.LastErrorAt.IsZero() {
		t.Errorf("health after a failure is %+v", st)
	}
	if n := log.count("kubernetes can be read again"); n != 1 {
		t.Errorf("the log says %d times that it is well again: %s", n, log.b.String())
	}
}

// TestRefused: what is not allowed is said once, with the server's reason, and followed as soon as it is allowed.
func TestRefused(t *testing.T) {
	s, log := kubetest.New(t), &text{}
	s.Put(pod("shop", "a", "10.0.0.1"))
	s.Refuse("v1", "Pod", http.StatusForbidden)
	c, updates, failures := follow(t, s, log)
	<-failures
	<-failures // it is tried again
	if why := c.Health.State().Failing["pods"]; !strings.Contains(why, "pods is refused to you") {
		t.Errorf("pods fail since %q", why)
	}
	if n := log.count("pods is refused to you"); n != 1 {
		t.Errorf("the log says it %d times: %s", n, log.b.String())
	}
	s.Refuse("v1", "Pod", 0)
	if got := next(t, updates); got != "pods all: shop/a@10.0.0.1" {
		t.Errorf("told %q", got)
	}
}

// TestConnect names what is wrong with a kubeconfig.
func TestConnect(t *testing.T) {
	if _, err := kube.Connect("/nonexistent/kubeconfig"); err == nil || !strings.Contains(err.Error(), "/nonexistent/kubeconfig: no such file") {
		t.Errorf("error is %v", err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := kube.Connect(kube.InCluster); err == nil || !strings.Contains(err.Error(), "outside of a pod give the path of a kubeconfig") {
		t.Errorf("error is %v", err)
	}
}
