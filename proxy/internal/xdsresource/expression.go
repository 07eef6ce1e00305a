package xdsresource

import (
	"fmt"

	"github.com/lateen-mesh/lateen/pkg/cel"
)

// unknownAttributes are attributes of Envoy's that expressions cannot have here.
var unknownAttributes = map[string]string{
	"upstream.num_endpoints":              "a stream does not know the hosts of its cluster",
	"xds.node":                            "a stream does not know the node",
	"xds.virtual_host_metadata":           "a stream knows no more of its virtual host than the name",
	"xds.upstream_host_locality_metadata": "a host does not know its locality's metadata",
}

// CompileExpression compiles an expression of CEL. One that Envoy would not take is refused, and so is one with attributes that are
// not here.
func CompileExpression(text string) (*cel.Expression, error) {
	return cel.Compile(text, refuseAttribute)
}

func refuseAttribute(group, name string) error {
	whole := group + "." + name
	if why, no := unknownAttributes[whole]; no {
		return fmt.Errorf("%s is not supported: %s", whole, why)
	}
	return nil
}
