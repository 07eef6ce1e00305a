package tracing

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// Caller is the span of another process's that a request came from, as sw8 names it.
type Caller struct {
	Trace, Segment    string // neither is empty
	Span              int32
	Service, Instance string
	Endpoint          string // the name of the first span of the caller's segment
	Address           string // by which the caller has called
}

const (
	// maxSW8 bounds a caller's context. The protocol wants less than 2 KiB of whoever writes one; Envoy writes whole paths.
	maxSW8 = 8 << 10
	// maxID bounds the ids in it, which are written again. SkyWalking's own agents make some 60 characters.
	maxID = 256
	// maxEndpoint bounds the name of an endpoint, so that what we write stays below the protocol's 2 KiB. SkyWalking keeps 150
	// characters of it.
	maxEndpoint = 512
	fieldsOfSW8 = 8
)

// extractSW8 reads SkyWalking's context, version 3. A damaged one is none. Its sampling flag is not asked: as in Envoy, whose context
// has come is told of.
// https://skywalking.apache.org/docs/main/latest/en/api/x-process-propagation-headers-v3/
func extractSW8(h *header.Map) *Caller {
	v, ok := h.GetKey(sw8Key)
	if !ok || len(v) > maxSW8 {
		return nil
	}
	return parseSW8(string(v))
}

func parseSW8(v string) *Caller {
	if strings.Count(v, "-") != fieldsOfSW8-1 {
		return nil
	}
	flag, rest, _ := strings.Cut(v, "-")
	if flag != "0" && flag != "1" {
		return nil
	}
	sound := true
	next := func() (field string) {
		field, rest, _ = strings.Cut(rest, "-")
		return field
	}
	text := func() string {
		s, ok := decode64(next())
		sound = sound && ok
		return s
	}
	c := &Caller{Trace: text(), Segment: text()}
	n, err := strconv.ParseUint(next(), 10, 31)
	c.Span, c.Service, c.Instance, c.Endpoint, c.Address = int32(n), text(), text(), text(), text()
	if err != nil || !sound || c.Trace == "" || c.Segment == "" || len(c.Trace) > maxID || len(c.Segment) > maxID {
		return nil
	}
	return c
}

// decode64 reads text in base64, whose padding may be missing. What is no UTF-8 cannot be told to a collector.
func decode64(v string) (string, bool) {
	raw, err := base64.RawStdEncoding.Strict().DecodeString(strings.TrimRight(v, "="))
	if err != nil || len(v)-len(strings.TrimRight(v, "=")) > 2 {
		return "", false
	}
	return strings.ToValidUTF8(string(raw), "!"), true
}

// injectSW8 tells a callee of a span of this segment, and of the address that it is called by.
func (s *Segment) injectSW8(h *header.Map, span uint64, address string) {
	b := append(h.Build(), "1-"...)
	b = append64Text(b, s.Trace)
	b = append64Text(append(b, '-'), s.ID)
	b = strconv.AppendUint(append(b, '-'), span, 10)
	b = append64Text(append(b, '-'), s.node.service)
	b = append64Text(append(b, '-'), s.node.instance)
	b = append64Text(append(b, '-'), s.Endpoint)
	b = append64Text(append(b, '-'), address)
	h.SetBuilt(sw8Key, b)
}

// append64Text appends text in base64.
func append64Text(dst []byte, text string) []byte {
	return base64.StdEncoding.AppendEncode(dst, []byte(text))
}

var sw8Key = header.KeyOf("sw8")
