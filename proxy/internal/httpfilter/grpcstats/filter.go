// Package grpcstats is the HTTP filter envoy.filters.http.grpc_stats: it counts calls of gRPC, their
// messages and how they ended, below the statistics of the cluster that they go to.
//
// Package methodstats holds the counters, and says what bounds them. Calls of the Connect protocol are
// not counted. Only server imports it.
// https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/grpc_stats_filter
package grpcstats

import (
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/grpcframe"
	"github.com/lateen-mesh/lateen/proxy/internal/grpcstatus"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/methodstats"
)

// Name is the filter's canonical name, and that of its object in the filter state.
const Name = "envoy.filters.http.grpc_stats"

// Messages is the object: how many messages have passed.
type Messages struct{ Requests, Responses int }

// String is Envoy's serialised form.
func (m *Messages) String() string {
	return strconv.Itoa(m.Requests) + "," + strconv.Itoa(m.Responses)
}

// MarshalJSON writes the proto FilterObject as JSON; zeros are left out there.
func (m *Messages) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for _, f := range []struct {
		name string
		n    int
	}{{"requestMessageCount", m.Requests}, {"responseMessageCount", m.Responses}} {
		if f.n == 0 {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, '"'), f.name...), `":"`...)
		out = append(strconv.AppendInt(out, int64(f.n), 10), '"')
	}
	return append(out, '}'), nil
}

// New returns the factory for a filter chain.
func New(cfg any, clusters *cluster.Manager) httpfilter.Factory {
	return &factory{cfg.(*Config), clusters}
}

type factory struct {
	cfg      *Config
	clusters *cluster.Manager
}

// NewFilter implements httpfilter.Factory.
func (f *factory) NewFilter(l *eventloop.Loop) httpfilter.Filter {
	return &filter{cfg: f.cfg, clusters: f.clusters.Local(l.ID())}
}

// filter serves one stream at a time.
type filter struct {
	cfg      *Config
	clusters *cluster.LocalManager

	method    *methodstats.Method // nil: the stream is not counted
	grpc      bool                // the request is gRPC's
	response  bool                // the response is
	sent      grpcframe.Scanner
	received  grpcframe.Scanner
	requests  int
	responses int
	state     *Messages // nil: not shown yet
}

// OnRequestHeaders implements httpfilter.RequestHeaders.
func (f *filter) OnRequestHeaders(s httpfilter.Stream, h *header.Map, _ bool) httpfilter.Status {
	f.grpc = grpcstatus.Is(h.Value(header.ContentType))
	t := s.Target()
	if !f.grpc || t == nil {
		return httpfilter.Continue
	}
	l := f.clusters.Get(t.ClusterName(h))
	service, method, ok := methodstats.Split(h.Value(header.Path))
	if l == nil || !ok {
		return httpfilter.Continue
	}
	c := methodstats.Of(l)
	switch {
	case f.cfg.AllMethods:
		f.method = c.Method(methodstats.GRPC, service, method, f.cfg.Underscores)
	case f.cfg.Methods[methodstats.Name{Service: string(service), Method: string(method)}]:
		f.method = c.Method(methodstats.GRPC, service, method, false)
	default:
		f.method = c.All(methodstats.GRPC)
	}
	return httpfilter.Continue
}

// OnRequestData implements httpfilter.RequestData.
func (f *filter) OnRequestData(s httpfilter.Stream, d *httpfilter.Data, _ bool) httpfilter.Status {
	if !f.grpc {
		return httpfilter.Continue
	}
	if n := f.sent.Count(d.Bytes); n > 0 {
		f.requests += n
		f.show(s)
		if f.method != nil {
			f.method.Requests(n)
		}
	}
	return httpfilter.Continue
}

// OnResponseHeaders implements httpfilter.ResponseHeaders.
func (f *filter) OnResponseHeaders(s httpfilter.Stream, h *header.Map, end bool) httpfilter.Status {
	f.response = !end && string(h.Value(header.Status)) == "200" && grpcstatus.Is(h.Value(header.ContentType))
	if f.method == nil {
		return httpfilter.Continue
	}
	f.status(h)
	if end {
		f.time(s)
	}
	return httpfilter.Continue
}

// OnResponseData implements httpfilter.ResponseData.
func (f *filter) OnResponseData(s httpfilter.Stream, d *httpfilter.Data, _ bool) httpfilter.Status {
	if !f.response {
		return httpfilter.Continue
	}
	if n := f.received.Count(d.Bytes); n > 0 {
		f.responses += n
		f.show(s)
		if f.method != nil {
			f.method.Responses(n)
		}
	}
	return httpfilter.Continue
}

// OnResponseTrailers implements httpfilter.ResponseTrailers.
func (f *filter) OnResponseTrailers(s httpfilter.Stream, t *header.Map) httpfilter.Status {
	if f.method != nil {
		f.status(t)
		f.time(s)
	}
	return httpfilter.Continue
}

func (f *filter) status(h *header.Map) {
	if v, ok := h.Get(header.GRPCStatus); ok {
		f.method.Status(v)
	}
}

// time records how long it took from the request's last byte to the response's.
func (f *filter) time(s httpfilter.Stream) {
	if i := s.Info(); f.cfg.UpstreamTime && i.UpstreamTxLast != 0 && i.UpstreamRxLast != 0 {
		f.method.Time(time.Duration(i.UpstreamRxLast - i.UpstreamTxLast))
	}
}

// show keeps the filter state up to date. The object outlives the filter's stream in the log, so
// each stream has one of its own.
func (f *filter) show(s httpfilter.Stream) {
	if !f.cfg.EmitState {
		return
	}
	if f.state == nil {
		f.state = &Messages{}
		s.Info().State.Put(Name, f.state)
	}
	f.state.Requests, f.state.Responses = f.requests, f.responses
}

// OnComplete implements httpfilter.Completer.
func (f *filter) OnComplete(httpfilter.Stream) {
	*f = filter{cfg: f.cfg, clusters: f.clusters}
}
