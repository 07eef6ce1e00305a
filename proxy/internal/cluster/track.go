package cluster

import "github.com/lateen-mesh/lateen/proxy/internal/stats"

// Histograms of track_cluster_stats, which only those clusters have that ask for them.
const (
	budgetUsed = iota
	budgetPerTryUsed
)

const (
	requestHeadersSize = iota
	requestHeadersCount
	requestBodySize
	responseHeadersSize
	responseHeadersCount
	responseBodySize
)

var budgetSet = stats.NewSet(histogram("upstream_rq_timeout_budget_percent_used"), histogram("upstream_rq_timeout_budget_per_try_percent_used"))

var sizeSet = stats.NewSet(histogram("upstream_rq_headers_size"), histogram("upstream_rq_headers_count"), histogram("upstream_rq_body_size"),
	histogram("upstream_rs_headers_size"), histogram("upstream_rs_headers_count"), histogram("upstream_rs_body_size"))

// Attempt is the measure of one attempt at a request.
type Attempt struct {
	Took, Budget uint64 // milliseconds, and how many it had; 0: any number
	Request      Sizes
	Response     Sizes
	Answered     bool // else Response means nothing
	CutOff       bool // by the request's time-out, so that the attempt's own says nothing
}

// Sizes are a message's.
type Sizes struct{ Headers, HeaderCount, Body uint64 }

// Tracks reports whether attempts are measured at all.
func (l *Local) Tracks() bool { return l.cfg.TrackBudgets || l.cfg.TrackSizes }

// TrackAttempt records an attempt that is over.
func (l *Local) TrackAttempt(a *Attempt) {
	if l.cfg.TrackBudgets && !a.CutOff {
		l.shard.Record(l.version.budgets.Histogram(budgetPerTryUsed), percentOf(a.Took, a.Budget))
	}
	if !l.cfg.TrackSizes {
		return
	}
	b := l.version.sizes
	l.shard.Record(b.Histogram(requestHeadersSize), a.Request.Headers)
	l.shard.Record(b.Histogram(requestHeadersCount), a.Request.HeaderCount)
	l.shard.Record(b.Histogram(requestBodySize), a.Request.Body)
	if a.Answered {
		l.shard.Record(b.Histogram(responseHeadersSize), a.Response.Headers)
		l.shard.Record(b.Histogram(responseHeadersCount), a.Response.HeaderCount)
		l.shard.Record(b.Histogram(responseBodySize), a.Response.Body)
	}
}

// TrackRequest records how many milliseconds a request took of those that it had.
func (l *Local) TrackRequest(took, budget uint64) {
	if l.cfg.TrackBudgets {
		l.shard.Record(l.version.budgets.Histogram(budgetUsed), percentOf(took, budget))
	}
}

// percentOf is 0 of a budget without limit.
func percentOf(took, budget uint64) uint64 {
	if budget == 0 {
		return 0
	}
	return took * 100 / budget
}

// track makes the histograms where they are wanted.
func (c *Cluster) track(v *version) {
	if c.cfg.TrackBudgets {
		v.budgets = c.scope.Block(budgetSet)
	}
	if c.cfg.TrackSizes {
		v.sizes = c.scope.Block(sizeSet)
	}
}
