package http1

import (
	"bytes"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// Limits bound what a head may be. Zero fields take the default.
type Limits struct {
	MaxHeadBytes int // start line and headers; default 60 KiB, as in Envoy
	MaxHeaders   int // default 100, as in Envoy
	// AcceptHTTP10 lets HTTP/1.0 requests in; otherwise they are ErrHTTP10.
	AcceptHTTP10 bool
	// AllowChunkedLength drops a Content-Length beside chunked instead of refusing.
	AllowChunkedLength bool
	// Case has the head remember how names were written; nil: it does not.
	Case *header.CasePolicy
}

func (l *Limits) head() int {
	if l.MaxHeadBytes > 0 {
		return l.MaxHeadBytes
	}
	return 60 << 10
}

func (l *Limits) headers() int {
	if l.MaxHeaders > 0 {
		return l.MaxHeaders
	}
	return 100
}

// Framing says how a message's body ends.
type Framing uint8

// Framings.
const (
	NoBody Framing = iota
	ByLength
	Chunked
	UntilClose // responses only
	Tunnel     // what follows is no HTTP: 101, or 2xx to CONNECT
)

// Message is what a head says about its message besides the headers.
type Message struct {
	Minor     int // HTTP/1.<Minor>
	Status    int // responses
	KeepAlive bool
	Closes    bool // of a response: it says that the connection ends behind it
	Framing   Framing
	Length    uint64 // for ByLength
	Head      bool   // the request's method is HEAD
	Connect   bool   // CONNECT
	Expect100 bool   // Expect: 100-continue
	Upgrade   bool   // Connection: upgrade with an Upgrade header
	Absolute  bool   // the target was in absolute form
	// FieldBytes is what the lines of the fields take, as Envoy counts them: names, values and three bytes for each.
	FieldBytes int
}

// scan looks for the end of a head. from is how far an earlier call with less of the same
// bytes got (its returned next). end is the index behind the head, 0 when it is not there.
// Lines that end in a bare LF are reported before the head is complete, so that a peer that
// speaks so is not left waiting.
func scan(b []byte, from, limit int) (end, next int, err *Error) {
	start := max(from-3, 0)
	if i := bytes.Index(b[start:], crlfcrlf); i >= 0 {
		if end = start + i + 4; end > limit {
			return 0, 0, ErrHeadTooLarge
		}
		return end, 0, nil
	}
	for i := from; i < len(b); i++ {
		j := bytes.IndexByte(b[i:], '\n')
		if j < 0 {
			break
		}
		if i += j; i == 0 || b[i-1] != '\r' {
			return 0, 0, ErrBareLF
		}
	}
	if len(b) > limit {
		return 0, 0, ErrHeadTooLarge
	}
	return 0, len(b), nil
}

var (
	crlfcrlf = []byte("\r\n\r\n")
	version  = []byte("HTTP/1.")
)

// ParseRequest parses the head of a request at the start of b into h, which must be empty.
// It returns the length of the head, or 0 when b does not hold all of it; then call again
// with more, giving scanned back as it was left. h's slices point into b, which is changed
// (names are lowered).
func ParseRequest(b []byte, h *header.Map, m *Message, l *Limits, scanned *int) (int, *Error) {
	skip := 0
	for len(b) >= skip+2 && b[skip] == '\r' && b[skip+1] == '\n' {
		if skip += 2; skip > 8 { // RFC 9112, 2.2: at least one empty line is ignored
			return 0, ErrMethod
		}
	}
	b = b[skip:]
	end, next, err := scan(b, *scanned, l.head())
	*scanned = next
	if err != nil {
		return 0, err
	}
	if end == 0 {
		return 0, checkStart(b)
	}
	*m = Message{}
	n, err := parseRequestLine(b[:end], h, m, l)
	if err != nil {
		return 0, err
	}
	if l.Case != nil {
		spell(b[n:end], h.Spell(*l.Case))
	}
	f := fields{limit: l.headers(), request: true}
	if err := f.parse(b[n:end], h); err != nil {
		return 0, err
	}
	m.FieldBytes = f.bytes
	if err := finishRequest(h, m, &f, l); err != nil {
		return 0, err
	}
	return skip + end, nil
}

// checkStart refuses bytes that cannot become a request, such as a TLS ClientHello.
func checkStart(b []byte) *Error {
	for i, c := range b {
		if c == ' ' && i > 0 {
			return nil
		}
		if lower[c] == 0 && !(c == '\r' && i == len(b)-1 && i == 0) {
			return ErrMethod
		}
		if i > 64 {
			return ErrMethod
		}
	}
	return nil
}

func parseRequestLine(b []byte, h *header.Map, m *Message, l *Limits) (int, *Error) {
	eol := bytes.IndexByte(b, '\n')
	if eol == 0 || b[eol-1] != '\r' {
		return 0, ErrBareLF
	}
	line := b[:eol-1]
	i := 0
	for i < len(line) && lower[line[i]] != 0 {
		i++
	}
	if i == 0 || i == len(line) || line[i] != ' ' {
		return 0, ErrMethod
	}
	method := line[:i:i]
	line = line[i+1:]
	// The version is the last nine bytes: " HTTP/1.x".
	v := len(line) - 9
	if v < 1 || line[v] != ' ' || !bytes.Equal(line[v+1:len(line)-1], version) {
		return 0, ErrVersion
	}
	switch line[len(line)-1] {
	case '1':
		m.Minor = 1
	case '0':
		if !l.AcceptHTTP10 {
			return 0, ErrHTTP10
		}
	default:
		return 0, ErrVersion
	}
	target := line[:v:v]
	for _, c := range target {
		switch {
		case c == ' ' || c >= 0x80:
			return 0, ErrTargetByte
		case c < ' ' || c == 0x7f:
			return 0, ErrTargetControl
		}
	}
	m.Head = string(method) == "HEAD"
	m.Connect = string(method) == "CONNECT"
	h.AppendRef(header.Method, nil, method)
	if err := parseTarget(target, h, m); err != nil {
		return 0, err
	}
	return eol + 1, nil
}

// parseTarget splits the four forms of RFC 9112, 3.2 into :path and, where the target names
// it, :authority.
func parseTarget(t []byte, h *header.Map, m *Message) *Error {
	switch {
	case m.Connect:
		i := bytes.LastIndexByte(t, ':')
		if i <= 0 || i == len(t)-1 || !IsAuthority(t) {
			return ErrTarget
		}
		h.AppendRef(header.Authority, nil, t)
		m.Absolute = true
		return nil
	case t[0] == '/':
		h.AppendRef(header.Path, nil, t)
		return nil
	case len(t) == 1 && t[0] == '*':
		if string(h.Value(header.Method)) != "OPTIONS" {
			return ErrTarget
		}
		h.AppendRef(header.Path, nil, t)
		return nil
	}
	i := bytes.Index(t, []byte("://"))
	switch {
	case i <= 0:
		return ErrTargetByte
	case !equalFold(t[:i], "http") && !equalFold(t[:i], "https"):
		return ErrScheme
	}
	rest := t[i+3:]
	j := 0
	for j < len(rest) && rest[j] != '/' && rest[j] != '?' && rest[j] != '#' {
		j++
	}
	if j == 0 || !IsAuthority(rest[:j]) {
		return ErrTarget
	}
	m.Absolute = true
	if i == len("https") {
		h.AddString(header.Scheme, "https")
	} else {
		h.AddString(header.Scheme, "http")
	}
	h.AppendRef(header.Authority, nil, rest[:j:j])
	switch {
	case j == len(rest):
		h.AddString(header.Path, "/")
	case rest[j] == '/':
		h.AppendRef(header.Path, nil, rest[j:])
	case rest[j] == '?':
		// The byte before the '?' belongs to the authority, so the path is built anew.
		h.AddBuilt(header.Key{ID: header.Path}, append(append(h.Build(), '/'), rest[j:]...))
	default:
		return ErrTarget
	}
	return nil
}

// IsAuthority reports whether b can stand as host and port: it is not empty and has no other bytes.
func IsAuthority(b []byte) bool {
	for _, c := range b {
		if !hostChar[c] {
			return false
		}
	}
	return len(b) > 0
}

// ParseResponse parses the head of a response like ParseRequest. head and connect say what
// the request's method was, because the framing depends on it.
func ParseResponse(b []byte, h *header.Map, m *Message, l *Limits, head, connect bool, scanned *int) (int, *Error) {
	end, next, err := scan(b, *scanned, l.head())
	*scanned = next
	if err != nil {
		return 0, err
	}
	if end == 0 {
		for i := range min(len(b), len(version)) {
			if b[i] != version[i] {
				return 0, ErrStatusLine
			}
		}
		return 0, nil
	}
	*m = Message{Head: head, Connect: connect}
	n, err := parseStatusLine(b[:end], h, m)
	if err != nil {
		return 0, err
	}
	if l.Case != nil {
		sp := h.Spell(*l.Case)
		if l.Case.Reason {
			sp.Reason = append(sp.Reason, reasonOf(b[:n])...)
		}
		spell(b[n:end], sp)
	}
	f := fields{limit: l.headers()}
	if err := f.parse(b[n:end], h); err != nil {
		return 0, err
	}
	m.FieldBytes = f.bytes
	if err := finishResponse(h, m, &f, l); err != nil {
		return 0, err
	}
	return end, nil
}

func parseStatusLine(b []byte, h *header.Map, m *Message) (int, *Error) {
	eol := bytes.IndexByte(b, '\n')
	if eol == 0 || b[eol-1] != '\r' {
		return 0, ErrBareLF
	}
	line := b[:eol-1]
	// "HTTP/1.1 200 OK"; the reason may be empty, and so may its space be missing.
	if len(line) < 12 || !bytes.Equal(line[:7], version) || line[8] != ' ' || (len(line) > 12 && line[12] != ' ') {
		return 0, ErrStatusLine
	}
	if line[7] != '0' && line[7] != '1' {
		return 0, ErrVersion
	}
	m.Minor = int(line[7] - '0')
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return 0, ErrStatusLine
		}
		m.Status = m.Status*10 + int(c-'0')
	}
	if m.Status < 100 || m.Status > 599 || !cleanValue(line[12:]) {
		return 0, ErrStatusLine
	}
	h.AppendRef(header.Status, nil, line[9:12:12])
	return eol + 1, nil
}
