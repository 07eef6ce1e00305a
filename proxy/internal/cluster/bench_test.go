package cluster

import (
	"log/slog"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/lb"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// BenchmarkRequest is what one request costs in this package.
func BenchmarkRequest(b *testing.B) {
	m := New(Config{Workers: []Worker{atOnce{}}, Stats: stats.NewStore(stats.Options{Workers: 1}), Logger: slog.New(slog.DiscardHandler)})
	c := static("outbound|80||web.ns.svc.cluster.local", "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
	c.LB.Policy = xdsresource.LBLeastRequest
	o := defaults()
	c.Outlier = &o
	if _, err := m.Update(c); err != nil {
		b.Fatal(err)
	}
	lm := m.Local(0)
	ctx := &lb.Context{}
	for b.Loop() {
		ctx.Rand++
		l := lm.Get("outbound|80||web.ns.svc.cluster.local")
		h := l.Pick(ctx)
		l.Try(Requests, false)
		h.OnRequest()
		l.Inc(RqTotal)
		l.GaugeAdd(RqActive, 1)
		h.OnResult(Result{Code: 200})
		l.CountResponse(200, false)
		l.Record(RqTime, 3)
		l.GaugeAdd(RqActive, -1)
		h.OnDone()
		l.Release(Requests, false)
	}
}
