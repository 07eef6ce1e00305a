package snapshot

//lint:file-ignore SA1019 People's configurations still have the older fields.

import (
	meshconfig "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// lightstepToken is the header that Lightstep knows a project by.
const lightstepToken = "lightstep-access-token"

// addressTracer is the tracer of defaultConfig.tracing, which names an address instead of a service, and that address; "" for none.
func addressTracer(t *meshconfig.Tracing) (*model.Provider, string) {
	switch k := t.GetTracer().(type) {
	case *meshconfig.Tracing_Zipkin_:
		return &model.Provider{Zipkin: &model.ZipkinTracer{}}, k.Zipkin.GetAddress()
	case *meshconfig.Tracing_Datadog_:
		return &model.Provider{Datadog: &model.DatadogTracer{}}, k.Datadog.GetAddress()
	case *meshconfig.Tracing_Lightstep_:
		return &model.Provider{OTLP: lightstep(k.Lightstep.GetAccessToken())}, k.Lightstep.GetAddress()
	}
	return nil, ""
}

// lightstep reports OpenTelemetry's spans: Envoy's own Lightstep tracer is gone, and Istio's documentation promises this of it.
func lightstep(token string) *model.OTLPTracer {
	out := &model.OTLPTracer{}
	if token != "" {
		out.Headers = [][2]string{{lightstepToken, token}}
	}
	return out
}
