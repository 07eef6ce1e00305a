package cluster

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestScale: a mesh of 1,000 services with 10,000 endpoints, of which a proxy talks to few,
// fits into a few megabytes.
func TestScale(t *testing.T) {
	var before, after runtime.MemStats
	m := newMesh(t, 2, nil)
	cfgs := make([]*xdsresource.Cluster, 1000)
	eps := make([]*xdsresource.Endpoints, 1000)
	for i := range cfgs {
		cfgs[i] = eds(fmt.Sprintf("outbound|80||service-%d.ns.svc.cluster.local", i))
		cfgs[i].LB.LocalityWeighted = true
		var addrs []string
		for j := range 10 {
			addrs = append(addrs, fmt.Sprintf("10.%d.%d.%d:80", i/250, i%250, j))
		}
		eps[i] = endpoints(addrs...)
	}
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := time.Now()
	for i, c := range cfgs {
		m.update(t, c)
		m.UpdateEndpoints(c.Name, eps[i])
	}
	took := time.Since(start)
	for i := range 20 {
		if m.Local(0).Get(cfgs[i].Name).Pick(&lb.Context{}) == nil {
			t.Fatal("no host")
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > 12<<20 {
		t.Errorf("%d KB for 10,000 hosts", used>>10)
	}
	t.Logf("loaded in %v, %d KB", took, (int64(after.HeapAlloc)-int64(before.HeapAlloc))>>10)
	runtime.KeepAlive(m)
}
