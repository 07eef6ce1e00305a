package differential

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"

	"github.com/tinylib/msgp/msgp"
)

// datadogPaths are those of Datadog's agent, with its answers. What Envoy's tracer tells of itself is not compared.
var datadogPaths = map[string]string{
	"/v0.4/traces":                         `{"rate_by_service":{}}`,
	"/telemetry/proxy/api/v2/apmtelemetry": "",
}

// datadogIDs are fields with ids that are written as decimal numbers.
var datadogIDs = regexp.MustCompile(`\.header\.x-datadog-(trace|parent)-id$`)

// hexID is an id as everything else writes it; what is no number stays.
func hexID(v string) string {
	if n, err := strconv.ParseUint(v, 10, 64); err == nil {
		return fmt.Sprintf("%016x", n)
	}
	return v
}

// takeDatadog reads a report: an array of arrays of spans.
func (c collector) takeDatadog(what string, body []byte) error {
	var text bytes.Buffer
	if rest, err := msgp.UnmarshalAsJSON(&text, body); err != nil {
		return err
	} else if len(rest) > 0 {
		return fmt.Errorf("%d bytes are left over", len(rest))
	}
	var segments [][]map[string]any
	d := json.NewDecoder(&text)
	d.UseNumber() // ids are of 64 bits
	if err := d.Decode(&segments); err != nil {
		return err
	}
	for _, s := range segments {
		for i, span := range s {
			for _, k := range []string{"trace_id", "span_id", "parent_id"} {
				span[k] = hexID(fmt.Sprint(span[k]))
			}
			span["place"] = fmt.Sprintf("%d of %d", i+1, len(s))
			c.record(what, span)
		}
	}
	return nil
}
