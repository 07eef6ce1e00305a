package format

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// metadataOp prints a value of route, cluster, host or dynamic metadata: strings as they
// are, everything else as JSON.
type metadataOp struct {
	kind   string
	filter string
	path   []string
}

func newMetadataOp(kind, arg string) (operator, error) {
	switch kind {
	case "DYNAMIC", "ROUTE", "CLUSTER", "UPSTREAM_HOST":
	default:
		return nil, fmt.Errorf("metadata type %q is none of DYNAMIC, ROUTE, CLUSTER, UPSTREAM_HOST", kind)
	}
	if arg == "" {
		return nil, errors.New("needs NAMESPACE:KEY... in parentheses")
	}
	path := strings.Split(arg, ":")
	return &metadataOp{kind: kind, filter: path[0], path: path[1:]}, nil
}

func (o *metadataOp) source(c *Context) map[string]map[string]any {
	switch o.kind {
	case "ROUTE":
		return c.Info.RouteMetadata
	case "CLUSTER":
		if c.Info.Cluster != nil {
			return c.Info.Cluster.Metadata
		}
		return nil
	case "UPSTREAM_HOST":
		if c.Info.Host != nil && c.Info.Host.Info() != nil {
			return c.Info.Host.Info().Metadata
		}
		return nil
	}
	return c.Info.Metadata
}

func (o *metadataOp) append(dst []byte, c *Context) ([]byte, bool) {
	if c.Info == nil {
		return dst, false
	}
	m, ok := o.source(c)[o.filter]
	if !ok {
		return dst, false
	}
	var v any = m
	for _, k := range o.path {
		m, isMap := v.(map[string]any)
		if !isMap {
			return dst, false
		}
		if v, ok = m[k]; !ok {
			return dst, false
		}
	}
	if s, isString := v.(string); isString {
		return append(dst, s...), true
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // as in Envoy, < and > stay what they are
	if err := e.Encode(v); err != nil {
		return dst, false
	}
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...), true
}
