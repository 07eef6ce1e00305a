package xdsserver

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics carry Istio's names and labels, so that its dashboards show this control plane.
type metrics struct {
	streams     *prometheus.GaugeVec
	pushes      *prometheus.CounterVec
	rejects     *prometheus.CounterVec
	expired     *prometheus.CounterVec
	rejectsOf   map[string]prometheus.Counter
	sendTime    prometheus.Histogram
	pushTime    *prometheus.HistogramVec
	queueTime   prometheus.Histogram
	internal    prometheus.Counter
	size        *prometheus.HistogramVec
	convergence prometheus.Histogram
	refused     *prometheus.CounterVec
	delayed     prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		streams: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "pilot_xds", Help: "Number of endpoints connected to this pilot using XDS.",
		}, []string{"version"}),
		pushes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pilot_xds_pushes", Help: "Responses sent, by type: cds, eds, lds, rds, vhds, ecds, nds and other; those that could not be sent as cds_senderr and so on.",
		}, []string{"type"}),
		rejects: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pilot_total_xds_rejects", Help: "Total number of XDS responses from pilot rejected by proxy.",
		}, []string{"type"}),
		expired: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pilot_xds_expired_nonce", Help: "Total number of XDS requests with an expired nonce.",
		}, []string{"type"}),
		rejectsOf: map[string]prometheus.Counter{},
		sendTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "pilot_xds_send_time", Help: "Total time in seconds Pilot takes to send generated configuration.",
			Buckets: []float64{.01, .1, 1, 3, 5, 10, 20, 30},
		}),
		pushTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "pilot_xds_push_time", Help: "Total time in seconds Pilot takes to push lds, rds, cds and eds.",
			Buckets: []float64{.01, .1, 1, 3, 5, 10, 20, 30},
		}, []string{"type"}),
		queueTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "pilot_proxy_queue_time", Help: "Time in seconds, a proxy is in the push queue before being dequeued.",
			Buckets: []float64{.1, .5, 1, 3, 5, 10, 20, 30},
		}),
		internal: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "pilot_total_xds_internal_errors", Help: "Total number of internal XDS errors in pilot.",
		}),
		size: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "pilot_xds_config_size_bytes", Help: "Distribution of configuration sizes pushed to clients.",
			Buckets: []float64{1, 10_000, 1_000_000, 4_000_000, 10_000_000, 40_000_000},
		}, []string{"type"}),
		convergence: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "pilot_proxy_convergence_time", Help: "Delay in seconds between config change and a proxy receiving all required configuration.",
			Buckets: []float64{.01, .05, .1, .5, 1, 3, 5, 10, 20, 30},
		}),
	}
	m.refused = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lateen_xds_streams_refused_total", Help: "Streams not let in, by reason: total, identity, rate (the limits), silent (no first message).",
	}, []string{"reason"})
	m.delayed = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "lateen_xds_requests_delayed_total", Help: "Requests that were read later than they could have been, since their stream asks too fast.",
	})
	for _, reason := range []string{"total", "identity", "rate", "silent"} {
		m.refused.WithLabelValues(reason) // shown before there is any
	}
	for _, short := range []string{"cds", "eds", "lds", "rds"} {
		m.rejectsOf[short] = prometheus.NewCounter(prometheus.CounterOpts{
			Name: "pilot_xds_" + short + "_reject", Help: "Responses of this type that a proxy refused.",
		})
		m.expired.WithLabelValues(short) // shown before there is any
	}
	if reg != nil {
		reg.MustRegister(m.streams, m.pushes, m.rejects, m.expired, m.sendTime, m.pushTime, m.queueTime, m.internal, m.size, m.convergence,
			m.refused, m.delayed)
		for _, c := range m.rejectsOf {
			reg.MustRegister(c)
		}
	}
	return m
}

func (m *metrics) reject(typeURL string) {
	short := shortType(typeURL)
	m.rejects.WithLabelValues(short).Inc()
	if c, ok := m.rejectsOf[short]; ok {
		c.Inc()
	}
}

// sent counts a response that took so long to be worked out and to be sent.
func (m *metrics) sent(typeURL string, size int, workedOut, took time.Duration) {
	short := shortType(typeURL)
	m.pushes.WithLabelValues(short).Inc()
	m.size.WithLabelValues(short).Observe(float64(size))
	m.sendTime.Observe(took.Seconds())
	m.pushTime.WithLabelValues(short).Observe((workedOut + took).Seconds())
}

// notSent counts a response that could not be sent though the client had not gone away.
func (m *metrics) notSent(typeURL string) {
	m.pushes.WithLabelValues(shortType(typeURL) + "_senderr").Inc()
	m.internal.Inc()
}

// shortType is the name of a type in metrics; what clients make up is one name, so that they cannot make up series.
func shortType(typeURL string) string {
	switch typeURL {
	case TypeCluster:
		return "cds"
	case TypeEndpoint:
		return "eds"
	case TypeListener:
		return "lds"
	case TypeRoute:
		return "rds"
	case TypeECDS:
		return "ecds"
	case TypeHost:
		return "vhds"
	case TypeNames:
		return "nds"
	default:
		return "other"
	}
}
