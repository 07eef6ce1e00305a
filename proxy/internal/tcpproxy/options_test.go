package tcpproxy

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// exchange says hello and wants it back.
func exchange(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	var b [5]byte
	if _, err := io.ReadFull(c, b[:]); err != nil || string(b[:]) != "hello" {
		t.Fatalf("%q came back: %v", b, err)
	}
}

func (w *world) await(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			w.t.Fatalf("%s: not within a minute", what)
		}
	}
}

// TestJitter: a connection may last longer by a part of its time, and no more.
func TestJitter(t *testing.T) {
	for _, test := range []struct {
		jitter float64
		random uint64
		want   time.Duration
	}{
		{0, 1 << 63, time.Second},
		{0.5, 0, time.Second},
		{0.5, 499_999_999, 1_499_999_999},
		{0.5, 500_000_001, time.Second + 1},
		{1, 999_999_999, 1_999_999_999},
	} {
		p := &Proxy{cfg: &xdsresource.TCPProxy{DurationJitter: test.jitter}}
		if got := p.jittered(time.Second, test.random); got != test.want {
			t.Errorf("%v of a second, random number %d: %v, want %v", test.jitter, test.random, got, test.want)
		}
	}
}

// TestConnectOnData: no host is connected to before the client has spoken.
func TestConnectOnData(t *testing.T) {
	w := newWorld(t)
	accepted := make(chan struct{}, 1)
	w.cluster("c", nil, backend(t, "tcp", func(c net.Conn) {
		accepted <- struct{}{}
		echo(c)
	}))
	addr := w.proxy(&xdsresource.TCPProxy{Cluster: "c", ConnectOnData: true, EarlyData: true, EarlyDataMax: 10, IdleTimeout: time.Hour})
	c := dial(t, addr)
	w.await("the connection is there", func() bool { return w.stat("tcp.test.downstream_cx_total") == 1 })
	if n := w.stat("cluster.c.upstream_cx_total"); n != 0 || len(accepted) > 0 {
		t.Fatalf("%d connections to hosts for a client that has said nothing", n)
	}
	exchange(t, c)
	<-accepted
	_ = c.Close()
	if i := <-w.ended; i.BytesReceived != 5 || i.UpstreamCluster != "c" {
		t.Errorf("%d bytes to cluster %q", i.BytesReceived, i.UpstreamCluster)
	}
	if n := w.stat("tcp.test.early_data_received_count_total"); n != 1 {
		t.Errorf("early data was counted %d times", n)
	}

	silent := dial(t, addr) // it ends instead
	_ = silent.CloseWrite()
	if b, err := io.ReadAll(silent); err != nil || len(b) > 0 {
		t.Errorf("%q, %v", b, err)
	}
	if i := <-w.ended; i.UpstreamCluster != "" || len(accepted) > 0 {
		t.Errorf("a client that said nothing went to %q", i.UpstreamCluster)
	}
}

// TestSilentClient: one that never speaks does not stay for ever.
func TestSilentClient(t *testing.T) {
	w := newWorld(t)
	w.cluster("c", nil, backend(t, "tcp", echo))
	c := dial(t, w.proxy(&xdsresource.TCPProxy{Cluster: "c", ConnectOnData: true, EarlyData: true, IdleTimeout: 20 * time.Millisecond}))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if i := <-w.ended; i.Flags&streaminfo.StreamIdleTimeout == 0 {
		t.Errorf("flags %v", i.Flags)
	}
}

// TestEarlyData: what does not fit waits on the wire, and arrives.
func TestEarlyData(t *testing.T) {
	for _, most := range []uint32{0, 3, 1 << 20} {
		w := newWorld(t)
		w.cluster("c", nil, backend(t, "tcp", echo))
		c := dial(t, w.proxy(&xdsresource.TCPProxy{Cluster: "c", EarlyData: true, EarlyDataMax: most}))
		exchange(t, c)
		exchange(t, c)
		_ = c.Close()
		if i := <-w.ended; i.BytesReceived != 10 || i.BytesSent != 10 {
			t.Errorf("at most %d: %d bytes in, %d out", most, i.BytesReceived, i.BytesSent)
		}
	}
}

// TestCheckDrain: when the listener drains, the next bytes end the connection, and arrive.
func TestCheckDrain(t *testing.T) {
	for _, check := range []bool{true, false} {
		w := newWorld(t)
		w.cluster("c", nil, backend(t, "tcp", echo))
		c := dial(t, w.proxy(&xdsresource.TCPProxy{Cluster: "c", CheckDrain: check}))
		exchange(t, c)
		w.listener.Drain(time.Hour, true)
		asked := make(chan struct{})
		w.loop.Post(func() { w.loop.Post(func() { close(asked) }) })
		<-asked
		if !check {
			exchange(t, c)
			exchange(t, c)
			_ = c.Close()
			<-w.ended
			continue
		}
		_, _ = c.Write([]byte("last"))
		if _, err := io.ReadAll(c); err != nil {
			t.Errorf("the end came as %v", err)
		}
		if i := <-w.ended; i.BytesReceived != 9 || i.DownstreamCloseReason != "drain_close" {
			t.Errorf("%d bytes came, reason %q", i.BytesReceived, i.DownstreamCloseReason)
		}
	}
}

// asking is a source of clusters that the test answers for.
type asking struct {
	w     *world
	found chan bool // what is answered; nil: nothing ever
	names chan string
	given chan string // names of those that are no longer waited for
}

func (a *asking) Want(_ xdsresource.ConfigSource, name string, l *eventloop.Loop, done func(bool)) func() {
	a.names <- name
	if a.found != nil {
		go func() {
			found := <-a.found
			l.Post(func() { done(found) })
		}()
	}
	return func() { a.given <- name }
}

// TestOnDemand: a session waits for its cluster, and ends without it.
func TestOnDemand(t *testing.T) {
	for name, test := range map[string]struct {
		answers, found bool
		stat           string
	}{
		"found":   {true, true, "success"},
		"none":    {true, false, "missing"},
		"silence": {false, false, "timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := &asking{w: w, names: make(chan string, 2), given: make(chan string, 2)}
			timeout := 20 * time.Millisecond
			if test.answers {
				a.found, timeout = make(chan bool), time.Hour
			}
			w.demand = a
			c := dial(t, w.proxy(&xdsresource.TCPProxy{Cluster: "late", OnDemand: &xdsresource.OnDemandClusters{Timeout: timeout}}))
			if got := <-a.names; got != "late" {
				t.Fatalf("asked for %q", got)
			}
			if test.found {
				w.cluster("late", nil, backend(t, "tcp", echo))
			}
			if test.answers {
				a.found <- test.found
			}
			if test.found {
				exchange(t, c)
				_ = c.Close()
			} else if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("%d bytes, %v", n, err)
			}
			if i := <-w.ended; i.Flags&streaminfo.NoClusterFound != 0 == test.found {
				t.Errorf("flags %v", i.Flags)
			}
			for _, s := range []string{"attempt", test.stat} {
				if n := w.stat("tcp.test.on_demand_cluster_" + s); n != 1 {
					t.Errorf("on_demand_cluster_%s %d, want 1", s, n)
				}
			}
			if !test.answers && <-a.given != "late" {
				t.Error("the wait was not given up")
			}
		})
	}
}

// TestOnDemandAbandoned: a client that leaves waits for nothing any more.
func TestOnDemandAbandoned(t *testing.T) {
	w := newWorld(t)
	a := &asking{w: w, names: make(chan string, 1), given: make(chan string, 1)}
	w.demand = a
	c := dial(t, w.proxy(&xdsresource.TCPProxy{Cluster: "late", OnDemand: &xdsresource.OnDemandClusters{Timeout: time.Hour}}))
	<-a.names
	_ = c.SetLinger(0)
	_ = c.Close()
	<-a.given
	<-w.ended
}
