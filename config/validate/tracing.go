package validate

//lint:file-ignore SA1019 People's configurations still have the older fields.

import (
	"net"
	"strings"

	mesh "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/config/internal/field"
)

// addressTracer checks the address of a tracer of defaultConfig.tracing.
func (c *checker) addressTracer(at *field.Path, t *mesh.Tracing) {
	var address string
	switch k := t.GetTracer().(type) {
	case *mesh.Tracing_Zipkin_:
		at, address = at.Child("zipkin", "address"), k.Zipkin.GetAddress()
	case *mesh.Tracing_Datadog_:
		at, address = at.Child("datadog", "address"), k.Datadog.GetAddress()
	case *mesh.Tracing_Lightstep_:
		c.accessToken(at.Child("lightstep", "accessToken"), k.Lightstep.GetAccessToken())
		at, address = at.Child("lightstep", "address"), k.Lightstep.GetAddress()
	}
	if address == "" {
		return
	}
	if _, port, err := net.SplitHostPort(address); err != nil {
		c.add(at, "%q is not HOST:PORT", address)
	} else if n, ok := atou(port); !ok || n == 0 || n > 65535 {
		c.add(at, "%q is not a port", port)
	}
}

// accessToken checks what is sent as a header.
func (c *checker) accessToken(at *field.Path, token string) {
	if strings.ContainsFunc(token, func(r rune) bool { return r < ' ' || r > '~' }) {
		c.add(at, "has a character that no header can have; it is sent as one")
	}
}
