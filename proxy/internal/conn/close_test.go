package conn

import (
	"io"
	"net"
	"testing"
	"time"
)

// closeWatch hears of the end of a connection that was closed.
type closeWatch struct {
	*recorder
	gaveUp chan bool
}

func (w closeWatch) OnClose(c *Conn, err error) {
	w.gaveUp <- c.GaveUp()
	w.recorder.OnClose(c, err)
}

// TestDelayedClose: how long a closing connection waits for its peer, by SetDelayedClose.
func TestDelayedClose(t *testing.T) {
	const soon = 30 * time.Millisecond
	const large = 16 << 20 // more than the buffers of two sockets
	for _, tc := range []struct {
		name     string
		patience time.Duration
		mode     CloseMode
		size     int
		reads    bool // the peer reads to the end; it never ends its own side
		gaveUp   bool
	}{
		{"the peer does not end", soon, CloseAfterFlush, 3, true, true},
		{"the peer does not end, and nobody asked it to", soon, CloseFlushed, 3, true, false},
		{"the peer does not end, no patience", 0, CloseAfterFlush, 3, true, false},
		{"the peer does not read", soon, CloseAfterFlush, large, false, true},
		{"the peer does not read, all input was read", soon, CloseFlushed, large, false, true},
		{"the peer reads, no patience", 0, CloseAfterFlush, large, true, false},
		{"the peer reads, no patience, all input was read", 0, CloseFlushed, large, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := start(t)
			closed, gaveUp := make(chan error, 1), make(chan bool, 1)
			ln := h.serve(t, "tcp4", nil, func() *recorder {
				r := record()
				r.closed = closed
				r.data = func(c *Conn, eof bool) {
					c.SetHandler(closeWatch{r, gaveUp})
					c.In().Drain(c.In().Len())
					c.Out().Append(make([]byte, tc.size))
					c.SetDelayedClose(tc.patience)
					c.Close(tc.mode)
				}
				return r
			})
			nc, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			if _, err := nc.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if tc.reads {
				if n, err := io.Copy(io.Discard, nc); err != nil || n != int64(tc.size) {
					t.Errorf("the peer read %d bytes of %d, %v", n, tc.size, err)
				}
			}
			if err := <-closed; err != nil {
				t.Errorf("OnClose(%v)", err)
			}
			if got := <-gaveUp; got != tc.gaveUp {
				t.Errorf("gave up: %v, want %v", got, tc.gaveUp)
			}
		})
	}
}
