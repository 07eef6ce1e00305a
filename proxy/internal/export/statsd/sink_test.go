package statsd

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func snapshot(t *testing.T, s *stats.Store) *stats.Snapshot {
	t.Helper()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	p, err := s.Snapshot(t.Context(), stats.Query{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func fill(s *stats.Store) {
	cluster := s.Scope("cluster").Tagged("envoy.cluster_name", "we|b")
	s.Main().Add(cluster.Counter("upstream_rq_total"), 5)
	s.Main().GaugeSet(s.Gauge("server.live"), 1)
	h := s.Histogram("a.time")
	for range 3 {
		s.Main().Record(h, 7)
	}
	s.Counter("never.used")
}

func TestDatagrams(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	_ = pc.SetDeadline(time.Now().Add(time.Minute))
	ap := netip.MustParseAddrPort(pc.LocalAddr().String())
	read := func() []string {
		buf := make([]byte, 2048)
		n, _, err := pc.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(string(buf[:n]), "\n")
	}
	store := stats.NewStore(stats.Options{})
	fill(store)
	cfg := xdsresource.StatsSink{Prefix: "p", Address: xdsresource.Address{IP: ap.Addr(), Port: ap.Port()}}
	plain := New(cfg, nil)
	defer plain.Close()
	if err := plain.Flush(t.Context(), snapshot(t, store)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 3 { // one measurement in a datagram
		got = append(got, read()...)
	}
	slices.Sort(got)
	if want := []string{"p.a.time:7|ms|@0.3333333333", "p.cluster.we_b.upstream_rq_total:5|c", "p.server.live:1|g"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}

	cfg.Dog, cfg.MaxBytes = true, 1000
	dog := New(cfg, nil)
	defer dog.Close()
	if err := dog.Flush(t.Context(), snapshot(t, store)); err != nil { // an interval without values of the histogram
		t.Fatal(err)
	}
	got = read()
	slices.Sort(got)
	if want := []string{"p.cluster.upstream_rq_total:5|c|#envoy.cluster_name:we_b", "p.server.live:1|g"}; !slices.Equal(got, want) {
		t.Errorf("DogStatsD: got %q, want %q", got, want)
	}
	// A counter that did not grow is not sent again.
	if err := dog.Flush(t.Context(), snapshot(t, store)); err != nil {
		t.Fatal(err)
	}
	if got := read(); !slices.Equal(got, []string{"p.server.live:1|g"}) {
		t.Errorf("second flush: %q", got)
	}
}

// TestTCP: after a connection that could not be made the growth of counters comes with the next.
func TestTCP(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	store := stats.NewStore(stats.Options{})
	fill(store)
	away := true
	s := New(xdsresource.StatsSink{Prefix: "p", Cluster: "c"}, func(ctx context.Context) (net.Conn, error) {
		if away {
			return nil, context.DeadlineExceeded
		}
		return (&net.Dialer{}).DialContext(ctx, "tcp", lis.Addr().String())
	})
	if err := s.Flush(t.Context(), snapshot(t, store)); err == nil {
		t.Fatal("no error")
	}
	away = false
	if err := s.Flush(t.Context(), snapshot(t, store)); err != nil {
		t.Fatal(err)
	}
	s.Close()
	c, err := lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var got []string
	for sc := bufio.NewScanner(c); sc.Scan(); {
		got = append(got, sc.Text())
	}
	if !slices.Contains(got, "p.cluster.we_b.upstream_rq_total:5|c") {
		t.Errorf("got %q", got)
	}
}
