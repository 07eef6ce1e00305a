// Package networkfilter is the contract of network filters, and the chain that they stand in before
// a terminal one (the HTTP connection manager, the TCP proxy).
//
// A filter sees a connection when it is there, after the TLS handshake: it may leave something in
// its filter state or metadata, count it, refuse it, or hold it until somebody else has decided. What
// a connection carries is the terminal filter's alone, so raw connections are still spliced. Packages below this one are the filters, each
// parsing its own configuration; server lists them. Terminal filters of a few lines (echo,
// direct_response) live here as well.
package networkfilter

import (
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/listener"
)

// Filter judges new connections. It is shared by all workers.
type Filter interface {
	// OnNewConnection is called on the connection's loop. False: the filter has closed the
	// connection, or will (Refuse), and no other filter sees it.
	OnNewConnection(c *conn.Conn, at *listener.Context) bool
}

// Holder is a filter that may need time. Its OnNewConnection is not called.
type Holder interface {
	Filter
	// HoldConnection is called in place of OnNewConnection. The connection goes on to the next filter
	// when proceed is called, within the call or later on the loop; until then it is the filter's, who
	// may close it instead.
	HoldConnection(c *conn.Conn, at *listener.Context, proceed func())
}

// Chain is the filters of a filter chain with the terminal one. It implements
// listener.NetworkHandler.
type Chain struct {
	Filters  []Filter
	Terminal listener.NetworkHandler
}

// Logger may be implemented by a terminal filter that logs connections. OnRefused is called on the connection's loop when a connection is gone that no filter
// before it has let through.
type Logger interface{ OnRefused(c *conn.Conn) }

// OnNewConnection implements listener.NetworkHandler.
func (ch *Chain) OnNewConnection(c *conn.Conn, at *listener.Context) {
	p := &passage{ch: ch, c: c, at: at}
	if l, ok := ch.Terminal.(Logger); ok && len(ch.Filters) > 0 {
		p.log, p.owner = l, c.Owner()
		c.SetOwner(p)
	}
	p.from(0)
}

// passage is a connection's way through a chain.
type passage struct {
	ch    *Chain
	c     *conn.Conn
	at    *listener.Context
	log   Logger // nil: nobody logs connections that do not arrive
	owner conn.Owner
	there bool // at the terminal filter
}

// from goes on with the filters from a position on.
func (p *passage) from(i int) {
	for ; i < len(p.ch.Filters); i++ {
		if h, ok := p.ch.Filters[i].(Holder); ok {
			h.HoldConnection(p.c, p.at, func() { p.from(i + 1) })
			return
		}
		if !p.ch.Filters[i].OnNewConnection(p.c, p.at) {
			return
		}
	}
	p.there = true
	p.ch.Terminal.OnNewConnection(p.c, p.at)
}

// OnConnClosed implements conn.Owner.
func (p *passage) OnConnClosed(c *conn.Conn) {
	if !p.there {
		p.log.OnRefused(c)
	}
	if p.owner != nil {
		p.owner.OnConnClosed(c)
	}
}

// Refused implements listener.Refuser.
func (ch *Chain) Refused(c *conn.Conn) {
	if r, ok := ch.Terminal.(listener.Refuser); ok {
		r.Refused(c)
	}
}

// Refuse closes a connection, after a while if delay is positive: a client that is refused at once
// may be back at once.
func Refuse(c *conn.Conn, delay time.Duration) {
	r := &refused{c: c}
	c.SetHandler(r)
	if delay <= 0 {
		c.Close(conn.CloseNow)
		return
	}
	c.PauseRead()
	r.timer.Init(func() { c.Close(conn.CloseNow) })
	c.Loop().Arm(&r.timer, delay)
}

// refused is the handler of a connection that waits to be closed.
type refused struct {
	c     *conn.Conn
	timer eventloop.Timer
}

func (*refused) OnData(c *conn.Conn, _ bool) { c.In().Reset() }
func (*refused) OnWritable(*conn.Conn)       {}

func (r *refused) OnClose(c *conn.Conn, _ error) { c.Loop().Disarm(&r.timer) }

// OnClosed calls f when the connection is gone, before whoever owns it is told.
func OnClosed(c *conn.Conn, f func()) { c.SetOwner(&watcher{c.Owner(), f}) }

type watcher struct {
	owner conn.Owner
	f     func()
}

// OnConnClosed implements conn.Owner.
func (w *watcher) OnConnClosed(c *conn.Conn) {
	w.f()
	if w.owner != nil {
		w.owner.OnConnClosed(c)
	}
}
