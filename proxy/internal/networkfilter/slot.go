package networkfilter

import (
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/listener"
	"github.com/lateen-mesh/lateen/proxy/internal/liveslot"
)

// Slot is the place of a filter whose configuration comes while the proxy runs (ECDS): a connection is judged by the filter that is
// there when it comes, which stays until the connection is gone. It implements Holder. The server sets and clears it.
type Slot struct {
	liveslot.Slot[Filter]
	// Missing counts a connection that is closed because there is no filter.
	Missing func(worker int)
}

// OnNewConnection is not called: see Holder.
func (*Slot) OnNewConnection(*conn.Conn, *listener.Context) bool { return true }

// HoldConnection implements Holder.
func (s *Slot) HoldConnection(c *conn.Conn, at *listener.Context, proceed func()) {
	v := s.Take()
	if v == nil {
		s.Missing(c.Loop().ID())
		Refuse(c, 0)
		return
	}
	OnClosed(c, v.Leave)
	if h, ok := v.Value.(Holder); ok {
		h.HoldConnection(c, at, proceed)
		return
	}
	if v.Value.OnNewConnection(c, at) {
		proceed()
	}
}
