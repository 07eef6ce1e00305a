package admin

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

// Statistics of the API's own traffic, "http.admin.*", in the order of adminSet. Envoy serves its API by a
// connection manager, whose names these are.
const (
	cxTotal = iota
	cxActive
	cxHTTP1Total
	cxHTTP1Active
	cxDestroy
	cxDestroyLocal
	cxDestroyRemote
	cxRxBytes
	cxTxBytes
	cxLength
	rqTotal
	rqHTTP1Total
	rqActive
	rqCompleted
	rq1xx // rq1xx+i is of class i+1
	rq2xx
	rq3xx
	rq4xx
	rq5xx
	rqTime
)

var adminSet = stats.NewSet(
	stats.Item{Name: "downstream_cx_total"}, stats.Item{Name: "downstream_cx_active", Kind: stats.KindGauge},
	stats.Item{Name: "downstream_cx_http1_total"}, stats.Item{Name: "downstream_cx_http1_active", Kind: stats.KindGauge},
	stats.Item{Name: "downstream_cx_destroy"}, stats.Item{Name: "downstream_cx_destroy_local"}, stats.Item{Name: "downstream_cx_destroy_remote"},
	stats.Item{Name: "downstream_cx_rx_bytes_total"}, stats.Item{Name: "downstream_cx_tx_bytes_total"},
	stats.Item{Name: "downstream_cx_length_ms", Kind: stats.KindHistogram},
	stats.Item{Name: "downstream_rq_total"}, stats.Item{Name: "downstream_rq_http1_total"},
	stats.Item{Name: "downstream_rq_active", Kind: stats.KindGauge}, stats.Item{Name: "downstream_rq_completed"},
	stats.Item{Name: "downstream_rq_1xx"}, stats.Item{Name: "downstream_rq_2xx"}, stats.Item{Name: "downstream_rq_3xx"},
	stats.Item{Name: "downstream_rq_4xx"}, stats.Item{Name: "downstream_rq_5xx"},
	stats.Item{Name: "downstream_rq_time", Kind: stats.KindHistogram},
)

// Statistics of the API's listener, "listener.admin.*", in the order of listenerSet, and of the thread that serves it,
// "listener.admin.main_thread.*".
const (
	lisTotal = iota
	lisActive
	lisDestroy
	lisLength
)

var (
	listenerSet = stats.NewSet(
		stats.Item{Name: "downstream_cx_total"}, stats.Item{Name: "downstream_cx_active", Kind: stats.KindGauge},
		stats.Item{Name: "downstream_cx_destroy"}, stats.Item{Name: "downstream_cx_length_ms", Kind: stats.KindHistogram},
	)
	threadSet   = stats.NewSet(stats.Item{Name: "downstream_cx_total"}, stats.Item{Name: "downstream_cx_active", Kind: stats.KindGauge})
	requestsSet = stats.NewSet(
		stats.Item{Name: "http.admin.downstream_rq_completed"},
		stats.Item{Name: "http.admin.downstream_rq_1xx"}, stats.Item{Name: "http.admin.downstream_rq_2xx"}, stats.Item{Name: "http.admin.downstream_rq_3xx"},
		stats.Item{Name: "http.admin.downstream_rq_4xx"}, stats.Item{Name: "http.admin.downstream_rq_5xx"},
	)
)

// counts are the statistics of the API's own traffic.
type counts struct {
	main                             stats.Main
	http, listener, thread, requests stats.Block
}

func newCounts(s *stats.Store) *counts {
	lis := s.Scope("listener").Scope("admin")
	return &counts{
		main: s.Main(), http: s.Scope("http").Tagged(stats.TagHTTPPrefix, "admin").Block(adminSet),
		listener: lis.Block(listenerSet), thread: lis.Scope("main_thread").Block(threadSet), requests: lis.Block(requestsSet),
	}
}

// connections counts what a listener accepts.
func (c *counts) connections(l net.Listener) net.Listener { return countedListener{l, c} }

type countedListener struct {
	net.Listener
	c *counts
}

func (l countedListener) Accept() (net.Conn, error) {
	cn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := l.c
	for _, i := range []int{cxTotal, cxHTTP1Total} {
		c.main.Inc(c.http.Counter(i))
	}
	c.main.Inc(c.listener.Counter(lisTotal))
	c.main.Inc(c.thread.Counter(lisTotal))
	c.active(1)
	return &countedConn{Conn: cn, c: c, began: time.Now()}, nil
}

func (c *counts) active(d int64) {
	c.main.GaugeAdd(c.http.Gauge(cxActive), d)
	c.main.GaugeAdd(c.http.Gauge(cxHTTP1Active), d)
	c.main.GaugeAdd(c.listener.Gauge(lisActive), d)
	c.main.GaugeAdd(c.thread.Gauge(lisActive), d)
}

// countedConn counts what goes over a connection, and its end.
type countedConn struct {
	net.Conn
	c      *counts
	began  time.Time
	remote atomic.Bool // the client has left, or the connection broke
	once   sync.Once
}

func (cn *countedConn) Read(p []byte) (int, error) {
	n, err := cn.Conn.Read(p)
	cn.c.main.Add(cn.c.http.Counter(cxRxBytes), uint64(n))
	if err != nil {
		if ne, ok := err.(net.Error); !ok || !ne.Timeout() {
			cn.remote.Store(true)
		}
	}
	return n, err
}

func (cn *countedConn) Write(p []byte) (int, error) {
	n, err := cn.Conn.Write(p)
	cn.c.main.Add(cn.c.http.Counter(cxTxBytes), uint64(n))
	return n, err
}

func (cn *countedConn) Close() error {
	cn.once.Do(func() {
		c, ms := cn.c, uint64(time.Since(cn.began).Milliseconds())
		end := cxDestroyLocal
		if cn.remote.Load() {
			end = cxDestroyRemote
		}
		c.main.Inc(c.http.Counter(cxDestroy))
		c.main.Inc(c.http.Counter(end))
		c.main.Record(c.http.Histogram(cxLength), ms)
		c.main.Inc(c.listener.Counter(lisDestroy))
		c.main.Record(c.listener.Histogram(lisLength), ms)
		c.active(-1)
	})
	return cn.Conn.Close()
}

// handler counts the requests of another one.
func (c *counts) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		c.main.Inc(c.http.Counter(rqTotal))
		c.main.Inc(c.http.Counter(rqHTTP1Total))
		c.main.GaugeAdd(c.http.Gauge(rqActive), 1)
		cw := &countedWriter{w, http.StatusOK}
		defer func() {
			c.main.GaugeAdd(c.http.Gauge(rqActive), -1)
			c.main.Inc(c.http.Counter(rqCompleted))
			c.main.Inc(c.requests.Counter(0))
			if class := cw.status / 100; class >= 1 && class <= 5 {
				c.main.Inc(c.http.Counter(rq1xx + class - 1))
				c.main.Inc(c.requests.Counter(class))
			}
			c.main.Record(c.http.Histogram(rqTime), uint64(time.Since(began).Milliseconds()))
		}()
		next.ServeHTTP(cw, r)
	})
}

// countedWriter remembers an answer's status.
type countedWriter struct {
	http.ResponseWriter
	status int
}

func (w *countedWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *countedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
