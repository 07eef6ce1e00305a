package jwt

import (
	"encoding/base64"
	"math"
	"strings"
)

// MaxTokenSize is the size in bytes up to which a token is looked at. Request headers are bounded
// near it by default.
const MaxTokenSize = 64 << 10

// strictBase64 refuses padding and bits that no byte owns: one token has one form.
var strictBase64 = base64.RawURLEncoding.Strict()

// Token is a parsed token. Nothing of it may be changed: it can be shared by many requests.
type Token struct {
	Header, Payload map[string]any
	// EncodedPayload is the middle section as it stands in the token.
	EncodedPayload string
	Algorithm      string
	KeyID          string // "": any
	Issuer         string
	Subject        string
	Audiences      []string
	// IssuedAt, NotBefore and Expires are in seconds since 1970; 0: the token has none.
	IssuedAt, NotBefore, Expires uint64

	signed    string // what the signature is of
	signature []byte
}

// Parse reads a token in compact form. It verifies nothing.
func Parse(raw string) (*Token, Status) {
	if len(raw) > MaxTokenSize {
		return nil, BadFormat
	}
	header, rest, ok := strings.Cut(raw, ".")
	payload, signature, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 || header == "" || payload == "" || signature == "" || strings.Contains(signature, ".") {
		return nil, BadFormat
	}
	t := &Token{EncodedPayload: payload, signed: raw[:len(header)+1+len(payload)]}
	if s := t.parseHeader(header); s != OK {
		return nil, s
	}
	if s := t.parsePayload(payload); s != OK {
		return nil, s
	}
	var err error
	if t.signature, err = decodeBase64(signature); err != nil {
		return nil, SignatureBadBase64
	}
	return t, OK
}

// decodeBase64 is strict also about line breaks, which the standard library skips.
func decodeBase64(s string) ([]byte, error) {
	if i := strings.IndexAny(s, "\r\n"); i >= 0 {
		return nil, base64.CorruptInputError(i)
	}
	return strictBase64.DecodeString(s)
}

func (t *Token) parseHeader(section string) Status {
	raw, err := decodeBase64(section)
	if err != nil {
		return HeaderBadBase64
	}
	if t.Header, err = parseObject(raw); err != nil {
		return HeaderBadJSON
	}
	var ok bool
	if t.Algorithm, ok = t.Header["alg"].(string); !ok {
		return HeaderBadAlg
	}
	if _, ok := algorithms[t.Algorithm]; !ok {
		return HeaderAlgNotSupported
	}
	if t.KeyID, ok = text(t.Header, "kid"); !ok {
		return HeaderBadKid
	}
	return OK
}

func (t *Token) parsePayload(section string) Status {
	raw, err := decodeBase64(section)
	if err != nil {
		return PayloadBadBase64
	}
	if t.Payload, err = parseObject(raw); err != nil {
		return PayloadBadJSON
	}
	var ok bool
	if t.Issuer, ok = text(t.Payload, "iss"); !ok {
		return IssuerNotString
	}
	if t.Subject, ok = text(t.Payload, "sub"); !ok {
		return SubjectNotString
	}
	for _, c := range [...]struct {
		name                 string
		to                   *uint64
		noNumber, outOfRange Status
	}{
		{"iat", &t.IssuedAt, IssuedAtNotInteger, IssuedAtOutOfRange},
		{"nbf", &t.NotBefore, NotBeforeNotInteger, NotBeforeOutOfRange},
		{"exp", &t.Expires, ExpirationNotInteger, ExpirationOutOfRange},
	} {
		v, there := t.Payload[c.name]
		if !there {
			continue
		}
		f, ok := v.(float64)
		if !ok {
			return c.noNumber
		}
		if f < 0 || f >= math.MaxUint64 {
			return c.outOfRange
		}
		*c.to = uint64(f)
	}
	if _, ok := text(t.Payload, "jti"); !ok {
		return IDNotString
	}
	return t.parseAudiences()
}

// parseAudiences reads "aud", a string or a list of strings.
func (t *Token) parseAudiences() Status {
	switch aud := t.Payload["aud"].(type) {
	case string:
		t.Audiences = []string{aud}
		return OK
	case []any:
		for _, a := range aud {
			s, ok := a.(string)
			if !ok {
				return AudienceNotString
			}
			t.Audiences = append(t.Audiences, s)
		}
		return OK
	}
	if _, there := t.Payload["aud"]; there {
		return AudienceNotString
	}
	return OK
}

// text returns a member that must be a string where it stands.
func text(m map[string]any, name string) (string, bool) {
	v, there := m[name]
	if !there {
		return "", true
	}
	s, ok := v.(string)
	return s, ok
}

// CheckTime compares the token's times with the clock, both in seconds.
func (t *Token) CheckTime(now, skew uint64) Status {
	if t.NotBefore > now && t.NotBefore-now > skew {
		return NotYetValid
	}
	if t.ExpiredAt(now, skew) {
		return Expired
	}
	return OK
}

// ExpiredAt reports whether the token's time is over.
func (t *Token) ExpiredAt(now, skew uint64) bool {
	return t.Expires != 0 && now > t.Expires && now-t.Expires > skew
}
