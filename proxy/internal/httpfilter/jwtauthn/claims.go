package jwtauthn

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"strings"

	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/jwt"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// claimHeader is a header that carries a claim.
type claimHeader struct {
	key  header.Key
	path []string // names, from the payload downwards
}

func parseClaimHeader(r *xdsresource.FilterReader, path string, m *jwtv3.JwtClaimToHeader) claimHeader {
	out := claimHeader{key: headerKey(r, path+".header_name", m.GetHeaderName())}
	for _, seg := range m.GetClaimPath() {
		out.path = append(out.path, seg.GetKey())
	}
	if (m.GetClaimName() == "") == (len(out.path) == 0) {
		r.Bad(path, "exactly one of claim_name and claim_path must be set")
	}
	if m.GetClaimName() != "" {
		out.path = strings.Split(m.GetClaimName(), ".")
	}
	return out
}

// outcome is what a good token leaves in a request. It is made once for each token.
type outcome struct {
	headers []headerValue
	// invalid is the first header whose value would not be one, such as a claim with a line break;
	// nil: all are well.
	invalid  *header.Key
	payload  map[string]any // for dynamic metadata
	hasClaim bool           // one of headers is a claim
}

type headerValue struct {
	key   header.Key
	value string
}

func newOutcome(p *provider, t *jwt.Token) outcome {
	o := outcome{payload: t.Payload}
	if p.payloadHeader != nil {
		v := t.EncodedPayload
		if p.padPayload {
			v += strings.Repeat("=", (4-len(v)%4)%4)
		}
		o.headers = append(o.headers, headerValue{*p.payloadHeader, v})
	}
	for i := range p.claims {
		c := &p.claims[i]
		v := claimText(find(t.Payload, c.path))
		if v == "" {
			continue
		}
		if !validValue(v) && o.invalid == nil {
			o.invalid = &c.key
		}
		o.headers = append(o.headers, headerValue{c.key, v})
		o.hasClaim = true
	}
	if len(p.spaceDelimited) > 0 {
		o.payload = normalised(t.Payload, p.spaceDelimited)
	}
	return o
}

// find follows a path of names; nil: it leads nowhere.
func find(payload map[string]any, path []string) any {
	var v any = payload
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

// claimText is a claim as a header's value, in Envoy's form: numbers that are no natural number have
// six digits behind the point, lists and objects are JSON in base64. "": there is none.
func claimText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case float64:
		if v < 0 || v >= math.MaxUint64 || v != math.Trunc(v) {
			return strconv.FormatFloat(v, 'f', 6, 64)
		}
		return strconv.FormatUint(uint64(v), 10)
	case []any, map[string]any:
		raw, err := json.Marshal(v)
		if err != nil {
			return "" // cannot be: it came from JSON
		}
		return base64.StdEncoding.EncodeToString(raw)
	}
	return ""
}

// validValue reports whether a header may have the value: no claim may end a line.
func validValue(v string) bool {
	for i := range len(v) {
		if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// normalised is a payload with the words of some claims as lists.
func normalised(payload map[string]any, claims []string) map[string]any {
	out := make(map[string]any, len(payload))
	for k, v := range payload {
		out[k] = v
	}
	for _, c := range claims {
		text, _ := payload[c].(string)
		var words []any
		for w := range strings.SplitSeq(text, " ") {
			if w != "" {
				words = append(words, w)
			}
		}
		if len(words) > 0 {
			out[c] = words
		}
	}
	return out
}

// apply writes the headers.
func (o *outcome) apply(h *header.Map) {
	for i := range o.headers {
		h.AddKeyString(o.headers[i].key, o.headers[i].value)
	}
}
