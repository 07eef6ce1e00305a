package differential

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2frame is a frame that a script sends. An origin's script names no streams: it is about the
// one that it answers.
type h2frame struct {
	kind   string // headers, data, rst, window, settings, ping, goaway, priority, frame
	stream uint32
	fields []hpack.HeaderField
	data   []byte
	end    bool
	code   http2.ErrCode
	number uint32
	set    []http2.Setting
	typ    http2.FrameType // kind frame
	flags  http2.Flags
}

var errorCodes = func() map[string]http2.ErrCode {
	out := map[string]http2.ErrCode{}
	for c := http2.ErrCodeNo; c <= http2.ErrCodeHTTP11Required; c++ {
		out[c.String()] = c
	}
	return out
}()

var settingNames = map[string]http2.SettingID{
	"table": http2.SettingHeaderTableSize, "push": http2.SettingEnablePush, "streams": http2.SettingMaxConcurrentStreams,
	"window": http2.SettingInitialWindowSize, "frame": http2.SettingMaxFrameSize, "list": http2.SettingMaxHeaderListSize, "connect": http2.SettingEnableConnectProtocol,
}

// parseFrame reads a line of a script; testdata/README.md has the grammar.
func parseFrame(line string, ofOrigin bool) (h2frame, error) {
	words, err := splitWords(line)
	if err != nil || len(words) == 0 {
		return h2frame{}, fmt.Errorf("no frame: %v", err)
	}
	var f h2frame
	if n, err := strconv.ParseUint(words[0], 10, 31); err == nil && !ofOrigin {
		f.stream, words = uint32(n), words[1:]
	}
	if len(words) == 0 {
		return f, fmt.Errorf("a stream and no frame")
	}
	f.kind, words = words[0], words[1:]
	if last := len(words) - 1; last >= 0 && words[last] == "end" {
		f.end, words = true, words[:last]
	}
	switch {
	case f.kind == strings.ToUpper(f.kind) && f.kind != strings.ToLower(f.kind): // GET /path: a request
		if len(words) == 0 {
			return f, fmt.Errorf("wants a path")
		}
		head := []string{":method=" + f.kind, ":scheme=http", ":authority=a.example", ":path=" + words[0]}
		f.kind = "headers"
		return f, f.addFields(head, words[1:])
	case len(f.kind) == 3 && strings.Trim(f.kind, "0123456789") == "": // 200: a response
		head := []string{":status=" + f.kind}
		f.kind = "headers"
		return f, f.addFields(head, words)
	}
	return f, f.arguments(words)
}

func (f *h2frame) arguments(words []string) (err error) {
	arg := ""
	if len(words) > 0 {
		arg = words[0]
	}
	switch f.kind {
	case "headers":
		return f.addFields(words)
	case "trailers":
		f.kind, f.end = "headers", true
		return f.addFields(words)
	case "data": // data TEXT, data N*TEXT
		f.data = []byte(arg)
		if count, text, ok := strings.Cut(arg, "*"); ok {
			if n, err := strconv.Atoi(count); err == nil {
				f.data = bytes.Repeat([]byte(text), n)
			}
		}
	case "grpc": // a message of gRPC
		f.kind = "data"
		f.data = append([]byte{0, 0, 0, 0, byte(len(arg))}, arg...)
	case "rst", "goaway":
		code, ok := errorCodes[arg]
		if !ok {
			return fmt.Errorf("%q is no error code", arg)
		}
		f.code = code
		if len(words) > 1 { // goaway CODE LAST
			n, err := strconv.ParseUint(words[1], 10, 32)
			f.number = uint32(n)
			return err
		}
	case "window":
		n, err := strconv.ParseUint(arg, 10, 32)
		f.number = uint32(n)
		return err
	case "settings":
		for _, w := range words {
			k, v, _ := strings.Cut(w, "=")
			n, err := strconv.ParseUint(v, 10, 32)
			if err != nil || settingNames[k] == 0 {
				return fmt.Errorf("%q is no setting", w)
			}
			f.set = append(f.set, http2.Setting{ID: settingNames[k], Val: uint32(n)})
		}
	case "ping":
		f.data = make([]byte, 8)
		copy(f.data, arg)
	case "frame": // frame TYPE FLAGS BYTES
		if len(words) != 3 {
			return fmt.Errorf("wants a type, flags and bytes")
		}
		typ, err := strconv.ParseUint(words[0], 0, 8)
		if err != nil {
			return err
		}
		flags, err := strconv.ParseUint(words[1], 0, 8)
		f.typ, f.flags, f.data = http2.FrameType(typ), http2.Flags(flags), []byte(words[2])
		return err
	default:
		return fmt.Errorf("%q is no frame", f.kind)
	}
	return nil
}

func (f *h2frame) addFields(lists ...[]string) error {
	for _, list := range lists {
		for _, w := range list {
			name, value, ok := strings.Cut(w, "=")
			if !ok {
				return fmt.Errorf("%q is not name=value", w)
			}
			if count, text, ok := strings.Cut(value, "*"); ok { // N*TEXT
				if n, err := strconv.Atoi(count); err == nil {
					value = strings.Repeat(text, n)
				}
			}
			replaced := false
			for j := range f.fields {
				if strings.HasPrefix(name, ":") && f.fields[j].Name == name && len(lists) > 1 {
					f.fields[j].Value, replaced = value, true
				}
			}
			if !replaced {
				f.fields = append(f.fields, hpack.HeaderField{Name: name, Value: value})
			}
		}
	}
	return nil
}

// splitWords cuts at spaces that do not stand between double quotes, where Go's escapes hold.
func splitWords(line string) ([]string, error) {
	var out []string
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		end := 0
		var word strings.Builder
		for end < len(line) && line[end] != ' ' {
			if line[end] != '"' {
				word.WriteByte(line[end])
				end++
				continue
			}
			q, err := strconv.QuotedPrefix(line[end:])
			if err != nil {
				return nil, err
			}
			text, err := strconv.Unquote(q)
			if err != nil {
				return nil, err
			}
			word.WriteString(text)
			end += len(q)
		}
		out, line = append(out, word.String()), line[end:]
	}
	return out, nil
}

// h2wire is one end of an HTTP/2 connection as frames: it answers settings and pings and gives
// windows back, and leaves everything else to whoever uses it.
type h2wire struct {
	fr     *http2.Framer
	dec    *hpack.Decoder
	manual bool // gives no windows back

	mu  sync.Mutex // of what is written
	out *bufio.Writer
	buf bytes.Buffer
	enc *hpack.Encoder

	block   []byte // of header block that has begun
	blockOf uint32
	ends    bool
}

func newH2Wire(c net.Conn) *h2wire {
	out := bufio.NewWriterSize(c, 1<<20)
	w := &h2wire{fr: http2.NewFramer(out, c), dec: hpack.NewDecoder(4096, nil), out: out}
	w.enc = hpack.NewEncoder(&w.buf)
	w.fr.AllowIllegalReads, w.fr.AllowIllegalWrites = true, true
	w.fr.SetMaxReadFrameSize(1 << 20)
	return w
}

// send writes frames at once, so that they arrive together.
func (w *h2wire) send(stream uint32, frames ...h2frame) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range frames {
		to := stream
		if stream == 0 {
			to = frames[i].stream
		}
		if err := w.frame(&frames[i], to); err != nil {
			return err
		}
	}
	return w.out.Flush()
}

func (w *h2wire) frame(f *h2frame, stream uint32) error {
	switch f.kind {
	case "headers":
		return w.headers(f, stream)
	case "data":
		b := f.data
		for len(b) > 16384 {
			if err := w.fr.WriteData(stream, false, b[:16384]); err != nil {
				return err
			}
			b = b[16384:]
		}
		return w.fr.WriteData(stream, f.end, b)
	case "rst":
		return w.fr.WriteRSTStream(stream, f.code)
	case "window":
		return w.fr.WriteWindowUpdate(stream, f.number)
	case "settings":
		return w.fr.WriteSettings(f.set...)
	case "ping":
		return w.fr.WritePing(false, [8]byte(f.data))
	case "goaway":
		return w.fr.WriteGoAway(f.number, f.code, nil)
	}
	return w.fr.WriteRawFrame(f.typ, f.flags, f.stream, f.data)
}

func (w *h2wire) headers(f *h2frame, stream uint32) error {
	w.buf.Reset()
	for _, h := range f.fields {
		if err := w.enc.WriteField(h); err != nil {
			return err
		}
	}
	b := w.buf.Bytes()
	first := b[:min(len(b), 16384)]
	b = b[len(first):]
	err := w.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: first, EndStream: f.end, EndHeaders: len(b) == 0})
	for err == nil && len(b) > 0 {
		next := b[:min(len(b), 16384)]
		b = b[len(next):]
		err = w.fr.WriteContinuation(stream, len(b) == 0, next)
	}
	return err
}

// h2event is what came from the other end, as far as a script's user cares.
type h2event struct {
	kind   string // headers, data, rst, goaway
	stream uint32
	fields []hpack.HeaderField
	data   []byte
	end    bool
	code   http2.ErrCode
	last   uint32
}

// read returns the next event.
func (w *h2wire) read() (h2event, error) {
	for {
		frame, err := w.fr.ReadFrame()
		if err != nil {
			return h2event{}, err
		}
		id := frame.Header().StreamID
		switch f := frame.(type) {
		case *http2.HeadersFrame:
			w.block, w.blockOf, w.ends = append([]byte(nil), f.HeaderBlockFragment()...), id, f.StreamEnded()
			if f.HeadersEnded() {
				return w.decoded()
			}
		case *http2.ContinuationFrame:
			w.block = append(w.block, f.HeaderBlockFragment()...)
			if f.HeadersEnded() {
				return w.decoded()
			}
		case *http2.DataFrame:
			n := uint32(len(f.Data()))
			if n > 0 && !w.manual {
				w.giveBack(id, n)
			}
			return h2event{kind: "data", stream: id, data: append([]byte(nil), f.Data()...), end: f.StreamEnded()}, nil
		case *http2.RSTStreamFrame:
			return h2event{kind: "rst", stream: id, code: f.ErrCode}, nil
		case *http2.GoAwayFrame:
			return h2event{kind: "goaway", code: f.ErrCode, last: f.LastStreamID}, nil
		case *http2.SettingsFrame:
			if !f.IsAck() {
				w.answer(func() error { return w.fr.WriteSettingsAck() })
			}
		case *http2.PingFrame:
			if f.IsAck() {
				return h2event{kind: "pong", data: append([]byte(nil), f.Data[:]...)}, nil
			}
			w.answer(func() error { return w.fr.WritePing(true, f.Data) })
		}
	}
}

// answer writes what the protocol asks for. That the connection is broken shows when it is read.
func (w *h2wire) answer(write func() error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if write() == nil {
		_ = w.out.Flush()
	}
}

func (w *h2wire) giveBack(id, n uint32) {
	w.answer(func() error {
		if err := w.fr.WriteWindowUpdate(0, n); err != nil {
			return err
		}
		return w.fr.WriteWindowUpdate(id, n)
	})
}

func (w *h2wire) decoded() (h2event, error) {
	fields, err := w.dec.DecodeFull(w.block)
	return h2event{kind: "headers", stream: w.blockOf, fields: fields, end: w.ends}, err
}

// exchange is one direction of a stream: messages of HTTP as they came.
type exchange struct {
	interim []message
	head    message
	begun   bool // the final head is there
	over    bool
	how     string // end or the code of the reset
}

// take puts an event in. isResponse: heads with a status of 1xx come before the real one.
func (x *exchange) take(ev *h2event) {
	if x.over && ev.kind != "rst" {
		x.how += ", then " + ev.kind
		return
	}
	switch ev.kind {
	case "headers":
		lines := make([]string, len(ev.fields))
		status := ""
		for i, f := range ev.fields {
			lines[i] = f.Name + ": " + f.Value
			if f.Name == ":status" {
				status = f.Value
			}
		}
		switch {
		case x.begun:
			x.head.trailers = append(x.head.trailers, lines...)
		case strings.HasPrefix(status, "1") && !ev.end:
			x.interim = append(x.interim, message{headers: lines})
		default:
			x.begun, x.head.headers = true, lines
		}
	case "data":
		x.head.body = append(x.head.body, ev.data...)
	case "rst":
		if x.over && x.how != "end" {
			return
		}
		if x.over { // a whole answer, and the rest of the request is not wanted
			x.how += ", then reset " + ev.code.String()
			return
		}
		x.over, x.how = true, "reset "+ev.code.String()
		return
	}
	if ev.end {
		x.over, x.how = true, "end"
	}
}

// message is the exchange as it is compared.
func (x *exchange) message() message {
	m := x.head
	m.framing = x.how
	if !x.over {
		m.framing = "open"
	}
	return m
}
