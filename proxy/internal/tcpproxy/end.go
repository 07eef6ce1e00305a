package tcpproxy

import (
	"errors"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
)

// OnClose implements conn.Handler: downstream is gone. Upstream ends the same way: in order,
// after what is on its way, or by a reset.
func (s *session) OnClose(c *conn.Conn, err error) {
	if s.up != nil {
		switch {
		case !s.upOpen:
			s.up.Close(conn.CloseNow)
		case isReset(err):
			s.info.DownstreamClose = streaminfo.ClosedByRemoteReset
			s.up.Close(conn.CloseReset)
		default:
			s.up.Close(conn.CloseFlushed)
		}
	}
	s.finish()
}

// OnClose implements conn.Handler: upstream is gone.
func (u *upstream) OnClose(c *conn.Conn, err error) {
	s := (*session)(u)
	if !s.upOpen {
		s.local.CountAttempts(c.Info().Attempts)
		if err == nil { // downstream left first
			s.waited(cluster.RqCancelled)
			s.release(false)
			s.up = nil
			return
		}
		s.connectFailed(err)
		return
	}
	s.release(s.upRemote || err != nil)
	s.upOpen = false
	s.up = nil
	s.local.Record(cluster.CxLengthMs, uint64(s.loop.Now()-s.info.UpstreamConnected)/1e6)
	if s.down.Closed() {
		return
	}
	switch {
	case isReset(err) && s.down.Pending() == 0:
		s.info.UpstreamClose = streaminfo.ClosedByRemoteReset
		// A reset passed on as an end would make a broken answer look whole.
		s.down.Close(conn.CloseReset)
	case err == nil:
		s.down.Close(conn.CloseFlushed)
	default:
		s.down.Close(conn.CloseAfterFlush)
	}
}

// OnHostFailed implements cluster.Dependent.
func (s *session) OnHostFailed() {
	if s.up != nil {
		s.up.Close(conn.CloseNow)
	}
}

func isReset(err error) bool {
	var e *conn.Error
	return errors.As(err, &e) && e.Kind == conn.PeerReset
}

func (s *session) onIdle() {
	s.count(idleTimeout, 1)
	s.info.Set(streaminfo.StreamIdleTimeout)
	s.info.TerminationDetails = "idle_timeout"
	s.closeFor("tcp_session_idle_timeout")
	s.down.Close(conn.CloseNow)
}

func (s *session) onMaxDuration() {
	s.count(maxDuration, 1)
	s.info.Set(streaminfo.DurationTimeout)
	s.info.TerminationDetails = "max_downstream_connection_duration"
	s.closeFor("max_connection_duration_reached")
	s.down.Close(conn.CloseNow)
}

// closeFor notes why we end both connections, in Envoy's words.
func (s *session) closeFor(reason string) {
	s.info.DownstreamCloseReason = reason
	if s.up != nil || s.tunnel != nil {
		s.info.UpstreamCloseReason = reason
	}
}

func (s *session) onReport() {
	s.opened() // a peer that still has not said who it is stays unknown
	s.meter.Report()
	s.loop.Arm(&s.report, reportEvery)
}

// finish counts and logs, once, when downstream is gone.
func (s *session) finish() {
	if s.ended {
		return
	}
	s.ended = true
	s.loop.Disarm(&s.idle)
	s.loop.Disarm(&s.backOff)
	s.loop.Disarm(&s.duration)
	s.loop.Disarm(&s.report)
	if s.entries != nil {
		s.loop.Disarm(s.entries)
	}
	s.demand.giveUp(s.loop)
	s.info.End = s.loop.Now() // the meter reads it
	if s.meter != nil {
		s.meter.Closed()
	}
	s.entry(format.TCPConnectionEnd)
}
