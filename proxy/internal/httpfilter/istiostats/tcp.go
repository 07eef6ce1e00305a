package istiostats

import "github.com/lateen-mesh/lateen/proxy/internal/streaminfo"

// TCP counts one proxied connection; it belongs to the connection's worker.
type TCP struct {
	w              *worker
	info           *streaminfo.Info
	h              *tcpHandles
	sent, received uint64 // reported so far
}

// NewTCP begins to count a connection whose record is info. Call Opened as soon as its
// cluster is known.
func (r *Reporter) NewTCP(worker int, info *streaminfo.Info) TCP {
	return TCP{w: r.worker(worker), info: info}
}

// Opened counts the connection as opened, under what is known of its peers by now.
func (t *TCP) Opened() {
	t.h = t.w.tcpHandles(t.info)
	t.w.shard.Inc(t.h.opened)
}

// Report counts the bytes since the last report: BytesSent and BytesReceived of the record.
// Long connections call it every fifteen seconds (Istio's tcp_reporting_duration).
func (t *TCP) Report() {
	if t.h == nil {
		t.Opened()
	}
	t.w.shard.Add(t.h.sent, t.info.BytesSent-t.sent)
	t.w.shard.Add(t.h.received, t.info.BytesReceived-t.received)
	t.sent, t.received = t.info.BytesSent, t.info.BytesReceived
}

// Closed counts the rest and the connection as closed, with the flags that it ended with.
func (t *TCP) Closed() {
	if t.h == nil {
		t.Opened()
	}
	t.h = t.w.tcpHandles(t.info)
	t.Report()
	t.w.shard.Inc(t.h.closed)
}

func (w *worker) tcpHandles(info *streaminfo.Info) *tcpHandles {
	k := w.key(info)
	k.protocol, k.grpcStatus = "tcp", -1
	if h := w.tcp[k]; h != nil {
		return h
	}
	if w.tcp == nil || len(w.tcp) >= maxSeries {
		w.tcp = make(map[series]*tcpHandles)
	}
	tags := w.labels(&k)
	h := &tcpHandles{
		sent: w.counter(&w.tcpSent, tags), received: w.counter(&w.tcpReceived, tags),
		opened: w.counter(&w.tcpOpened, tags), closed: w.counter(&w.tcpClosed, tags),
	}
	w.tcp[k] = h
	return h
}
