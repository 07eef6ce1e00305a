package extauthz

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/http1"
	"github.com/lateen-mesh/lateen/proxy/internal/iobuf"
)

func TestChangeQuery(t *testing.T) {
	for _, c := range []struct {
		path   string
		set    []pair
		remove []string
		want   string
	}{
		{"/", []pair{{"a", "1"}}, nil, "/?a=1"},
		{"/?b=%41+1&a&&b=2", []pair{{"c", "3"}}, nil, "/?a=&b=%41+1&b=2&c=3"},
		{"/?b=1&b=2", []pair{{"b", "3"}, {"b", "4"}}, nil, "/?b=4"},
		{"/?b=1&a=2", nil, []string{"b", "x"}, "/?a=2"},
		{"/?b=1", []pair{{"c", "1"}}, []string{"b", "c"}, "/"},
		{"/?a=b=c?d", nil, []string{"x"}, "/?a=b=c?d"},
	} {
		if got := changeQuery(c.path, c.set, c.remove); got != c.want {
			t.Errorf("%s: %s, want %s", c.path, got, c.want)
		}
	}
}

// FuzzAnswer: whatever a service says, what is done about it stays one message with the same framing.
func FuzzAnswer(f *testing.F) {
	value := func(name, v string) *corev3.HeaderValueOption {
		return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: v}}
	}
	for _, ok := range []*authv3.OkHttpResponse{
		{Headers: []*corev3.HeaderValueOption{value("x-a", "b"), value(":path", "/c"), value("Content-Length", "7"), value("host", "h")}},
		{Headers: []*corev3.HeaderValueOption{value("x-a", "b\r\nc: d")}, HeadersToRemove: []string{"x-old", ":path"}},
		{QueryParametersToSet: []*corev3.QueryParameter{{Key: "a", Value: "b c#"}}, ResponseHeadersToAdd: []*corev3.HeaderValueOption{value("x", "\x00")}},
	} {
		b, err := proto.Marshal(&authv3.CheckResponse{HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &authv3.CheckResponse{}
		if proto.Unmarshal(b, r) != nil {
			return
		}
		a := judge(r)
		if a.verdict != allowed {
			h := &header.Map{}
			replyHeaders(h, a.local)
			return
		}
		h := request()
		if !a.apply(h, false, nil) {
			return
		}
		holds(t, h)
	})
}

// holds fails unless what is written of a request is read as the same.
func holds(t *testing.T, h *header.Map) {
	t.Helper()
	var pool iobuf.Pool
	var out iobuf.Buffer
	out.Init(&pool)
	defer out.Reset()
	http1.AppendRequest(&out, h, &http1.Head{})
	wire := append([]byte(nil), out.Bytes()...)
	var got header.Map
	var m http1.Message
	scanned := 0
	n, err := http1.ParseRequest(wire, &got, &m, &http1.Limits{MaxHeadBytes: 1 << 30, MaxHeaders: 1 << 30}, &scanned)
	if err != nil || n != len(wire) {
		t.Fatalf("%v after %d of %q", err, n, wire)
	}
	if m.Framing != http1.ByLength || m.Length != 3 || m.Upgrade {
		t.Fatalf("framed as %+v: %q", m, wire)
	}
	if path := h.Value(header.Path); string(path) != string(got.Value(header.Path)) {
		t.Fatalf("path %q became %q", path, got.Value(header.Path))
	}
}

// TestBytes puts every byte into every part that a service may change.
func TestBytes(t *testing.T) {
	for _, name := range []string{":method", ":path", ":authority", ":scheme", "x-a", "cookie", "te"} {
		taken := 0
		for c := range 256 {
			value := "a" + string([]byte{byte(c)}) + "b"
			if name == ":path" {
				value = "/" + value
			}
			h := request()
			if a := (answer{verdict: allowed, set: []pair{{name, value}}}); a.apply(h, true, nil) {
				taken++
				holds(t, h)
			}
		}
		if taken == 0 && name != ":scheme" {
			t.Errorf("%s takes nothing", name)
		}
	}
	for c := range 256 {
		h := request()
		if a := (answer{verdict: allowed, querySet: []pair{{"q", string([]byte{byte(c)})}}}); a.apply(h, false, nil) {
			holds(t, h)
		}
		if a := (answer{verdict: allowed, set: []pair{{"x" + string([]byte{byte(c)}), "v"}}}); a.apply(h, false, nil) {
			holds(t, h)
		}
	}
}

func request() *header.Map {
	h := &header.Map{}
	for _, p := range []pair{{":method", "POST"}, {":scheme", "http"}, {":authority", "a"}, {":path", "/p?q=1"}, {"content-length", "3"}, {"x-old", "1"}} {
		h.AddName(p.name, []byte(p.value))
	}
	return h
}
