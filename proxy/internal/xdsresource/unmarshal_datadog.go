package xdsresource

import (
	"cmp"
	"os"

	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
)

// Variables of the proxy's environment that say what Datadog's products call a process, whatever its configuration says
// (https://docs.datadoghq.com/getting_started/tagging/unified_service_tagging/). Datadog's own tracers read them, and so does Envoy's.
const (
	datadogService = "DD_SERVICE"
	datadogEnv     = "DD_ENV"
	datadogVersion = "DD_VERSION"
)

func datadogTracing(m *tracev3.DatadogConfig) *Datadog {
	return &Datadog{
		Cluster: m.GetCollectorCluster(), Host: cmp.Or(m.GetCollectorHostname(), m.GetCollectorCluster()),
		Service: cmp.Or(os.Getenv(datadogService), m.GetServiceName()), Env: os.Getenv(datadogEnv), Version: os.Getenv(datadogVersion),
	}
}
