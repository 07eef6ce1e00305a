package sample

import (
	"net/http"
	"strings"
)

// propagated are the headers that an app passes from the request it serves to the requests it makes for it: without them a trace
// ends at the app, and a route by header works only at the edge. The list is Istio's
// (https://istio.io/latest/docs/tasks/observability/distributed-tracing/overview/), with the posts' cohort headers.
var propagated = []string{
	"X-Request-Id",
	"X-B3-Traceid", "X-B3-Spanid", "X-B3-Parentspanid", "X-B3-Sampled", "X-B3-Flags", "B3",
	"Traceparent", "Tracestate",
	"X-Ot-Span-Context", "X-Cloud-Trace-Context", "Grpc-Trace-Bin",
	"X-Istio-Cohort", "X-Dark-Launch",
}

func propagate(to, from http.Header) {
	for _, name := range propagated {
		if values := from.Values(name); len(values) > 0 {
			to[name] = values
		}
	}
}

// hopByHop are the headers that end at one connection (RFC 9110, 7.6.1), with those that net/http sets itself.
var hopByHop = []string{"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length"}

// relay copies an upstream's response headers, except those of the hop and of the proxies in between.
func relay(to, from http.Header) {
	for name, values := range from {
		if strings.HasPrefix(name, "X-Envoy-") || name == "Server" || name == "Date" {
			continue
		}
		to[name] = values
	}
	for _, name := range hopByHop {
		to.Del(name)
	}
}
