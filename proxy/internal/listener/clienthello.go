package listener

// hello is what a ClientHello says (RFC 8446, 4.1.2).
type hello struct {
	sni  string   // lower case, "" without
	alpn []string // as offered
}

type verdict uint8

const (
	needMore verdict = iota
	isTLS
	notTLS
	badTLS // begins as TLS and is no valid ClientHello
)

// maxHello is the most that is read to find a ClientHello's end; Envoy's
// TLS_MAX_CLIENT_HELLO.
const maxHello = 16 << 10

const (
	recordHandshake      = 22
	handshakeClientHello = 1
	extServerName        = 0
	extALPN              = 16
)

// parseHello looks at the first bytes of a connection. most is how many of them a ClientHello may have.
func parseHello(b []byte, most int) (hello, verdict) {
	var none hello
	if len(b) == 0 {
		return none, needMore
	}
	if b[0] != recordHandshake || len(b) > 1 && b[1] != 3 {
		return none, notTLS
	}
	msg, v := handshakeBytes(b, most)
	if v != isTLS {
		return none, v
	}
	return parseHelloBody(msg)
}

// handshakeBytes joins the records that carry the ClientHello: its body without the header.
func handshakeBytes(b []byte, most int) ([]byte, verdict) {
	var joined []byte
	want := -1
	for {
		if len(b) < 5 {
			return nil, needMoreOf(joined, b, most)
		}
		n := int(b[3])<<8 | int(b[4])
		if b[0] != recordHandshake || b[1] != 3 || n == 0 || n > 1<<14 {
			return nil, badTLS
		}
		part := b[5:min(5+n, len(b))]
		whole := len(part) == n
		b = b[5+len(part):]
		if joined == nil {
			joined = part[:len(part):len(part)]
		} else {
			joined = append(joined, part...)
		}
		if want < 0 && len(joined) >= 4 {
			if joined[0] != handshakeClientHello {
				return nil, badTLS
			}
			want = 4 + int(joined[1])<<16 + int(joined[2])<<8 + int(joined[3])
			if want > most {
				return nil, badTLS
			}
		}
		if want >= 0 && len(joined) >= want {
			return joined[4:want], isTLS
		}
		if !whole {
			return nil, needMoreOf(joined, nil, most)
		}
	}
}

func needMoreOf(joined, rest []byte, most int) verdict {
	if len(joined)+len(rest) > most {
		return badTLS
	}
	return needMore
}

// cursor reads TLS vectors; after a short read ok is false and stays so.
type cursor struct {
	b  []byte
	ok bool
}

func (c *cursor) take(n int) []byte {
	if !c.ok || len(c.b) < n {
		c.ok = false
		return nil
	}
	p := c.b[:n]
	c.b = c.b[n:]
	return p
}

func (c *cursor) number(bytes int) int {
	n := 0
	for _, x := range c.take(bytes) {
		n = n<<8 | int(x)
	}
	return n
}

// vector reads a vector whose length has that many bytes.
func (c *cursor) vector(lengthBytes int) cursor {
	p := c.take(c.number(lengthBytes))
	return cursor{p, c.ok}
}

func parseHelloBody(msg []byte) (hello, verdict) {
	var h hello
	c := cursor{msg, true}
	c.take(2 + 32) // legacy_version, random
	c.vector(1)    // legacy_session_id
	c.vector(2)    // cipher_suites
	c.vector(1)    // legacy_compression_methods
	if !c.ok {
		return hello{}, badTLS
	}
	if len(c.b) == 0 {
		return h, isTLS // before extensions were invented
	}
	exts := c.vector(2)
	for exts.ok && len(exts.b) > 0 {
		kind := exts.number(2)
		body := exts.vector(2)
		switch kind {
		case extServerName:
			h.sni = serverName(body)
		case extALPN:
			list := body.vector(2)
			for list.ok && len(list.b) > 0 {
				p := list.vector(1)
				if p.ok {
					h.alpn = append(h.alpn, string(p.b))
				}
			}
		}
	}
	if !exts.ok {
		return hello{}, badTLS
	}
	return h, isTLS
}

// serverName returns the host_name of a server_name extension (RFC 6066, 3).
func serverName(body cursor) string {
	list := body.vector(2)
	for list.ok && len(list.b) > 0 {
		kind := list.number(1)
		name := list.vector(2)
		if kind == 0 && name.ok {
			return lower(name.b)
		}
	}
	return ""
}

func lower(b []byte) string {
	out := make([]byte, len(b))
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		out[i] = c
	}
	return string(out)
}

// http1Methods are those that http_inspector knows (RFC 9110, section 9, and PATCH).
var http1Methods = []string{"GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "CONNECT ", "OPTIONS ", "TRACE ", "PATCH "}

const http2Preface = "PRI * HTTP/2.0"

// sniffHTTP says which HTTP the first bytes are: "h2c", "http/1.1", "" for neither; more is
// true when they do not suffice to tell.
func sniffHTTP(b []byte) (proto string, more bool) {
	if prefixOf(b, http2Preface) {
		if len(b) >= len(http2Preface) {
			return "h2c", false
		}
		return "", true
	}
	for _, m := range http1Methods {
		if prefixOf(b, m) {
			if len(b) >= len(m) {
				return "http/1.1", false
			}
			return "", true
		}
	}
	return "", false
}

// prefixOf reports whether b and s agree as far as both go.
func prefixOf(b []byte, s string) bool {
	n := min(len(b), len(s))
	return string(b[:n]) == s[:n]
}
