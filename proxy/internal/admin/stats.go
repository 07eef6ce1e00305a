package admin

import (
	"net/http"
	"regexp"

	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

// stats serves /stats?filter=&usedonly&type=&format=.
func (a *Admin) stats(w http.ResponseWriter, r *http.Request) {
	f := r.URL.Query().Get("format")
	switch f {
	case "":
		f = "text"
	case "text", "json", "prometheus":
	default:
		http.Error(w, "usage: /stats?format=(json|prometheus|text)", http.StatusBadRequest)
		return
	}
	a.writeStats(w, r, f)
}

// prometheus serves /stats/prometheus.
func (a *Admin) prometheus(w http.ResponseWriter, r *http.Request) { a.writeStats(w, r, "prometheus") }

// bucketForms are the values of ?histogram_buckets=.
var bucketForms = map[string]stats.Buckets{
	"": stats.Summary, "summary": stats.Summary, "cumulative": stats.Cumulative, "disjoint": stats.Disjoint, "detailed": stats.Detailed,
}

func (a *Admin) writeStats(w http.ResponseWriter, r *http.Request, f string) {
	q := r.URL.Query()
	buckets, ok := bucketForms[q.Get("histogram_buckets")]
	switch {
	case !ok:
		http.Error(w, "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary)", http.StatusBadRequest)
		return
	case f == "prometheus" && (buckets == stats.Disjoint || buckets == stats.Detailed):
		http.Error(w, "unsupported prometheus histogram bucket mode", http.StatusBadRequest)
		return
	}
	switch q.Get("hidden") {
	case "", "exclude", "include": // no statistic is hidden
	case "only":
		return
	default:
		http.Error(w, "usage: /stats?hidden=(include|only|exclude)", http.StatusBadRequest)
		return
	}
	query := stats.Query{UsedOnly: q.Has("usedonly")}
	if re := q.Get("filter"); re != "" {
		c, err := regexp.Compile(re)
		if err != nil {
			http.Error(w, "Invalid re2 regex: "+err.Error(), http.StatusBadRequest)
			return
		}
		query.Filter = c
	}
	switch t := q.Get("type"); t {
	case "", "All":
	case "Counters":
		query.Types = []stats.Kind{stats.KindCounter}
	case "Gauges":
		query.Types = []stats.Kind{stats.KindGauge}
	case "Histograms":
		query.Types = []stats.Kind{stats.KindHistogram}
	case "TextReadouts":
		return // there are none
	default:
		http.Error(w, "invalid &type= param", http.StatusBadRequest)
		return
	}
	a.server.BeforeStats(r.Context())
	snap, err := a.server.Stats().Snapshot(r.Context(), query)
	if err != nil {
		http.Error(w, "the workers did not answer: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	var body []byte
	switch f {
	case "json":
		w.Header().Set("Content-Type", "application/json")
		body = snap.AppendJSON(nil, buckets)
	case "prometheus":
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		body = snap.AppendPrometheus(nil)
	default:
		body = snap.AppendText(nil, buckets)
	}
	_, _ = w.Write(body) // a reader that is gone needs no answer
}

// resetCounters serves POST /reset_counters.
func (a *Admin) resetCounters(w http.ResponseWriter, _ *http.Request) {
	a.server.ResetCounters()
	_, _ = w.Write([]byte("OK\n"))
}

// reopenLogs serves POST /reopen_logs.
func (a *Admin) reopenLogs(w http.ResponseWriter, _ *http.Request) {
	if err := a.server.ReopenLogs(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write([]byte("OK\n"))
}
