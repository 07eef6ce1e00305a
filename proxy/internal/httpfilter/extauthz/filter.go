package extauthz

import (
	"cmp"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/proxy/internal/asyncclient"
	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/extauthz"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
)

// Deps is what a filter works with.
type Deps struct {
	Clients *asyncclient.Clients
	// Scope is the connection manager's, "http.<prefix>.".
	Scope stats.Scope
	// Node is the node's metadata, of which bootstrap_metadata_labels_key names a part.
	Node *structpb.Struct
	// MaxHeaders and MaxHeaderBytes are the connection manager's limits of a request, which what a
	// service adds must keep.
	MaxHeaders, MaxHeaderBytes int
}

// New returns the factory for a filter chain.
func New(cfg any, d Deps) httpfilter.Factory {
	c := cfg.(*Config)
	f := &factory{cfg: c, deps: d, labels: extauthz.Labels(d.Node, c.labelsKey), prefix: "ext_authz"}
	if c.statPrefix != "" {
		f.prefix += clusterKey("." + c.statPrefix)
	}
	f.stats = d.Scope.Scope(string(f.prefix)).Block(statSet)
	return f
}

type factory struct {
	cfg    *Config
	deps   Deps
	labels map[string]string
	prefix clusterKey
	stats  stats.Block
}

// NewFilter implements httpfilter.Factory.
func (f *factory) NewFilter(l *eventloop.Loop) httpfilter.Filter {
	return &filter{factory: f, client: f.deps.Clients.On(l), loop: l}
}

type state uint8

const (
	idle      state = iota // not asked, or answered
	gathering              // the body, before the service is asked
	asking
)

// filter serves one stream at a time.
type filter struct {
	*factory
	client *asyncclient.Client
	loop   *eventloop.Loop

	state    state
	s        httpfilter.Stream
	service  service
	rules    *bodyRules // of the body that is sent; nil: none is
	hasBody  bool       // body is that of the request, or its beginning
	body     []byte
	cancel   func()
	asked    int64          // when
	upstream *cluster.Local // that the request was for when the service was asked; nil: none

	response []change // once the request may pass
}

// OnRequestHeaders implements httpfilter.RequestHeaders.
func (f *filter) OnRequestHeaders(s httpfilter.Stream, h *header.Map, end bool) httpfilter.Status {
	if s.Route() == nil {
		return httpfilter.Continue
	}
	rc, _ := s.FilterConfig().(*RouteConfig)
	if rc != nil && rc.disabled {
		return httpfilter.Continue
	}
	f.s = s
	if !f.enabled() {
		f.inc(statDisabled)
		if f.cfg.denyDisabled.On() {
			f.refuse(f.cfg.errorStatus, "ext_authz_error", "", nil)
			return httpfilter.Stop
		}
		return httpfilter.Continue
	}
	f.service, f.rules = f.cfg.service, f.cfg.body
	if rc != nil {
		if rc.service != (service{}) {
			f.service = rc.service
		}
		if rc.body != nil {
			rules := *rc.body
			rules.bytes = rules.bytes || f.cfg.body != nil && f.cfg.body.bytes
			f.rules = &rules
		}
		if rc.noBody {
			f.rules = nil
		}
	}
	if f.rules == nil || end || h.Has(header.Upgrade) {
		return f.ask(h)
	}
	if !f.rules.partial {
		s.SetRequestLimit(f.rules.max)
	}
	f.state = gathering
	return httpfilter.Buffer
}

// enabled draws whether the request is of the share that is judged.
func (f *filter) enabled() bool {
	c := f.cfg
	if c.enabled != nil && !c.enabled.Hit(f.loop.Rand()) {
		return false
	}
	return c.enabledMetadata == nil || c.enabledMetadata.Match(f.s.Info().Metadata)
}

// OnRequestData implements httpfilter.RequestData: d is all of the body so far, until the service is
// asked.
func (f *filter) OnRequestData(s httpfilter.Stream, d *httpfilter.Data, end bool) httpfilter.Status {
	if f.state != gathering {
		return httpfilter.Continue
	}
	if !end && !(f.rules.partial && len(d.Bytes) >= f.rules.max) {
		return httpfilter.Buffer
	}
	f.hasBody, f.body = true, d.Bytes
	status := f.ask(s.RequestHeaders())
	f.hasBody, f.body = false, nil
	return status
}

// ask sends the question. What it sends is made here and now, from the headers and the body.
func (f *filter) ask(h *header.Map) httpfilter.Status {
	f.state, f.asked, f.upstream = asking, f.loop.Now(), f.target()
	if s := f.service.http; s != nil {
		r := f.httpCheck(h, s)
		if r.Headers.Has(header.Method) && r.Headers.Has(header.Path) && r.Headers.Has(header.Authority) {
			f.cancel = f.client.Send(r, func(r *asyncclient.Response, err error) { f.answered(s.judge(r, err)) })
			return httpfilter.Stop
		}
	} else {
		trace := &header.Map{}
		f.trace(trace)
		var err error
		f.cancel, err = extauthz.Check(f.client, f.service.grpc, f.checkRequest(h), trace, func(r *authv3.CheckResponse) { f.answered(judge(r)) })
		if err == nil {
			return httpfilter.Stop
		}
	}
	// What is allowed of the request's headers is no request, or what they say cannot be told.
	if !f.decide(answer{verdict: failed}) {
		return httpfilter.Stop
	}
	return httpfilter.Continue
}

// trace writes the context of the stream's span, so that what the service does shows below it.
func (f *filter) trace(h *header.Map) {
	t := &f.s.Info().Trace
	if t.Segment != nil {
		address := string(h.Value(header.Authority))
		if to := f.service.grpc; to != nil {
			address = cmp.Or(to.Authority, to.Cluster)
		}
		t.Segment.InjectOther(h, address)
		return
	}
	if !t.Valid() {
		return
	}
	c := t.Context()
	c.Inject(h)
}

// answered goes on with the request, or has refused it.
func (f *filter) answered(a answer) {
	f.cancel = nil
	if s := f.s; f.decide(a) {
		s.ContinueRequest()
	}
}

// decide does what an answer says. True: the request goes on.
func (f *filter) decide(a answer) bool {
	f.state = idle
	if a.odd && f.cfg.validate {
		f.invalid()
		return false
	}
	f.takeMetadata(&a)
	switch a.verdict {
	case allowed:
		if !f.pass(&a) {
			f.invalid()
			return false
		}
		f.inc(statOK)
		f.incCluster(clusterOK)
		return true
	case denied:
		f.inc(statDenied)
		f.incCluster(clusterDenied)
		if f.cfg.chargeCluster && f.upstream != nil {
			f.upstream.CountResponse(a.code, true)
		}
		f.reply(&a, 403, "ext_authz_denied")
		return false
	}
	f.inc(statError)
	f.incCluster(clusterError)
	if f.cfg.failureAllow {
		f.inc(statFailureAllowed)
		f.incCluster(clusterFailureAllowed)
		if f.cfg.failureHeader {
			f.s.RequestHeaders().AddKeyString(failureKey, "true")
		}
		return true
	}
	f.reply(&a, f.cfg.errorStatus, "ext_authz_error")
	return false
}

// pass makes the request what the answer says. False: it cannot be.
func (f *filter) pass(a *answer) bool {
	h := f.s.RequestHeaders()
	if !a.apply(h, f.cfg.validate, f.cfg.rules) {
		return false
	}
	if h.Len() > f.deps.MaxHeaders || h.Size() > f.deps.MaxHeaderBytes {
		f.inc(statHeaderLimits)
		return false
	}
	f.response = a.response
	if f.cfg.clearRoute && a.changesRoute(f.cfg.routeHeaders) {
		f.s.ClearRoute()
	}
	return true
}

var failureKey = header.KeyOf("x-envoy-auth-failure-mode-allowed")

// takeMetadata keeps what the service says about the request.
func (f *filter) takeMetadata(a *answer) {
	if len(a.metadata) == 0 {
		return
	}
	if !f.cfg.keepMetadata {
		f.inc(statIgnoredMetadata)
		return
	}
	info := f.s.Info()
	for k, v := range a.metadata {
		info.SetMetadata(Name, k, v)
	}
	if a.verdict == allowed {
		info.SetMetadata(Name, "ext_authz_duration", float64((f.loop.Now()-f.asked)/int64(time.Millisecond)))
	}
}

// reply refuses the request as the answer says.
func (f *filter) reply(a *answer, code int, details string) {
	for _, p := range a.local {
		if !sound(p) {
			f.invalid()
			return
		}
	}
	if a.code >= 200 && a.code <= 999 {
		code = a.code
	}
	if most := f.cfg.maxDenied; most > 0 && a.verdict == denied && len(a.body) > most {
		a.body = a.body[:most]
	}
	f.refuse(code, details, a.body, a.local)
}

// invalid refuses the request because the answer asks for what cannot be done.
func (f *filter) invalid() {
	f.inc(statInvalid)
	f.incCluster(clusterInvalid)
	f.refuse(500, "ext_authz_invalid", "", nil)
}

func (f *filter) refuse(code int, details, body string, headers []pair) {
	f.state = idle
	r := httpfilter.Reply{Code: code, Body: body, Details: details, Flags: streaminfo.UnauthorizedExternalService}
	if len(headers) > 0 {
		r.Headers = func(h *header.Map) { replyHeaders(h, headers) }
	}
	f.s.Reply(r)
}

// OnResponseHeaders implements httpfilter.ResponseHeaders.
func (f *filter) OnResponseHeaders(_ httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	if len(f.response) > 0 {
		changeResponse(h, f.response)
	}
	return httpfilter.Continue
}

// OnComplete implements httpfilter.Completer.
func (f *filter) OnComplete(httpfilter.Stream) {
	if f.cancel != nil {
		f.cancel()
	}
	*f = filter{factory: f.factory, client: f.client, loop: f.loop}
}
