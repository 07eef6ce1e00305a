package differential

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/net/http2"
)

// h2view is what a client of HTTP/2 has got so far.
type h2view struct {
	events   chan h2event
	ended    []uint32 // streams that are over, in order
	streams  map[uint32]*exchange
	pongs    int
	goaway   string
	watching bool
	end      string // "" while the connection is open
}

func newH2View() *h2view {
	return &h2view{events: make(chan h2event, 256), streams: map[uint32]*exchange{}}
}

// watch reads from now on. Ours must be the first settings on the wire, so that is after them.
func (v *h2view) watch(w *h2wire) {
	if v.watching {
		return
	}
	v.watching = true
	go func() {
		defer close(v.events)
		for {
			ev, err := w.read()
			if err != nil {
				end := h2event{kind: "closed"}
				if errors.Is(err, syscall.ECONNRESET) {
					end.kind = "reset"
				}
				v.events <- end
				return
			}
			v.events <- ev
		}
	}()
}

// more takes one more event; false when none comes.
func (v *h2view) more(d time.Duration) bool {
	if v.end != "" {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case ev := <-v.events:
		v.take(&ev)
		return true
	case <-t.C:
		return false
	}
}

func (v *h2view) take(ev *h2event) {
	switch ev.kind {
	case "closed", "reset":
		v.end = ev.kind
	case "goaway":
		if v.goaway != "" {
			v.goaway += ", "
		}
		v.goaway += fmt.Sprintf("%v, last %d", ev.code, ev.last)
	case "pong":
		v.pongs++
	default:
		x := v.stream(ev.stream)
		before := x.over
		if x.take(ev); x.over && !before {
			v.ended = append(v.ended, ev.stream)
		}
	}
}

func (v *h2view) stream(id uint32) *exchange {
	if v.streams[id] == nil {
		v.streams[id] = &exchange{}
	}
	return v.streams[id]
}

// await takes events until done or the end; false when neither came in time.
func (v *h2view) await(deadline time.Time, done func() bool) bool {
	for !done() {
		if v.end != "" {
			return true
		}
		if left := time.Until(deadline); left <= 0 || !v.more(left) {
			return v.end != "" || done()
		}
	}
	return true
}

func (v *h2view) over() int {
	n := 0
	for _, x := range v.streams {
		if x.over {
			n++
		}
	}
	return n
}

// reached reports whether a stream has brought its head, so much of its body, or its end.
func (v *h2view) reached(s *step) bool {
	if s.what == "goaway" {
		return v.goaway != ""
	}
	if s.what == "pong" {
		return v.pongs > 0
	}
	x := v.stream(s.stream)
	switch s.what {
	case "interim":
		return len(x.interim) > 0 || x.over
	case "head":
		return x.begun || x.over
	case "data":
		return len(x.head.body) >= s.size || x.over
	}
	return x.over
}

// playH2 does what the case says on a connection that speaks HTTP/2.
func (c *testCase) playH2(conn net.Conn, raw *net.TCPConn, out *seen) error {
	w := newH2Wire(conn)
	w.manual = c.manual
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil && !broken(err) {
		return err
	}
	v := newH2View()
	deadline := time.Now().Add(c.wait)
	var frames []h2frame // that are sent together
	if len(c.steps) == 0 || c.steps[0].frame == nil || c.steps[0].frame.kind != "settings" {
		frames = append(frames, h2frame{kind: "settings"})
	}
	for i := range c.steps {
		s := &c.steps[i]
		if s.kind == stepFrame {
			frames = append(frames, *s.frame)
			continue
		}
		if err := w.send(0, frames...); err != nil && !broken(err) {
			return err
		}
		frames = nil
		v.watch(w)
		switch s.kind {
		case stepAwait:
			if !v.await(deadline, func() bool { return v.reached(s) }) {
				out.late = true
			}
		case stepPause:
			for end := time.Now().Add(s.pause); time.Until(end) > 0 && v.end == ""; {
				v.more(time.Until(end))
			}
		case stepEOF:
			conn.(interface{ CloseWrite() error }).CloseWrite()
		case stepClose, stepReset:
			out.h2 = v
			if s.kind == stepReset {
				raw.SetLinger(0)
			}
			raw.Close()
			for v.more(time.Second) { // its own reader ends
			}
			out.end = "ended by the client"
			return nil
		default:
			return fmt.Errorf("this step is none of HTTP/2")
		}
	}
	if err := w.send(0, frames...); err != nil && !broken(err) {
		return err
	}
	v.watch(w)
	if !v.await(deadline, func() bool { return v.over() >= c.responses }) {
		out.late = true
	}
	for !out.late && v.end == "" && v.more(quiet) {
	}
	out.h2, out.end = v, v.end
	if out.end == "" {
		out.end = "kept"
	}
	return nil
}

// streams puts what the streams brought in.
func (o outcome) streams(n normaliser, v *h2view) {
	for id, x := range v.streams {
		prefix := fmt.Sprintf("response[%d]", id)
		for i := range x.interim {
			o.message(n, fmt.Sprintf("%s.interim[%d]", prefix, i), &x.interim[i])
		}
		m := x.message()
		o.message(n, prefix, &m)
	}
	if v.goaway != "" {
		o["goaway"] = v.goaway
	}
	if v.pongs > 0 {
		o["pongs"] = fmt.Sprint(v.pongs)
	}
}
