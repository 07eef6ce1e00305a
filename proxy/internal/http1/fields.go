package http1

import (
	"bytes"
	"unsafe"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// fields collects, while header lines are parsed, what framing needs.
type fields struct {
	limit   int
	bytes   int  // see Message.FieldBytes
	request bool // Host is :authority

	hosts, lengths, encodings int
	length                    uint64
	chunked                   bool // the only transfer coding
	badLength                 bool
	close, keepAlive, upgrade bool   // tokens of Connection
	asked                     []byte // the token upgrade as it was written
	nominates                 bool   // Connection has other tokens
	hasUpgrade                bool
	expect100                 bool
	te, trailers              bool // there is TE; it has that token
}

// parse reads lines up to the empty one, which ends b.
func (f *fields) parse(b []byte, h *header.Map) *Error {
	count := 0
	for {
		if b[0] == '\r' { // the empty line: b ends in CRLF CRLF, so it is the last
			if len(b) != 2 {
				return ErrBareCR
			}
			return nil
		}
		if b[0] == ' ' || b[0] == '\t' {
			return ErrFold
		}
		// Name: lowered in place until the colon.
		i := 0
		for {
			c := lower[b[i]]
			if c == 0 {
				break
			}
			b[i] = c
			i++
		}
		if b[i] != ':' || i == 0 {
			return ErrName
		}
		name := b[:i:i]
		b = b[i+1:]
		eol := bytes.IndexByte(b, '\n')
		if eol == 0 || b[eol-1] != '\r' {
			return ErrBareLF
		}
		value := trimOWS(b[: eol-1 : eol-1])
		b = b[eol+1:]
		if !cleanValue(value) {
			if bytes.IndexByte(value, '\r') >= 0 {
				return ErrBareCR
			}
			return ErrValue
		}
		f.bytes += len(name) + len(value) + len(":\r\n")
		if count++; count > f.limit {
			return ErrTooManyHeaders
		}
		id := header.Lookup(unsafe.String(unsafe.SliceData(name), len(name)))
		if err := f.note(id, value, h); err != nil {
			return err
		}
		if id != header.Authority || f.request {
			h.AppendRef(id, name, value)
		} else {
			h.AppendRef(header.Other, name, value)
		}
	}
}

// note keeps what the known headers say about the message.
func (f *fields) note(id header.ID, v []byte, h *header.Map) *Error {
	switch id {
	case header.Authority:
		f.hosts++
	case header.ContentLength:
		f.lengths++
		n, ok := parseLength(v)
		f.length = n
		f.badLength = f.badLength || !ok
	case header.TransferEncoding:
		f.encodings++
		f.chunked = equalFold(v, "chunked")
	case header.Connection:
		f.connection(v)
	case header.TE:
		f.te, f.trailers = true, f.trailers || HasToken(v, "trailers")
	case header.ProxyConnection:
		if equalFold(v, "close") { // not in any RFC, but Envoy takes it at its word
			f.close = true
		}
	case header.Upgrade:
		f.hasUpgrade = true
	case header.Expect:
		f.expect100 = equalFold(v, "100-continue")
	}
	return nil
}

func (f *fields) connection(v []byte) {
	for {
		t, rest, ok := NextToken(v)
		if !ok {
			return
		}
		switch {
		case equalFold(t, "close"):
			f.close = true
		case equalFold(t, "keep-alive"):
			f.keepAlive = true
		case equalFold(t, "upgrade"):
			f.upgrade, f.asked = true, t
		default:
			f.nominates = true
		}
		v = rest
	}
}

// parseLength reads 1*DIGIT that fits 63 bits (RFC 9110, 8.6).
func parseLength(v []byte) (uint64, bool) {
	if len(v) == 0 || len(v) > 19 {
		return 0, false
	}
	var n uint64
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, n < 1<<63
}

// framing applies RFC 9112, 6.3 to what requests and responses share.
func (f *fields) framing(h *header.Map, m *Message, l *Limits) *Error {
	switch {
	case f.badLength:
		return ErrLength
	case f.lengths > 1:
		return ErrLengthDuplicate
	case f.encodings > 1 || f.encodings == 1 && !f.chunked:
		return ErrTransferEncoding
	case f.encodings == 1 && m.Minor == 0:
		return ErrTEOnHTTP10
	case f.encodings == 1 && f.lengths == 1:
		if !l.AllowChunkedLength {
			return ErrLengthAndChunked
		}
		h.Remove(header.ContentLength)
		f.lengths = 0
	}
	m.KeepAlive = !f.close && (m.Minor == 1 || f.keepAlive)
	m.Upgrade = f.upgrade && f.hasUpgrade && m.Minor == 1
	return nil
}

func finishRequest(h *header.Map, m *Message, f *fields, l *Limits) *Error {
	if err := f.framing(h, m, l); err != nil {
		return err
	}
	m.Expect100 = f.expect100 && m.Minor == 1
	switch {
	case m.Connect:
		if f.encodings > 0 || f.lengths > 0 && f.length > 0 {
			return ErrTEOnConnect
		}
		m.Framing = Tunnel
	case f.chunked:
		m.Framing = Chunked
	case f.lengths == 1 && f.length > 0:
		m.Framing, m.Length = ByLength, f.length
	}
	if err := f.host(h, m); err != nil {
		return err
	}
	return hopByHop(h, m, f)
}

// host leaves exactly one :authority, second in the block's meaning if not in place. The
// target's authority wins over Host (RFC 9112, 3.2.2).
func (f *fields) host(h *header.Map, m *Message) *Error {
	switch {
	case f.hosts > 1:
		return ErrHostDuplicate
	case f.hosts == 0 && m.Minor == 1:
		return ErrHostMissing // also where the target names one (RFC 9112, 3.2)
	case f.hosts == 1 && m.Absolute:
		k := header.Key{ID: header.Authority}
		i := h.Find(k, 0)
		j := h.Find(k, i+1)
		if _, _, v := h.At(j); len(v) > 0 && !IsAuthority(v) {
			return ErrHostInvalid
		}
		h.RemoveAt(j)
	case f.hosts == 1:
		// An empty one is valid: the target has no authority (RFC 9112, 3.2).
		if v := h.Value(header.Authority); len(v) > 0 && !IsAuthority(v) {
			return ErrHostInvalid
		}
	}
	return nil
}

func finishResponse(h *header.Map, m *Message, f *fields, l *Limits) *Error {
	if err := f.framing(h, m, l); err != nil {
		return err
	}
	m.Closes = !m.KeepAlive
	switch {
	case m.Status == 101 || m.Connect && m.Status/100 == 2:
		m.Framing = Tunnel
	case m.Status/100 == 1 || m.Status == 204:
		if f.encodings > 0 {
			return ErrTEOnNoBody
		}
		if f.length > 0 {
			return ErrLengthOnNoBody
		}
		// RFC 9110, 8.6: no Content-Length here either; it would desynchronise others.
		h.Remove(header.ContentLength)
	case m.Head || m.Status == 304:
	case f.chunked:
		m.Framing = Chunked
	case f.lengths == 1:
		if f.length > 0 {
			m.Framing, m.Length = ByLength, f.length
		}
	default:
		m.Framing = UntilClose
		m.KeepAlive = false
	}
	return hopByHop(h, m, f)
}

// hopByHop drops what concerns this connection only (RFC 9110, 7.6.1). Upgrade, with its word in
// Connection, stays when an upgrade is asked for; hcm and router decide whether to pass it on.
func hopByHop(h *header.Map, m *Message, f *fields) *Error {
	if f.nominates {
		if err := dropNominated(h); err != nil {
			return err
		}
	}
	switch {
	case m.Upgrade: // nothing else of it is passed on
		h.Set(header.Connection, f.asked)
	case f.close || f.keepAlive || f.upgrade || f.nominates || h.Has(header.Connection):
		h.Remove(header.Connection)
	}
	if f.encodings > 0 {
		h.Remove(header.TransferEncoding)
	}
	if f.hasUpgrade && !m.Upgrade {
		h.Remove(header.Upgrade)
	}
	h.RemoveSet(perConnection)
	if f.te {
		h.Remove(header.TE)
		if f.trailers {
			h.AddString(header.TE, "trailers")
		}
	}
	return nil
}

var perConnection = header.SetOf(header.KeepAlive, header.ProxyConnection)

// dropNominated removes the headers that Connection names. Naming what routing, framing or
// the notion of the client rests on is an attack on the next hop and refused.
func dropNominated(h *header.Map) *Error {
	k := header.Key{ID: header.Connection}
	for i := h.Find(k, 0); i >= 0; i = h.Find(k, i+1) {
		_, _, list := h.At(i)
		for {
			t, rest, ok := NextToken(list)
			if !ok {
				break
			}
			list = rest
			var buf [64]byte
			if len(t) > len(buf) {
				return ErrConnection
			}
			n := buf[:len(t)]
			for j, c := range t {
				if n[j] = lower[c]; n[j] == 0 {
					return ErrConnection
				}
			}
			name := string(n)
			switch id := header.Lookup(name); id {
			case header.Connection, header.KeepAlive, header.Upgrade, header.TE, header.ProxyConnection, header.TransferEncoding:
			case header.Authority, header.ContentLength, header.XForwardedFor, header.XForwardedProto, header.XForwardedHost,
				header.XForwardedClientCert, header.XEnvoyInternal, header.XEnvoyExternalAddress, header.XRequestID,
				header.Authorization, header.Cookie:
				return ErrConnection
			default:
				if name != "close" && name != "keep-alive" {
					before := h.Len()
					h.RemoveName(name)
					if h.Len() != before {
						i = h.Find(k, 0)
					}
				}
			}
		}
		if i < 0 {
			return nil
		}
	}
	return nil
}
