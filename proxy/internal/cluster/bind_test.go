package cluster

import (
	"log/slog"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestBindOfTheManager: a cluster that does not say where its connections come from takes what
// the bootstrap says.
func TestBindOfTheManager(t *testing.T) {
	common, own := &xdsresource.Bind{Freebind: true}, &xdsresource.Bind{}
	m := &mesh{store: stats.NewStore(stats.Options{Workers: 1}), workers: []*inline{{}}}
	m.Manager = New(Config{Workers: []Worker{m.workers[0]}, Stats: m.store, Logger: slog.New(slog.DiscardHandler), Bind: common})
	plain, bound := static("plain", "10.0.0.1:80"), static("bound", "10.0.0.1:80")
	bound.Bind = own
	m.update(t, plain)
	m.update(t, bound)
	if got := m.Local(0).Get("plain").Config().Bind; got != common {
		t.Errorf("%v, want the manager's", got)
	}
	if got := m.Local(0).Get("bound").Config().Bind; got != own {
		t.Errorf("%v, want the cluster's own", got)
	}
	if plain.Bind != nil {
		t.Error("the configuration that was given is changed")
	}
}
