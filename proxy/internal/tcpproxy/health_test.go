package tcpproxy

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// TestHostFails: sessions outlive the health of their host, unless the cluster says that they
// end with it.
func TestHostFails(t *testing.T) {
	for _, closes := range []bool{false, true} {
		w := newWorld(t)
		var sick atomic.Bool
		back := backend(t, "tcp", func(c net.Conn) {
			b := make([]byte, 1)
			for {
				if _, err := c.Read(b); err != nil || b[0] == '?' && sick.Load() {
					return
				}
				_, _ = c.Write(b)
			}
		})
		w.cluster("c", func(c *xdsresource.Cluster) {
			c.CloseOnHealthFailure = closes
			d := 10 * time.Millisecond
			c.HealthChecks = []*xdsresource.HealthCheck{{
				Timeout: time.Second, Interval: d, NoTrafficInterval: d, NoTrafficHealthyInterval: d, UnhealthyInterval: d,
				UnhealthyEdgeInterval: d, HealthyEdgeInterval: d, UnhealthyThreshold: 1, HealthyThreshold: 1,
				TCP: &xdsresource.TCPHealthCheck{Send: []byte("?"), Receive: [][]byte{[]byte("?")}},
			}}
		}, back)
		healthy := func(want int64) {
			for tick := time.Tick(time.Millisecond); w.stat("cluster.c.membership_healthy") != want; <-tick {
			}
		}
		healthy(1)
		c := dial(t, w.proxy(&xdsresource.TCPProxy{Cluster: "c"}))
		echoed := func() error {
			if _, err := c.Write([]byte("x")); err != nil {
				return err
			}
			_, err := io.ReadFull(c, make([]byte, 1))
			return err
		}
		if err := echoed(); err != nil {
			t.Fatal(err)
		}
		sick.Store(true)
		if closes {
			_, _ = io.ReadAll(c) // until the session ends, or the deadline
			if <-w.ended; w.stat("cluster.c.upstream_cx_destroy_local_with_active_rq") != 1 {
				t.Error("the session did not end by us")
			}
			continue
		}
		healthy(0)
		if err := echoed(); err != nil {
			t.Errorf("a session ended with its host's health: %v", err)
		}
		_ = c.Close()
		<-w.ended
	}
}
