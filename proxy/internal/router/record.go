package router

import (
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/connpool"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
)

// record is what an attempt notes for its span and for the logs of the router. It is made for an attempt that one of them wants to
// know of, and used again by later ones.
type record struct {
	span              uint64 // 0: it has none of its own
	number            int    // of the request's attempts, from 1
	code              int    // of the answer; 0: none came
	rxFirst, rxLast   int64
	flags             streaminfo.Flags
	reset             string // why it failed
	canceled          bool   // we have ended it
	hasAnswer, hasEnd bool
	answer, trailers  header.Map
	periodic          eventloop.Timer
}

// beginRecord begins to note an attempt. Each one that has a span tells its host of that span.
func (a *attempt) beginRecord() {
	r, t := a.r, &a.r.s.Info().Trace
	if traced := t.Call != 0 && t.Sampled; !traced && len(r.logs.Loggers) == 0 {
		if t.Call != 0 && r.s.Info().Attempts > 1 {
			r.renewSpan(a.host.Host.Name)
		}
		return
	}
	rec := r.takeRecord()
	rec.periodic.Init(a.onPeriodic)
	a.record = rec
	rec.number = r.s.Info().Attempts
	if t.Call != 0 {
		if rec.number > 1 || t.Segment != nil {
			r.renewSpan(a.host.Host.Name)
		}
		rec.span = t.Call
	}
	if r.logs.Interval > 0 {
		r.loop.Arm(&rec.periodic, r.logs.Interval)
	}
}

// renewSpan gives the call upstream another span than that of the attempt before, and tells the host, which has an address, of it.
func (r *router) renewSpan(address string) {
	t := &r.s.Info().Trace
	if t.Segment != nil {
		t.Call = uint64(r.s.Info().Attempts)
		if !t.Silent {
			t.Segment.InjectCall(r.h, t.Call, address)
		}
		return
	}
	t.Call = max(r.loop.Rand(), 1)
	if t.Silent {
		return
	}
	c := t.Context()
	c.Call = t.Call
	c.Inject(r.h)
}

// noteAnswer notes the head of an answer.
func (a *attempt) noteAnswer(req *connpool.Request) {
	if rec := a.record; rec != nil {
		rec.code, rec.rxFirst, rec.hasAnswer = req.Message.Status, a.r.loop.Now(), true
		req.Response.CopyTo(&rec.answer)
	}
}

// noteTrailers notes the end of an answer.
func (a *attempt) noteTrailers(req *connpool.Request) {
	if rec := a.record; rec != nil {
		rec.hasEnd = true
		req.Trailers.CopyTo(&rec.trailers)
	}
}

// noteFlag notes how an attempt failed.
func (a *attempt) noteFlag(f streaminfo.Flags, reset string) {
	if rec := a.record; rec != nil {
		rec.flags |= f
		rec.reset = reset
	}
}

// endRecord reports an attempt that is over, once.
func (a *attempt) endRecord() {
	rec, r := a.record, a.r
	if rec == nil {
		return
	}
	if a.stage != dropped && a.host != nil {
		info := a.own()
		a.log(info, format.UpstreamEnd)
		if rec.span != 0 {
			c := httpfilter.Call{Info: info, Span: rec.span, Number: rec.number, Reset: rec.reset, Canceled: rec.canceled}
			c.Response, c.Trailers = rec.heads()
			r.s.ReportCall(&c)
		}
	}
	a.dropRecord()
}

// dropRecord gives the record back, to be used again.
func (a *attempt) dropRecord() {
	rec, r := a.record, a.r
	if rec == nil {
		return
	}
	a.record = nil
	if rec.periodic.Armed() {
		r.loop.Disarm(&rec.periodic)
	}
	rec.answer.Reset()
	rec.trailers.Reset()
	*rec = record{answer: rec.answer, trailers: rec.trailers}
	r.records = append(r.records, rec)
}

// takeRecord returns a record that is empty.
func (r *router) takeRecord() *record {
	n := len(r.records)
	if n == 0 {
		return &record{}
	}
	rec := r.records[n-1]
	r.records = r.records[:n-1]
	return rec
}

func (rec *record) heads() (answer, trailers *header.Map) {
	if rec.hasAnswer {
		answer = &rec.answer
	}
	if rec.hasEnd {
		trailers = &rec.trailers
	}
	return answer, trailers
}

// onPeriodic writes an entry of an attempt that is still under way.
func (a *attempt) onPeriodic() {
	a.log(a.own(), format.UpstreamPeriodic)
	a.r.loop.Arm(&a.record.periodic, a.r.logs.Interval)
}

func (a *attempt) log(info *streaminfo.Info, kind format.LogType) {
	r := a.r
	if len(r.logs.Loggers) == 0 {
		return
	}
	ctx := format.Context{Request: r.h, Info: info, LogType: kind}
	ctx.Response, ctx.Trailers = a.record.heads()
	for _, l := range r.logs.Loggers {
		l.Log(r.loop.ID(), &ctx)
	}
}

// own is the record of the attempt as if it were a stream of its own, as Envoy keeps it: its times, its bytes and its flags.
func (a *attempt) own() *streaminfo.Info {
	of, rec, t := a.r.s.Info(), a.record, &a.track
	i := &streaminfo.Info{
		StartWall: of.StartWall.Add(time.Duration(t.began - of.Start)), Start: t.began, End: a.r.loop.Now(),
		UpstreamConnect: a.connect, UpstreamTxFirst: a.started, UpstreamTxLast: a.sent, UpstreamRxFirst: rec.rxFirst, UpstreamRxLast: rec.rxLast,
		BytesReceived: t.received, BytesSent: t.sent, UpstreamRxBytes: t.received, UpstreamTxBytes: t.sent, ResponseCode: rec.code,
		Downstream: of.Downstream, ConnectionID: of.ConnectionID, RouteName: of.RouteName, RouteMetadata: of.RouteMetadata,
		DownstreamMeter: of.DownstreamMeter, UpstreamMeter: of.UpstreamMeter,
		UpstreamCluster: of.UpstreamCluster, Cluster: of.Cluster, Host: a.host.Host, HealthCheck: of.HealthCheck,
	}
	if a.connect != 0 {
		i.UpstreamConnected = a.started
	}
	if ci := a.info; ci != nil {
		i.UpstreamLocal, i.UpstreamRemote, i.UpstreamTLS, i.UpstreamURI = ci.LocalAddr, ci.RemoteAddr, ci.TLS != nil, ci.PeerURI
		i.UpstreamTLSState, i.UpstreamCertificate, i.UpstreamConnectionID = ci.TLS, ci.LocalCertificate, ci.ID
		if i.UpstreamProtocol = streaminfo.HTTP11; a.http2 {
			i.UpstreamProtocol = streaminfo.HTTP2
		}
		i.Protocol = i.UpstreamProtocol
	}
	if i.UpstreamFailure = of.UpstreamFailure; rec.hasAnswer {
		i.ResponseHeaderSize = uint32(rec.answer.Size())
	}
	i.RequestHeaderSize = uint32(a.r.h.Size())
	i.Set(rec.flags)
	return i
}
