package route

import (
	"fmt"

	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Tracing is what a compiled route says of its requests' spans.
type Tracing struct {
	*xdsresource.RouteTracing
	// Tags go before those of the connection manager that have their names.
	Tags []format.Tag
	// Operation and Upstream print the names of the span of a request and of those of its calls; nil: the connection manager's.
	Operation, Upstream *format.Formatter
}

func compileTracing(t *xdsresource.RouteTracing) (*Tracing, error) {
	if t == nil {
		return nil, nil
	}
	out := &Tracing{RouteTracing: t}
	var err error
	if out.Tags, err = format.NewTags(t.CustomTags); err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	if out.Operation, err = compileFormat("tracing.operation", t.Operation); err != nil {
		return nil, err
	}
	out.Upstream, err = compileFormat("tracing.upstream_operation", t.UpstreamOperation)
	return out, err
}

// Traces reports whether a route of the table says something of spans: whether a request is traced then depends on its route.
func (t *Table) Traces() bool { return t.traces }
