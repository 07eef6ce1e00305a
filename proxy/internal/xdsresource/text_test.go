package xdsresource

import (
	"errors"
	"slices"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
)

// TestFromTextReportsAll: whatever is wrong with a file is in one report, each with its path.
func TestFromTextReportsAll(t *testing.T) {
	const text = `
admin: {adress: {}}
static_resources:
  clusters:
  - name: app
    type: LOGICAL_DSN
    connect_timeout: soon
    lb_policy: [ROUND_ROBIN]
    per_connection_buffer_limit_bytes: many
    load_assignment:
      cluster_name: app
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: eight}}}}]}]
    transport_socket: {name: t, typed_config: {"@type": type.googleapis.com/no.such.Type}}
`
	want := []string{
		`admin.adress: unknown field: envoy.config.bootstrap.v3.Admin has none of this name`,
		`static_resources.clusters[0].connect_timeout: invalid google.protobuf.Duration value "soon"`,
		`static_resources.clusters[0].lb_policy: `,
		`static_resources.clusters[0].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value: invalid value for uint32 field portValue: "eight"`,
		`static_resources.clusters[0].per_connection_buffer_limit_bytes: invalid value for uint32 field value: "many"`,
		`static_resources.clusters[0].transport_socket.typed_config: type type.googleapis.com/no.such.Type is not supported`,
		`static_resources.clusters[0].type: invalid value for enum field type: "LOGICAL_DSN"; it is one of STATIC, STRICT_DNS, LOGICAL_DNS, EDS, ORIGINAL_DST`,
	}
	for _, lenient := range []bool{false, true} {
		var m bootstrapv3.Bootstrap
		_, err := FromText("bootstrap", []byte(text), &m, lenient)
		var e *Error
		if !errors.As(err, &e) {
			t.Fatalf("%v", err)
		}
		var got []string
		for _, p := range e.Problems {
			got = append(got, p.Path+": "+p.Reason)
		}
		expect := want
		if lenient {
			expect = want[1:] // what is unknown may be left out, what is wrong may not
		}
		if !slices.EqualFunc(got, expect, strings.HasPrefix) {
			t.Errorf("lenient %v:\n%s\nwant\n%s", lenient, strings.Join(got, "\n"), strings.Join(expect, "\n"))
		}
		// What is right is there all the same, to be judged in the same report.
		if c := m.GetStaticResources().GetClusters(); len(c) != 1 || c[0].GetName() != "app" || c[0].GetLoadAssignment().GetClusterName() != "app" {
			t.Errorf("lenient %v: %v", lenient, &m)
		}
	}
	var m bootstrapv3.Bootstrap
	if unknown, err := FromText("bootstrap", []byte("{admin: {adress: {}}, node: {id: a}}"), &m, true); err != nil || len(unknown) != 1 || m.GetNode().GetId() != "a" {
		t.Errorf("%v %v %v", unknown, err, &m)
	}
}
