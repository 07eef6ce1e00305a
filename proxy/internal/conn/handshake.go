package conn

import (
	"errors"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/transportsocket"
)

// startTLS begins the handshake, which computes on a goroutine of its own; the loop reads
// for it.
func (c *Conn) startTLS(s *transportsocket.Session, timeout time.Duration) {
	c.state = handshaking
	c.tls = s
	c.timer.Init(func() { c.fail(&Error{Kind: HandshakeTimeout, Op: opHandshake}) })
	c.loop.Arm(&c.timer, timeout)
	if c.in.Len() > 0 {
		s.Feed(c.in.Bytes())
		c.in.Reset()
	}
	if c.eof {
		s.FeedEnd()
	}
	s.Handshake(transportsocket.Callbacks{
		Done:     c.onHandshakeDone,
		Interest: c.onHandshakeInterest,
	})
	c.updateInterest()
}

// handshakeInterest is what the handshake waits for.
func (c *Conn) handshakeInterest() eventloop.Events {
	var ev eventloop.Events
	read, write := c.tls.HandshakeWants()
	if read && !c.rawEOF && !c.eof {
		ev |= eventloop.EventIn
	}
	if write {
		ev |= eventloop.EventOut
	}
	return ev
}

// onHandshakeInterest: the handshake's needs have changed.
func (c *Conn) onHandshakeInterest() {
	if c.state == handshaking {
		c.loop.SetInterestNow(&c.fd, c.interest())
	}
}

func (c *Conn) onHandshakeEvent(ev eventloop.Events) {
	if ev&eventloop.EventOut != 0 {
		e := c.tls.FlushHandshake()
		if e != 0 && !temporary(e) {
			c.fail(&Error{Kind: PeerReset, Op: opHandshake, Err: e})
			return
		}
		if e == syscall.EAGAIN {
			c.loop.Exhausted(&c.fd, eventloop.EventOut)
		}
	}
	if ev&(eventloop.EventIn|eventloop.EventErr|eventloop.EventHup) != 0 && !c.rawEOF {
		buf := &c.tls.In
		p := buf.Reserve(minRead)
		n, e := sysRecv(c.fd.Sys(), p)
		if e != 0 {
			buf.Commit(0)
			if !temporary(e) {
				c.fail(&Error{Kind: PeerReset, Op: opHandshake, Err: e})
				return
			}
			c.notReadable(e)
		} else if n == 0 {
			buf.Commit(0)
			c.rawEOF = true
			c.tls.FeedEnd()
		} else {
			c.bytesIn += uint64(n)
			c.tls.Feed(p[:n])
			buf.Commit(0)
			if n < len(p) {
				c.loop.ShortRead(&c.fd)
			}
		}
	} else if ev&eventloop.EventHup != 0 {
		c.fail(&Error{Kind: PeerReset, Op: opHandshake, Err: errors.New("the peer hung up")})
		return
	}
	c.loop.SetInterestNow(&c.fd, c.interest())
}

// onHandshakeDone is called on the loop.
func (c *Conn) onHandshakeDone(err error) {
	if c.state != handshaking {
		return
	}
	c.loop.Disarm(&c.timer)
	c.info.Staple = c.tls.Staple()
	if err != nil {
		kind := TLS
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			kind = PeerClosed
		}
		c.fail(&Error{Kind: kind, Op: opHandshake, Err: err})
		return
	}
	c.info.HandshakeDone = c.loop.Now()
	st := c.tls.State()
	c.info.TLS = st
	c.info.ALPN = st.NegotiatedProtocol
	if st.ServerName != "" {
		c.info.SNI = strings.ToLower(st.ServerName) // as the inspector has it
	}
	c.info.PeerURI, c.info.PeerCertHash = transportsocket.PeerIdentity(st)
	if c.info.LocalCertificate = c.tls.LocalCertificate(); c.info.LocalCertificate != nil && len(c.info.LocalCertificate.URIs) > 0 {
		c.info.LocalURI = c.info.LocalCertificate.URIs[0].String()
	}
	c.open()
	if c.state == open && !c.paused {
		// Data may have come right behind the handshake; crypto/tls may hold it already.
		c.redeliver = true
		c.loop.Defer(&c.deferred)
	}
}
