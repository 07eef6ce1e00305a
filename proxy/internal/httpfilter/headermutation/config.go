package headermutation

import (
	"fmt"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Config is a validated header_mutation.v3.HeaderMutation, or a HeaderMutationPerRoute.
type Config struct {
	request, response, requestTrailers, responseTrailers route.Mutations
	query                                                []queryMutation
	mostSpecificWins                                     bool
}

// queryMutation changes a parameter.
type queryMutation struct {
	name   string
	remove bool
	value  *format.Formatter
	action corev3.KeyValueAppend_KeyValueAppendAction
}

// ParseConfig reads the filter's own configuration. It returns a *Config.
func ParseConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &headerv3.HeaderMutation{}
	r := d.ReadFilter(Name, a, m)
	c := parse(r, m.GetMutations())
	c.mostSpecificWins = m.GetMostSpecificHeaderMutationsWins()
	return c, r.Err()
}

// ParseRouteConfig reads a HeaderMutationPerRoute.
func ParseRouteConfig(d *xdsresource.Decoder, a *anypb.Any) (any, error) {
	m := &headerv3.HeaderMutationPerRoute{}
	r := d.ReadFilter(Name, a, m)
	return parse(r, m.GetMutations()), r.Err()
}

func parse(r *xdsresource.FilterReader, m *headerv3.Mutations) *Config {
	c := &Config{
		request:          parseMutations(r, "mutations.request_mutations", m.GetRequestMutations()),
		response:         parseMutations(r, "mutations.response_mutations", m.GetResponseMutations()),
		requestTrailers:  parseMutations(r, "mutations.request_trailers_mutations", m.GetRequestTrailersMutations()),
		responseTrailers: parseMutations(r, "mutations.response_trailers_mutations", m.GetResponseTrailersMutations()),
	}
	for i, q := range m.GetQueryParameterMutations() {
		path := fmt.Sprintf("mutations.query_parameter_mutations[%d]", i)
		if q.GetRemove() != "" {
			c.query = append(c.query, queryMutation{name: q.GetRemove(), remove: true})
			continue
		}
		rec := q.GetAppend().GetRecord()
		if rec.GetValue() == nil {
			r.Bad(path+".append.record", "a record with a string is required")
			continue
		}
		f, err := format.Compile(rec.GetValue().GetStringValue())
		if err != nil {
			r.Bad(path+".append.record.value", "%v", err)
		}
		c.query = append(c.query, queryMutation{name: rec.GetKey(), value: f, action: q.GetAppend().GetAction()})
	}
	return c
}

func parseMutations(r *xdsresource.FilterReader, path string, in []*mutationv3.HeaderMutation) route.Mutations {
	out, err := route.CompileMutations(r.HeaderMutations(path, in))
	if err != nil {
		r.Bad(path, "%v", err)
	}
	return out
}
