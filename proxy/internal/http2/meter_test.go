package http2

import (
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/bytemeter"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// wireTally adds up the frames of a stream by walking over the bytes of a connection.
type wireTally struct {
	rest          []byte
	all, heads    uint64 // of the stream
	windowUpdates uint64
}

func (w *wireTally) add(p []byte, stream uint32) {
	w.rest = append(w.rest, p...)
	for len(w.rest) >= frameHeaderLen {
		f := parseFrame(w.rest)
		n := frameHeaderLen + int(f.length)
		if len(w.rest) < n {
			return
		}
		if f.stream == stream {
			w.all += uint64(n)
			switch f.kind {
			case frameHeaders, frameContinuation:
				w.heads += uint64(n)
			case frameWindowUpdate:
				w.windowUpdates += uint64(n)
			}
		}
		w.rest = w.rest[n:]
	}
}

// TestMeter holds what both ends count of a stream against the bytes that went between them.
func TestMeter(t *testing.T) {
	large := mapOf(":method POST", ":scheme http", ":path /", ":authority a", "x-large "+strings.Repeat("{", 30000))
	small := mapOf(":method GET", ":scheme http", ":path /", ":authority a")
	answer, trailers := mapOf(":status 200", "x-a b"), mapOf("x-end yes")
	for _, tc := range []struct {
		name     string
		request  *header.Map
		body     int
		trailers bool
		reset    bool
	}{
		{name: "small", request: small}, {name: "head in several frames, a body beyond the window", request: large, body: 300000},
		{name: "trailers", request: large, body: 5, trailers: true}, {name: "reset", request: small, reset: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var up, down bytemeter.Meter
			d := newDialogue(t, &Config{MaxHeaderBytes: 64 << 10}, &Config{Server: true, MaxHeaderBytes: 64 << 10, StreamWindow: 65535})
			var toServer, toClient wireTally
			var served *Stream
			d.so.onHead = func(s *Stream, _ bool) { served = s }
			d.so.onStream = func(s *Stream) { s.Meter = &down }
			pump := func() {
				for d.client.Waiting() || d.server.Waiting() {
					d.tap = func(p []byte) { toServer.add(p, 1) }
					d.carry(d.client, d.server)
					d.tap = func(p []byte) { toClient.add(p, 1) }
					d.carry(d.server, d.client)
				}
			}
			m := d.co.mapsOf(d.client.next)
			s := d.client.Open(tc.request, tc.body == 0 && !tc.trailers && !tc.reset, &m[0], &m[1], nil, &up, 2)
			if tc.body > 0 {
				d.client.SendData(s, make([]byte, tc.body), !tc.trailers)
			}
			if tc.trailers {
				d.client.SendTrailers(s, trailers)
			}
			pump()
			if tc.reset {
				d.client.Reset(s, Cancel)
				pump()
			} else {
				d.server.SendHeaders(served, answer, false)
				d.server.SendData(served, []byte("hello"), false)
				d.server.SendTrailers(served, trailers)
				pump()
			}
			check := func(what string, got, want uint64) {
				t.Helper()
				if got != want {
					t.Errorf("%s: %d, want %d", what, got, want)
				}
			}
			check("sent by the client", up.Sent, toServer.all)
			check("received by the server", down.Received, toServer.all-toServer.windowUpdates)
			check("sent by the server", down.Sent, toClient.all)
			check("received by the client", up.Received, toClient.all-toClient.windowUpdates)
			check("heads sent by the client", up.HeaderSent, toServer.heads)
			check("heads received by the server", down.HeaderReceived, toServer.heads)
			check("heads sent by the server", down.HeaderSent, toClient.heads)
			check("heads received by the client", up.HeaderReceived, toClient.heads)
			plain := uint64(tc.request.Size())
			if tc.trailers {
				plain += uint64(trailers.Size())
			}
			check("uncompressed, by the client", up.PlainSent, plain)
			check("uncompressed, by the server", down.PlainReceived, plain)
			if tc.body > 100000 && toClient.windowUpdates == 0 {
				t.Error("the window was never used up")
			}
		})
	}
}
