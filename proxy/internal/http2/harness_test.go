package http2

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/http2/hpack"
	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
)

// owner is a Handler that writes down what it is told, and keeps what was received.
type owner struct {
	c        *Conn
	log      strings.Builder
	maps     map[uint32]*[2]header.Map
	stats    [NumStats]int64
	onStream func(s *Stream)
	onHead   func(s *Stream, end bool)
	onData   func(s *Stream, p []byte, end bool)
}

func (o *owner) note(format string, args ...any) {
	fmt.Fprintf(&o.log, format+"\n", args...)
}

// take returns what was noted since the last call.
func (o *owner) take() string {
	defer o.log.Reset()
	return o.log.String()
}

func text(h *header.Map) string {
	var b strings.Builder
	for i := range h.Len() {
		_, n, v := h.At(i)
		if len(n) == 0 {
			n = []byte("?")
		}
		fmt.Fprintf(&b, " %s=%s", n, v)
	}
	return b.String()
}

func (o *owner) mapsOf(id uint32) *[2]header.Map {
	if o.maps == nil {
		o.maps = map[uint32]*[2]header.Map{}
	}
	if o.maps[id] == nil {
		o.maps[id] = &[2]header.Map{}
	}
	return o.maps[id]
}

func (o *owner) OnStream(s *Stream) {
	m := o.mapsOf(s.ID)
	s.Head, s.Trailers = &m[0], &m[1]
	if o.onStream != nil {
		o.onStream(s)
	}
}
func (o *owner) OnHeaders(s *Stream, end bool) {
	o.note("%d headers%s end=%v", s.ID, text(s.Head), end)
	if o.onHead != nil {
		o.onHead(s, end)
	}
}
func (o *owner) OnInterim(s *Stream) { o.note("%d interim%s", s.ID, text(s.Head)) }
func (o *owner) OnData(s *Stream, p []byte, end bool) {
	o.note("%d data %q end=%v", s.ID, p, end)
	if o.onData != nil {
		o.onData(s, p, end)
	}
}
func (o *owner) OnTrailers(s *Stream) { o.note("%d trailers%s", s.ID, text(s.Trailers)) }
func (o *owner) OnReset(s *Stream, code Code, err *StreamError) {
	if err != nil {
		o.note("%d fault %v", s.ID, code)
		return
	}
	o.note("%d reset %v", s.ID, code)
}
func (o *owner) OnWritable(s *Stream)   { o.note("%d writable", s.ID) }
func (o *owner) OnGoAway(code Code)     { o.note("goaway %v", code) }
func (o *owner) OnSettings()            { o.note("settings") }
func (o *owner) OnPong(data uint64)     { o.note("pong %d", data) }
func (o *owner) Count(st Stat, d int64) { o.stats[st] += d }

// start makes a connection whose opening is out of the way: for servers the client's preface and settings have come.
func start(t testing.TB, cfg *Config) (*Conn, *owner) {
	t.Helper()
	o := &owner{}
	c := &Conn{}
	o.c = c
	c.Init(cfg, o, &Pool{}, &iobuf.Pool{}, 1)
	open := ""
	if cfg.Server {
		open = Preface
	}
	if err := c.Feed([]byte(open+settings()+ack()), 1); err != nil {
		t.Fatal(err)
	}
	pull(c)
	o.take()
	return c, o
}

// pull takes everything that may be sent.
func pull(c *Conn) []byte {
	var out iobuf.Buffer
	c.Pull(&out, 1<<30)
	return append([]byte(nil), out.Bytes()...)
}

// Frames, as strings of bytes.

func rawFrame(length int, kind, flags byte, stream uint32, payload string) string {
	var h [frameHeaderLen]byte
	putFrame(h[:], length, kind, flags, stream)
	return string(h[:]) + payload
}

func frameOf(kind, flags byte, stream uint32, payload string) string {
	return rawFrame(len(payload), kind, flags, stream, payload)
}

func settings(pairs ...uint32) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		b.WriteByte(byte(pairs[i] >> 8))
		b.WriteByte(byte(pairs[i]))
		b.WriteString(u32(pairs[i+1]))
	}
	return frameOf(frameSettings, 0, 0, b.String())
}

func ack() string { return frameOf(frameSettings, flagAck, 0, "") }

func u32(n uint32) string { return string([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}) }

// block encodes fields given as "name value" without touching any dynamic table.
func block(fields ...string) string {
	var e hpack.Encoder
	e.Init(0, true)
	var b []byte
	for _, f := range fields {
		name, value, _ := strings.Cut(f, " ")
		if strings.HasPrefix(f, ":") {
			name, value, _ = strings.Cut(f[1:], " ")
			name = ":" + name
		}
		id := header.Other // written in full, so that upper case stays
		b = e.AppendStateless(b, id, []byte(name), []byte(value))
	}
	return string(b)
}

func get(extra ...string) string {
	return block(append([]string{":method GET", ":scheme http", ":path /", ":authority a.example"}, extra...)...)
}

func post(extra ...string) string {
	return block(append([]string{":method POST", ":scheme http", ":path /", ":authority a.example"}, extra...)...)
}

func headers(stream uint32, flags byte, b string) string {
	return frameOf(frameHeaders, flags, stream, b)
}
func data(stream uint32, flags byte, p string) string { return frameOf(frameData, flags, stream, p) }

const (
	es = flagEndStream
	eh = flagEndHeaders
)

// frames reads what a Conn sends, as text: one frame a line, blocks decoded.
type reader struct {
	dec hpack.Decoder
	buf []byte
}

func newReader() *reader {
	r := &reader{}
	r.dec.Init(1 << 20)
	return r
}

type sinkText struct{ strings.Builder }

func (s *sinkText) Field(_ header.ID, n, v []byte) { fmt.Fprintf(s, " %s=%s", n, v) }

var kindNames = []string{"DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE", "CONTINUATION"}

func (r *reader) read(t testing.TB, p []byte) string {
	t.Helper()
	var out strings.Builder
	for len(p) > 0 {
		f := parseFrame(p)
		body := p[frameHeaderLen : frameHeaderLen+f.length]
		p = p[frameHeaderLen+f.length:]
		fmt.Fprintf(&out, "%s %d", kindNames[f.kind], f.stream)
		switch f.kind {
		case frameHeaders, frameContinuation:
			r.buf = append(r.buf, body...)
			if f.has(flagEndHeaders) {
				var s sinkText
				if err := r.dec.Decode(r.buf, &s); err != nil {
					t.Fatal(err)
				}
				r.buf = nil
				out.WriteString(s.String())
			} else {
				out.WriteString(" ...")
			}
		case frameData:
			fmt.Fprintf(&out, " %d", len(body))
		case frameRSTStream:
			fmt.Fprintf(&out, " %v", Code(beUint32(body)))
		case frameGoAway:
			fmt.Fprintf(&out, " last=%d %v", beUint32(body), Code(beUint32(body[4:])))
		case frameWindowUpdate:
			fmt.Fprintf(&out, " %d", beUint32(body))
		default:
			fmt.Fprintf(&out, " %s", hex.EncodeToString(body))
		}
		if (f.kind == frameData || f.kind == frameHeaders) && f.has(flagEndStream) {
			out.WriteString(" END")
		}
		if (f.kind == frameSettings || f.kind == framePing) && f.has(flagAck) {
			out.WriteString(" ACK")
		}
		out.WriteByte('\n')
	}
	return out.String()
}

func beUint32(p []byte) uint32 {
	return uint32(p[0])<<24 | uint32(p[1])<<16 | uint32(p[2])<<8 | uint32(p[3])
}

// mapOf makes a header map of "name value" strings.
func mapOf(fields ...string) *header.Map {
	h := &header.Map{}
	for _, f := range fields {
		i := strings.IndexByte(f[1:], ' ') + 1
		h.AddKeyString(header.KeyOf(f[:i]), f[i+1:])
	}
	return h
}
