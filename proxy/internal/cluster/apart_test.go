package cluster_test

import (
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

// TestPoolPerDownstream: a client's connections are its own; each uses them again.
func TestPoolPerDownstream(t *testing.T) {
	for _, apart := range []bool{false, true} {
		fields := ""
		want := int64(1)
		if apart {
			fields, want = "connection_pool_per_downstream_connection: true", 2
		}
		p := proxytest.Start(t, proxytest.Config{Upstream: proxytest.Server(t, proxytest.Echo), UpstreamCluster: fields})
		a, b := p.Dial(), p.Dial()
		for range 2 {
			for _, c := range []*proxytest.Conn{a, b} {
				if r := c.Send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").Read("GET"); r.StatusCode != 200 {
					t.Fatal(r.StatusCode)
				}
			}
		}
		p.WantStats(map[string]int64{"cluster.up.upstream_cx_total": want, "cluster.up.upstream_rq_total": 4})
	}
}
