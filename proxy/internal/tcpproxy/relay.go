package tcpproxy

import (
	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
)

// OnData implements conn.Handler for downstream.
func (s *session) OnData(c *conn.Conn, eof bool) {
	if !s.upOpen {
		s.early(c, eof)
		return
	}
	if s.readDown && !s.meet(c, eof, &s.readDown, &s.info.DownstreamPeer) {
		return
	}
	n := c.In().Len()
	if n > 0 {
		s.sentUp(n)
		s.relay(s.up, c)
	}
	if eof {
		s.upEnded = true
		s.up.CloseWrite()
	}
	s.active()
}

// OnData implements conn.Handler for upstream.
func (u *upstream) OnData(c *conn.Conn, eof bool) {
	s := (*session)(u)
	if s.readUp && !s.meet(c, eof, &s.readUp, &s.info.UpstreamPeer) {
		return
	}
	n := c.In().Len()
	if n > 0 {
		s.sentDown(n)
		s.relay(s.down, c)
	}
	if eof {
		s.upRemote = s.upEnded // who ends last is the one that ends the connection
		s.down.CloseWrite()
	}
	s.active()
}

func (s *session) sentUp(n int) {
	s.info.BytesReceived += uint64(n)
	s.info.UpstreamTxBytes += uint64(n)
	s.info.DownstreamMeter.Got(n)
	if s.tunnel == nil {
		s.info.UpstreamMeter.Put(n)
	}
	s.count(rxBytes, uint64(n))
	s.local.Add(cluster.CxTxBytesTotal, uint64(n))
}

func (s *session) sentDown(n int) {
	s.info.BytesSent += uint64(n)
	s.info.UpstreamRxBytes += uint64(n)
	s.info.DownstreamMeter.Put(n)
	if s.tunnel == nil {
		s.info.UpstreamMeter.Got(n)
	}
	s.count(txBytes, uint64(n))
	s.local.Add(cluster.CxRxBytesTotal, uint64(n))
}

// OnSpliced implements conn.SpliceHandler for downstream.
func (s *session) OnSpliced(_ *conn.Conn, n int) {
	s.sentUp(n)
	s.active()
}

// OnSpliced implements conn.SpliceHandler for upstream.
func (u *upstream) OnSpliced(_ *conn.Conn, n int) {
	s := (*session)(u)
	s.sentDown(n)
	s.active()
}

// relay passes what src has read to dst. The block changes hands; nothing is copied unless dst
// is behind.
func (s *session) relay(dst, src *conn.Conn) {
	dst.Out().Move(src.In())
	dst.Flush()
	if dst.AboveHighWatermark() {
		src.PauseRead()
		if src == s.down {
			s.count(pausedReading, 1)
		} else {
			s.local.Inc(cluster.FlowControlPausedReadingTotal)
		}
	}
}

// OnWritable implements conn.Handler: downstream has taken half of what was pending.
func (s *session) OnWritable(*conn.Conn) {
	if s.up != nil && s.upOpen {
		s.local.Inc(cluster.FlowControlResumedReadingTotal)
		s.up.ResumeRead()
	}
}

// OnWritable implements conn.Handler for upstream.
func (u *upstream) OnWritable(*conn.Conn) {
	u.count(resumedReading)
	u.down.ResumeRead()
}

func (u *upstream) count(i int) { (*session)(u).count(i, 1) }

// active puts the idle timeout off.
func (s *session) active() {
	if s.idleTimeout > 0 && !s.ended {
		s.loop.Arm(&s.idle, s.idleTimeout)
	}
	if s.leaving && !s.ended {
		s.leave()
	}
}
