package healthcheck

import (
	"encoding/json"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// EventKind is what an Event tells.
type EventKind uint8

// Kinds of events, after Envoy's HealthCheckEvent.
const (
	EjectUnhealthy EventKind = iota
	AddHealthy
	CheckFailed
	Succeeded
	BecameDegraded
	NoLongerDegraded
)

// Event is a line of event_log_path.
type Event struct {
	Kind    EventKind
	Failure Outcome
	First   bool
	Status  int
}

// Subject is the host that events are about.
type Subject struct {
	Type              string // "HTTP", "TCP", "GRPC"
	Cluster           string
	Address           xdsresource.Address
	Region, Zone, Sub string
}

// Line is the event as Envoy writes it: JSON, one line.
func (e Event) Line(s *Subject, now time.Time) []byte {
	m := map[string]any{
		"health_checker_type": s.Type,
		"host":                addressJSON(s.Address),
		"cluster_name":        s.Cluster,
		"timestamp":           now.UTC().Format("2006-01-02T15:04:05.000Z"),
		"locality":            map[string]string{"region": s.Region, "zone": s.Zone, "sub_zone": s.Sub},
	}
	switch e.Kind {
	case EjectUnhealthy:
		m["eject_unhealthy_event"] = map[string]any{"failure_type": e.Failure.String(), "http_status_code": e.Status}
	case AddHealthy:
		m["add_healthy_event"] = map[string]any{"first_check": e.First}
	case CheckFailed:
		m["health_check_failure_event"] = map[string]any{"failure_type": e.Failure.String(), "first_check": e.First, "http_status_code": e.Status}
	case Succeeded:
		m["successful_health_check_event"] = struct{}{}
	case BecameDegraded:
		m["degraded_healthy_host"] = struct{}{}
	case NoLongerDegraded:
		m["no_longer_degraded_host"] = struct{}{}
	}
	raw, err := json.Marshal(m)
	if err != nil {
		panic("BUG: healthcheck: " + err.Error()) // strings and numbers only
	}
	return append(raw, '\n')
}

func addressJSON(a xdsresource.Address) map[string]any {
	if a.Pipe != "" {
		return map[string]any{"pipe": map[string]any{"path": a.Pipe, "mode": 0}}
	}
	return map[string]any{"socket_address": map[string]any{
		"protocol": "TCP", "address": a.IP.String(), "port_value": a.Port, "resolver_name": "", "ipv4_compat": false,
		"network_namespace_filepath": "",
	}}
}
