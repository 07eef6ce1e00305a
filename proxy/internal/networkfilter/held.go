package networkfilter

import "github.com/lateen-mesh/lateen/proxy/internal/conn"

// Held is a connection that a Holder keeps until somebody has answered, and its handler meanwhile: nothing of it is read.
type Held struct {
	c       *conn.Conn
	proceed func()
	over    func()
	cancel  func() // nil: nobody is waited for
}

// Hold takes a connection from HoldConnection, with its proceed. over is called once, when the waiting ends, in whatever way.
func (h *Held) Hold(c *conn.Conn, proceed, over func()) {
	h.c, h.proceed, h.over = c, proceed, over
	c.SetHandler(h)
	c.PauseRead()
}

// Conn is the connection.
func (h *Held) Conn() *conn.Conn { return h.c }

// Await says how the question is taken back if the connection ends before there is an answer.
func (h *Held) Await(cancel func()) { h.cancel = cancel }

// Answered ends the waiting. Proceed or Refuse follows.
func (h *Held) Answered() {
	h.cancel = nil
	h.over()
}

// Proceed hands the connection to the next filter.
func (h *Held) Proceed() {
	h.c.ResumeRead()
	h.proceed()
}

// OnData implements conn.Handler. Nothing is read while the connection is held.
func (*Held) OnData(*conn.Conn, bool) {}

// OnWritable implements conn.Handler.
func (*Held) OnWritable(*conn.Conn) {}

// OnClose implements conn.Handler: nobody waits for the answer any more.
func (h *Held) OnClose(*conn.Conn, error) {
	if cancel := h.cancel; cancel != nil {
		cancel()
		h.Answered()
	}
}
