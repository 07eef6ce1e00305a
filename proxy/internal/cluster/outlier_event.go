package cluster

import (
	"encoding/json"
	"strconv"
	"time"
)

// outlierEvent is a line of cluster_manager.outlier_detection.event_log_path: a host was, or
// would have been, ejected, or is back.
type outlierEvent struct {
	host     *Host
	why      cause // of an ejection
	uneject  bool
	enforced bool
	last     time.Time // of the opposite event; zero: there was none
	now      time.Time
	// Of ejections by rate, in percent.
	rate, average, threshold float64
}

// line is the event as Envoy writes it, as JSON.
func (e *outlierEvent) line(cluster string) []byte {
	m := map[string]any{
		"type": causes[e.why].name, "timestamp": e.now.UTC().Format("2006-01-02T15:04:05.000Z"), "cluster_name": cluster,
		"upstream_url": e.host.Name, "action": "EJECT", "num_ejections": e.host.ejections, "enforced": e.enforced,
	}
	if !e.last.IsZero() {
		m["secs_since_last_action"] = strconv.Itoa(int(e.now.Sub(e.last) / time.Second))
	}
	switch {
	case e.uneject:
		m["action"] = "UNEJECT"
	case e.why == causeSuccessRate || e.why == causeLocalSuccessRate:
		m["eject_success_rate_event"] = map[string]any{
			"host_success_rate": uint32(e.rate), "cluster_average_success_rate": uint32(e.average),
			"cluster_success_rate_ejection_threshold": uint32(max(e.threshold, 0)),
		}
	case e.why == causeFailurePercentage || e.why == causeLocalFailurePercentage:
		m["eject_failure_percentage_event"] = map[string]any{"host_success_rate": uint32(e.rate)}
	default:
		m["eject_consecutive_event"] = struct{}{}
	}
	raw, err := json.Marshal(m)
	if err != nil {
		panic("BUG: cluster: " + err.Error()) // strings and numbers only
	}
	return append(raw, '\n')
}
