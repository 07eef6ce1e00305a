package http2

import (
	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// blockKind says which rules a block's fields follow.
type blockKind uint8

const (
	blockSkipped blockKind = iota
	blockRequest
	blockResponse
	blockTrailers
)

// message puts the fields of one block into a map and holds them against RFC 9113, section 8. The first fault is kept;
// after it fields are only counted.
type message struct {
	kind    blockKind
	connect bool // extended CONNECT is offered
	into    *header.Map
	err     *StreamError
	bytes   int    // that are left
	size    int    // names and values so far
	headers int    // that are left
	pseudo  uint16 // bits by header.ID
	regular bool   // a field that is no pseudo-header has come
	host    bool
	length  int64 // content-length, -1: none
	status  int
	cookies []byte // crumbs, joined (RFC 9113, 8.2.3)
}

func (m *message) begin(c *Conn, kind blockKind, into *header.Map) {
	*m = message{
		kind: kind, connect: c.cfg.AllowConnect, into: into, length: -1, cookies: m.cookies[:0],
		bytes: c.lim.headerBytes, headers: c.lim.headers,
	}
}

// Field implements hpack.Sink.
func (m *message) Field(id header.ID, name, value []byte) {
	if m.err != nil || m.kind == blockSkipped {
		return
	}
	m.size += len(name) + len(value)
	if m.bytes -= len(name) + len(value); m.bytes < 0 {
		m.err = ErrHeaderListSize
		return
	}
	if !validValue(value) {
		m.err = ErrValue
		return
	}
	if len(name) > 0 && name[0] == ':' {
		m.err = m.pseudoHeader(id, value)
		return
	}
	m.regular = true
	if !validName(name) {
		m.err = ErrName
		return
	}
	if m.err = m.header(id, name, value); m.err != nil {
		return
	}
}

func bit(id header.ID) uint16 { return 1 << id }

// pseudoHeader takes a field that begins with a colon.
func (m *message) pseudoHeader(id header.ID, v []byte) *StreamError {
	if m.regular {
		return ErrPseudoLate
	}
	if !id.Pseudo() || m.pseudo&bit(id) != 0 {
		return ErrPseudo
	}
	switch {
	case m.kind == blockResponse && id == header.Status:
		if m.status = parseStatus(v); m.status == 0 {
			return ErrStatus
		}
	case m.kind != blockRequest || id == header.Status:
		return ErrPseudo
	case id == header.Protocol && !m.connect:
		return ErrProtocolOff
	}
	if m.headers--; m.headers < 0 {
		return ErrHeaderCount
	}
	m.pseudo |= bit(id)
	m.into.AddCopy(id, nil, v)
	return nil
}

// header takes any other field.
func (m *message) header(id header.ID, name, v []byte) *StreamError {
	switch id {
	case header.Connection, header.KeepAlive, header.ProxyConnection, header.TransferEncoding, header.Upgrade:
		return ErrConnectionHeader
	case header.TE:
		if string(v) != "trailers" {
			return ErrConnectionHeader
		}
	}
	if m.kind == blockTrailers && id.BarredFromTrailers() {
		return ErrTrailerField
	}
	switch id {
	case header.Cookie:
		if m.kind != blockRequest {
			break
		}
		if len(m.cookies) > 0 {
			m.cookies = append(m.cookies, "; "...)
		}
		m.cookies = append(m.cookies, v...)
		return nil
	case header.ContentLength:
		n, ok := parseLength(v)
		if !ok || m.length >= 0 {
			return ErrLength
		}
		m.length = n
	case header.Authority: // "host"
		if m.kind == blockRequest {
			return m.hostHeader(v)
		}
		id = header.Other // it means nothing in a response
	}
	if m.headers--; m.headers < 0 {
		return ErrHeaderCount
	}
	m.into.AddCopy(id, name, v)
	return nil
}

// hostHeader takes a host field: it stands for a missing :authority, and must not differ from it.
func (m *message) hostHeader(v []byte) *StreamError {
	if m.host {
		return ErrHost
	}
	m.host = true
	if m.pseudo&bit(header.Authority) != 0 {
		if !equalFold(m.into.Value(header.Authority), v) {
			return ErrHost
		}
		return nil
	}
	m.into.AddCopy(header.Authority, nil, v)
	return nil
}

// finish judges the message as a whole.
func (m *message) finish() {
	if m.err == nil && len(m.cookies) > 0 {
		m.into.Add(header.Cookie, m.cookies)
	}
	if cap(m.cookies) > 4<<10 {
		m.cookies = nil
	}
	if m.err != nil {
		return
	}
	switch m.kind {
	case blockRequest:
		m.err = m.request()
	case blockResponse:
		if m.status == 0 {
			m.err = ErrPseudoMissing
		}
	}
}

const pseudoTarget = 1<<header.Scheme | 1<<header.Path

// request judges the pseudo-headers of a request (RFC 9113, 8.3.1 and 8.5; RFC 8441, 4).
func (m *message) request() *StreamError {
	h := m.into
	method := h.Value(header.Method)
	if !validToken(method) {
		if method == nil {
			return ErrPseudoMissing
		}
		return ErrMethod
	}
	authority, hasAuthority := h.Get(header.Authority)
	if hasAuthority && !validHost(authority) {
		return ErrAuthority
	}
	connect := string(method) == "CONNECT"
	extended := m.pseudo&bit(header.Protocol) != 0
	switch {
	case extended && (!connect || !hasAuthority):
		return ErrPseudoMissing
	case connect && !extended:
		if m.pseudo&pseudoTarget != 0 || m.pseudo&bit(header.Authority) == 0 {
			return ErrPseudoMissing
		}
		return nil
	case m.pseudo&pseudoTarget != pseudoTarget || !hasAuthority:
		return ErrPseudoMissing
	}
	if extended && !validToken(h.Value(header.Protocol)) {
		return ErrPseudo
	}
	if !validScheme(h.Value(header.Scheme)) {
		return ErrScheme
	}
	return m.path(string(method) == "OPTIONS")
}

func (m *message) path(options bool) *StreamError {
	p := m.into.Value(header.Path)
	if len(p) == 0 {
		return ErrPath
	}
	if p[0] != '/' && !(options && len(p) == 1 && p[0] == '*') {
		return ErrPathStart
	}
	for _, c := range p {
		if c <= ' ' || c == 0x7f {
			return ErrPath
		}
	}
	return nil
}

// parseStatus reads a status of 100 to 599, 0 for anything else.
func parseStatus(v []byte) int {
	if len(v) != 3 {
		return 0
	}
	n := 0
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0
		}
		n = n*10 + int(c-'0')
	}
	if n < 100 || n > 599 {
		return 0
	}
	return n
}

// parseLength reads 1*DIGIT that fits 63 bits (RFC 9110, 8.6).
func parseLength(v []byte) (int64, bool) {
	if len(v) == 0 || len(v) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
