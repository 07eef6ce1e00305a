package jwtauthn

import (
	"net/http"
	"strings"
	"unicode"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/filterstate"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/jwt"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
)

// Statistics, "http.<prefix>.jwt_authn.[<stat_prefix>.]*".
const (
	allowed = iota
	bypassed
	denied
	fetchSuccess
	fetchFailed
	cacheHit
	cacheMiss
)

var statSet = stats.NewSet(
	stats.Item{Name: "allowed"}, stats.Item{Name: "cors_preflight_bypassed"}, stats.Item{Name: "denied"},
	stats.Item{Name: "jwks_fetch_success"}, stats.Item{Name: "jwks_fetch_failed"},
	stats.Item{Name: "jwt_cache_hit"}, stats.Item{Name: "jwt_cache_miss"},
)

// block registers the statistics of a filter. scope is the connection manager's.
func block(scope stats.Scope, prefix string) stats.Block {
	scope = scope.Scope("jwt_authn")
	if prefix != "" {
		scope = scope.Scope(prefix)
	}
	return scope.Block(statSet)
}

// Deps is what the filter needs of the process.
type Deps struct {
	Scope   stats.Scope // the connection manager's
	Manager string      // its stat_prefix
	Store   *Store
	Workers int
}

// New returns the factory for a filter chain.
func New(cfg any, d Deps) httpfilter.Factory {
	c := cfg.(*Config)
	f := &factory{cfg: c, stats: block(d.Scope, c.statPrefix), workers: make([]*worker, d.Workers)}
	for _, p := range c.providers {
		var s *Source
		if p.remote != nil {
			s = d.Store.get(SourceKey{d.Manager, c.statPrefix, *p.remote}).source
		}
		f.sources = append(f.sources, s)
	}
	return f
}

type factory struct {
	cfg     *Config
	sources []*Source // by provider; nil: its keys are local
	stats   stats.Block
	workers []*worker // each made, and touched, by its worker alone
}

// worker is what the streams of one worker share.
type worker struct {
	*factory
	caches []cache // by provider
}

// NewFilter implements httpfilter.Factory.
func (f *factory) NewFilter(l *eventloop.Loop) httpfilter.Filter {
	w := f.workers[l.ID()]
	if w == nil {
		w = &worker{factory: f}
		for _, p := range f.cfg.providers {
			w.caches = append(w.caches, cache{max: p.cacheSize, maxToken: p.maxCached})
		}
		f.workers[l.ID()] = w
	}
	return &filter{worker: w}
}

// filter serves one stream at a time.
type filter struct {
	*worker
	stream   httpfilter.Stream // nil: nothing is under way
	headers  *header.Map
	path     []byte // before tokens were taken out of it
	verifier *verifier
	runs     []run // by leaf
	notes    []note
	invalid  *header.Key // a claim that cannot be a header's value
}

// note is an entry of the dynamic metadata to be.
type note struct {
	key   string
	value map[string]any
}

// note keeps an entry; the last one of a key stands.
func (f *filter) note(key string, value map[string]any) {
	for i := range f.notes {
		if f.notes[i].key == key {
			f.notes[i].value = value
			return
		}
	}
	f.notes = append(f.notes, note{key, value})
}

func (f *filter) count(i int) { f.stream.Shard().Inc(f.stats.Counter(i)) }

// now is the wall clock in seconds, which the times of tokens are in.
func (f *filter) now() uint64 { return uint64(max(f.stream.Loop().WallNow().Unix(), 0)) }

// keysOf returns the keys of a provider, nil for none, and whether they may be used without a fetch.
func (f *filter) keysOf(provider int) (*jwt.KeySet, bool) {
	s := f.sources[provider]
	if s == nil {
		keys := f.cfg.providers[provider].keys
		return keys, keys != nil
	}
	h := s.current()
	if h == nil {
		return nil, false
	}
	return h.keys, s.remote.Async || h.fresh(f.stream.Loop().WallNow())
}

// OnRequestHeaders implements httpfilter.RequestHeaders.
func (f *filter) OnRequestHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	f.stream, f.headers = s, h
	// Only this filter may set them, whether a token is asked for or not.
	for _, k := range f.cfg.sanitize {
		h.RemoveKey(k)
	}
	if f.cfg.bypassPreflight && isPreflight(h) {
		f.count(bypassed)
		f.count(allowed)
		return httpfilter.Continue
	}
	switch rc, ofRoute := s.FilterConfig().(*RouteConfig); {
	case !ofRoute:
		f.verifier = f.find()
	case !rc.disabled:
		if f.verifier = f.cfg.named[rc.requirement]; f.verifier == nil {
			return f.denyRoute(rc.requirement)
		}
	}
	if f.verifier == nil {
		f.count(allowed)
		return httpfilter.Continue
	}
	f.path = h.Value(header.Path)
	if v, ok := h.Get(header.XEnvoyOriginalPath); ok {
		f.path = v
	}
	if n := f.verifier.leaves; cap(f.runs) < n {
		f.runs = make([]run, n)
	} else {
		f.runs = f.runs[:n]
	}
	if status, ok := f.evaluate(f.verifier.root); ok {
		return f.conclude(status)
	}
	return httpfilter.Stop
}

// find returns the verifier of the first rule that matches, else the one that the filter state
// chooses; nil: nothing is required.
func (f *filter) find() *verifier {
	req := route.Request{Headers: f.headers}
	for i := range f.cfg.rules {
		if r := &f.cfg.rules[i]; r.match.Match(&req) {
			return r.verifier
		}
	}
	if f.cfg.state == "" {
		return nil
	}
	switch o := f.stream.Info().FilterState(f.cfg.state).(type) {
	case filterstate.Text:
		return f.cfg.byState[string(o)]
	case filterstate.HashableText:
		return f.cfg.byState[string(o)]
	}
	return nil
}

// isPreflight: such a request has no credentials, by the rules of CORS.
func isPreflight(h *header.Map) bool {
	return string(h.Value(header.Method)) == http.MethodOptions && len(h.Value(header.Origin)) > 0 && len(h.Value(header.AccessControlRequestMethod)) > 0
}

// resume goes on with a stream after keys have come, or failed to.
func (f *filter) resume(r *run) {
	r.resume()
	status, ok := f.evaluate(f.verifier.root)
	if !ok {
		return
	}
	s := f.stream
	if f.conclude(status) == httpfilter.Continue {
		s.ContinueRequest()
	}
}

// conclude ends the verification.
func (f *filter) conclude(status jwt.Status) httpfilter.Status {
	f.cancel()
	for _, n := range f.notes {
		f.stream.Info().SetMetadata(Name, n.key, n.value)
	}
	if status != jwt.OK {
		return f.deny(status)
	}
	f.count(allowed)
	if f.invalid == nil {
		return httpfilter.Continue
	}
	what := "invalid header value for: " + f.invalid.Name
	f.stream.Reply(httpfilter.Reply{
		Code: http.StatusServiceUnavailable, Body: what, Details: "filter_removed_required_request_headers{" + noSpace(what) + "}",
		Flags: streaminfo.DownstreamProtocolError,
	})
	return httpfilter.Stop
}

// maxRealm bounds how much of a path an answer repeats.
const maxRealm = 256

var authenticateKey = header.KeyOf("www-authenticate")

func (f *filter) deny(status jwt.Status) httpfilter.Status {
	f.count(denied)
	reply := httpfilter.Reply{Code: http.StatusUnauthorized, Details: details(status.String())}
	if status == jwt.AudienceNotAllowed {
		reply.Code = http.StatusForbidden
	}
	if !f.cfg.strip {
		h := f.headers
		challenge := `Bearer realm="` + string(h.Value(header.Scheme)) + "://" + string(h.Value(header.Authority)) + string(f.path[:min(len(f.path), maxRealm)]) + `"`
		if status != jwt.Missing {
			challenge += `, error="invalid_token"`
		}
		reply.Body = status.String()
		reply.Headers = func(a *header.Map) { a.SetKeyString(authenticateKey, challenge) }
	}
	f.stream.Reply(reply)
	return httpfilter.Stop
}

// denyRoute answers where a route asks for a requirement that the filter does not have.
func (f *filter) denyRoute(name string) httpfilter.Status {
	f.count(denied)
	what := "Wrong requirement_name: " + name + ". It should be one of [" + f.cfg.names + "]"
	reply := httpfilter.Reply{Code: http.StatusForbidden, Details: details(what)}
	if !f.cfg.strip {
		reply.Body = "Failed JWT authentication: " + what
	}
	f.stream.Reply(reply)
	return httpfilter.Stop
}

// details are response code details.
func details(text string) string { return "jwt_authn_access_denied{" + noSpace(text) + "}" }

// noSpace makes text one word, for logs that are split at blanks.
func noSpace(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return '_'
		}
		return r
	}, text)
}

// cancel forgets what still waits.
func (f *filter) cancel() {
	for i := range f.runs {
		if w := f.runs[i].waiter; w != nil {
			w.tell = nil
			f.runs[i].waiter = nil
		}
	}
}

// OnComplete implements httpfilter.Completer.
func (f *filter) OnComplete(httpfilter.Stream) {
	f.cancel()
	for i := range f.runs {
		tokens := f.runs[i].tokens
		if cap(tokens) > maxTokens {
			tokens = nil // somebody sent thousands
		}
		clear(tokens[:cap(tokens)]) // they are slices of the request
		f.runs[i] = run{tokens: tokens[:0]}
	}
	clear(f.notes)
	f.stream, f.headers, f.path, f.verifier, f.runs, f.notes, f.invalid = nil, nil, nil, nil, f.runs[:0], f.notes[:0], nil
}
