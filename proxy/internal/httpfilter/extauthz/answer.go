package extauthz

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
)

type verdict uint8

const (
	failed verdict = iota // there is no answer, or one that is an error
	allowed
	denied
)

// answer is what a service has said, in either protocol.
type answer struct {
	verdict
	// Of a refusal, and of an error that says it; 0 and "": the default.
	code  int
	body  string
	local []pair // headers of the reply

	// Changes of the request, in this order.
	set, add, join []pair // join: with a comma, where the header is there
	remove         []string
	querySet       []pair
	queryRemove    []string
	// response is the changes of the response.
	response []change

	metadata map[string]any
	// odd: an append_action of the response's headers that nobody knows.
	odd bool
}

type pair struct{ name, value string }

// change is one of a response's headers.
type change struct {
	pair
	how action
}

type action uint8

const (
	addLine action = iota
	setValue
	addIfAbsent
	setIfPresent
)

// judge says what an answer over gRPC means; nil is none.
func judge(r *authv3.CheckResponse) answer {
	if r == nil {
		return answer{verdict: failed}
	}
	var a answer
	switch ok := r.GetOkResponse(); {
	case r.GetStatus().GetCode() == 0:
		a = answer{verdict: allowed}
		if ok != nil {
			a.request(ok)
		}
	case r.GetErrorResponse() != nil:
		a = answer{verdict: failed}
		a.reply(r.GetErrorResponse())
	default:
		a = answer{verdict: denied, code: 403}
		a.reply(r.GetDeniedResponse())
	}
	metadata := r.GetDynamicMetadata()
	// The older place wins, as in Envoy.
	if ok := r.GetOkResponse(); ok != nil && ok.GetDynamicMetadata() != nil {
		metadata = ok.GetDynamicMetadata()
	}
	if len(metadata.GetFields()) > 0 {
		a.metadata = metadata.AsMap()
	}
	return a
}

// reply reads the local reply of a refusal or an error.
func (a *answer) reply(m *authv3.DeniedHttpResponse) {
	if code := int(m.GetStatus().GetCode()); code > 0 {
		a.code = code
	}
	a.body = m.GetBody()
	for _, o := range m.GetHeaders() {
		// "append" is older than append_action, and wins; one that appends means nothing here.
		if o.GetAppend() != nil && o.GetAppend().GetValue() {
			continue
		}
		a.local = append(a.local, pair{o.GetHeader().GetKey(), o.GetHeader().GetValue()})
	}
}

// request reads the changes of a request that may pass. Of those of its headers only "append"
// counts, which is false unless it is set; append_action does not, as in Envoy.
func (a *answer) request(m *authv3.OkHttpResponse) {
	for _, o := range m.GetHeaders() {
		p := pair{o.GetHeader().GetKey(), o.GetHeader().GetValue()}
		if o.GetAppend().GetValue() {
			a.join = append(a.join, p)
			continue
		}
		a.set = append(a.set, p)
	}
	a.remove = m.GetHeadersToRemove()
	for _, q := range m.GetQueryParametersToSet() {
		a.querySet = append(a.querySet, pair{q.GetKey(), q.GetValue()})
	}
	a.queryRemove = m.GetQueryParametersToRemove()
	for _, o := range m.GetResponseHeadersToAdd() {
		how := setValue
		switch {
		case o.GetAppend() != nil:
			if o.GetAppend().GetValue() {
				how = addLine
			}
		case o.GetAppendAction() == corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD:
			how = addLine
		case o.GetAppendAction() == corev3.HeaderValueOption_ADD_IF_ABSENT:
			how = addIfAbsent
		case o.GetAppendAction() == corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
			how = setIfPresent
		case o.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
			a.odd = true
			continue
		}
		a.response = append(a.response, change{pair{o.GetHeader().GetKey(), o.GetHeader().GetValue()}, how})
	}
}
