package jwtauthn

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/jwt"
	"github.com/lateen-mesh/lateen/proxy/internal/jwt/jwttest"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// stream is as much of a stream as the filter uses.
type stream struct {
	httpfilter.Stream
	loop  *eventloop.Loop
	shard *stats.Shard
	info  streaminfo.Info
	reply string
}

func (s *stream) Loop() *eventloop.Loop    { return s.loop }
func (s *stream) Shard() *stats.Shard      { return s.shard }
func (s *stream) Info() *streaminfo.Info   { return &s.info }
func (s *stream) FilterConfig() any        { return nil }
func (s *stream) ClearRoute()              {}
func (s *stream) Reply(r httpfilter.Reply) { s.reply = r.Body }

// newStream makes a filter for one provider with an issuer "i", and a stream for it.
func newStream(tb testing.TB, k *jwttest.Keys) (*filter, *stream) {
	tb.Helper()
	loop, err := eventloop.New(0, slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(loop.Close)
	loop.UpdateNow()
	st := stats.NewStore(stats.Options{Workers: 1})
	keys, err := jwt.ParseKeys([]byte(k.Set()))
	if err != nil {
		tb.Fatal(err)
	}
	p := &provider{
		name: "p", issuer: "i", clockSkew: defaultClockSkew, keys: keys, payloadMetadata: "payload", cacheSize: defaultCacheSize, maxCached: defaultCachedToken,
		claims: []claimHeader{{key: header.KeyOf("x-sub"), path: []string{"sub"}}},
		places: []place{{name: "authorization", key: header.KeyOf("authorization"), prefix: "Bearer ", issuers: []string{"i"}}, {kind: inQuery, name: "access_token", issuers: []string{"i"}}},
	}
	c := &Config{providers: []*provider{p}, byIssuer: map[string]int{"i": 0}, sanitize: newExtractor(p).sanitize}
	v := &verifier{leaves: 1, root: &requirement{kind: leaf, extractor: newExtractor(p)}}
	c.rules = []rule{{match: route.NewMatcher(&xdsresource.RouteMatch{Path: "/"}), verifier: v}}
	f := New(c, Deps{Scope: st.Scope("http"), Workers: 1}).NewFilter(loop).(*filter)
	return f, &stream{loop: loop, shard: st.Shard(0)}
}

// judge runs one request with a token through the filter.
func (s *stream) judge(f *filter, h *header.Map, token string) httpfilter.Status {
	h.Reset()
	h.AddString(header.Method, "GET")
	h.AddString(header.Path, "/some/path?x=y")
	h.AddString(header.Authority, "shop.example")
	h.AddString(header.Scheme, "http")
	h.AddString(header.Authorization, token)
	s.info.Reset()
	status := f.OnRequestHeaders(s, h, true)
	f.OnComplete(s)
	return status
}

// TestCacheIsBounded: neither bad tokens nor many good ones make a worker keep more than it should.
func TestCacheIsBounded(t *testing.T) {
	k, stranger := jwttest.New(t), jwttest.New(t)
	f, s := newStream(t, k)
	var h header.Map
	for i := range 1000 {
		claims := fmt.Sprintf(`{"iss":"i","n":%d}`, i)
		if s.judge(f, &h, "Bearer "+stranger.Sign("HS256", claims)) != httpfilter.Stop {
			t.Fatal("a stranger's token passed")
		}
	}
	if n := len(f.caches[0].entries); n != 0 {
		t.Errorf("%d tokens of a stranger are remembered", n)
	}
	for i := range 1000 {
		if s.judge(f, &h, "Bearer "+k.Sign("HS256", fmt.Sprintf(`{"iss":"i","n":%d}`, i))) != httpfilter.Continue {
			t.Fatal(s.reply)
		}
	}
	if n := len(f.caches[0].entries); n != defaultCacheSize {
		t.Errorf("%d tokens are remembered, want %d", n, defaultCacheSize)
	}
	big := k.Sign("HS256", `{"iss":"i","n":"`+strings.Repeat("x", defaultCachedToken)+`"}`)
	if s.judge(f, &h, "Bearer "+big) != httpfilter.Continue || f.caches[0].entries[big] != nil {
		t.Error("a large token is remembered, or refused")
	}
}

// TestAllocations: a token that was verified before costs none.
func TestAllocations(t *testing.T) {
	k := jwttest.New(t)
	f, s := newStream(t, k)
	var h header.Map
	token := "Bearer " + k.Sign("ES256", `{"iss":"i","sub":"alice","aud":["shop"]}`)
	if n := testing.AllocsPerRun(100, func() {
		if s.judge(f, &h, token) != httpfilter.Continue {
			t.Fatal(s.reply)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzFilter: whatever a request holds, without the keys there is no way through.
func FuzzFilter(f *testing.F) {
	stranger := jwttest.New(f)
	f.Add("Bearer "+stranger.Sign("HS256", `{"iss":"i"}`), "/?access_token=x")
	f.Add("Bearer "+stranger.SignRaw("HS256", "rsa", `{"alg":"HS256"}`, `{"iss":"i","exp":1}`), "/")
	f.Add("Bearer eyJhbGciOiJub25lIn0.eyJpc3MiOiJpIn0.", "/?access_token=%2e&access_token")
	f.Add("Basic x, Bearer  a.b.c", "*")
	flt, s := newStream(f, jwttest.New(f))
	f.Fuzz(func(t *testing.T, authorization, path string) {
		var h header.Map
		h.AddString(header.Method, "GET")
		h.AddString(header.Path, "/"+path)
		h.AddString(header.Authorization, authorization)
		s.info.Reset()
		if flt.OnRequestHeaders(s, &h, true) != httpfilter.Stop {
			t.Errorf("%q, %q: passed", authorization, path)
		}
		flt.OnComplete(s)
	})
}
