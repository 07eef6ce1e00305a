package proxy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/tinylib/msgp/msgp"
)

// datadogSpan is what is looked at of a span.
type datadogSpan struct {
	Service, Name, Resource string
	TraceID                 uint64 `json:"trace_id"`
	SpanID                  uint64 `json:"span_id"`
	ParentID                uint64 `json:"parent_id"`
	Error                   int
	Meta                    map[string]string
	Metrics                 map[string]float64
}

// TestDatadog: spans go to Datadog's agent, dropped ones as well, each with those of its calls; and what the agent answers decides of later traces.
func TestDatadog(t *testing.T) {
	reports := make(chan [][]datadogSpan, 16)
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var text bytes.Buffer
		var report [][]datadogSpan
		if _, err := msgp.UnmarshalAsJSON(&text, body); err != nil || json.Unmarshal(text.Bytes(), &report) != nil || r.URL.Path != "/v0.4/traces" || r.Host != "agent.test" {
			t.Errorf("%s for %s: %v: %s", r.URL, r.Host, err, text.Bytes())
		}
		_, _ = io.WriteString(w, `{"rate_by_service": {"service:,env:": 0}}`)
		reports <- report
	}))
	defer agent.Close()
	_, port, _ := net.SplitHostPort(agent.Listener.Addr().String())
	const provider = `{random_sampling: {value: %d}, spawn_upstream_span: %t, custom_tags: [{tag: who, request_header: {name: x-who}}],
            provider: {name: envoy.tracers.datadog, typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.DatadogConfig, collector_cluster: collector,
              service_name: shop, collector_hostname: agent.test}}}`
	next := func() []datadogSpan {
		t.Helper()
		report := receive(t, reports)
		if len(report) != 1 {
			t.Fatalf("%d traces: %+v", len(report), report)
		}
		return report[0]
	}

	r, seen := tracingProxy(t, port, fmt.Sprintf(provider, 100, true))
	url := "http://" + r.ListenerAddrs()["http"]
	do(t, "GET", url+"/fail", "X-Who", "me", "X-Datadog-Trace-Id", "123", "X-Datadog-Parent-Id", "456", "X-Datadog-Tags", "_dd.p.x=1")
	h, spans := <-seen, next()
	if len(spans) != 2 {
		t.Fatalf("spans %+v", spans)
	}
	request, call := spans[0], spans[1]
	if request.TraceID != 123 || request.ParentID != 456 || request.Resource != "ingress" || request.Service != "shop" || request.Name != "envoy.proxy" || request.Error != 1 ||
		request.Meta["who"] != "me" || request.Meta["http.status_code"] != "503" || request.Meta["_dd.p.dm"] != "-0" || request.Meta["_dd.p.x"] != "1" ||
		request.Metrics["_sampling_priority_v1"] != 1 || request.Metrics["_dd.agent_psr"] != 1 {
		t.Errorf("the request's span: %+v", request)
	}
	if call.TraceID != 123 || call.ParentID != request.SpanID || call.Resource != "router backend egress" || call.Meta["upstream_cluster"] != "backend" {
		t.Errorf("the call's span: %+v", call)
	}
	for name, want := range map[string]string{
		"X-Datadog-Trace-Id": "123", "X-Datadog-Parent-Id": fmt.Sprint(call.SpanID), "X-Datadog-Sampling-Priority": "1", "X-Datadog-Tags": "_dd.p.x=1,_dd.p.dm=-0",
		"Traceparent": fmt.Sprintf("00-%032x-%016x-01", 123, call.SpanID), "Tracestate": fmt.Sprintf("dd=s:1;p:%016x;t.x:1;t.dm:-0", call.SpanID),
	} {
		if got := h.Get(name); got != want {
			t.Errorf("the upstream was told %s: %q, want %q", name, got, want)
		}
	}
	// What is refused before a span begins has none.
	conn, err := net.Dial("tcp", r.ListenerAddrs()["http"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); line != "HTTP/1.1 400 Bad Request\r\n" {
		t.Errorf("a request without a host: %q, %v", line, err)
	}
	// The answer is read at some time after it was given: no more is kept from then on.
	eventually(t, "the agent's rate", func() bool {
		do(t, "GET", url+"/")
		h := <-seen
		for range receive(t, reports) {
		}
		return h.Get("X-Datadog-Sampling-Priority") == "0"
	})

	r, seen = tracingProxy(t, port, fmt.Sprintf(provider, 0, false))
	do(t, "GET", "http://"+r.ListenerAddrs()["http"]+"/")
	h, spans = <-seen, next()
	if p := h.Get("X-Datadog-Sampling-Priority"); p != "-1" || len(spans) != 1 || spans[0].Metrics["_sampling_priority_v1"] != -1 || fmt.Sprint(spans[0].SpanID) != h.Get("X-Datadog-Parent-Id") {
		t.Errorf("the upstream was told %s; spans %+v", p, spans)
	}
	eventually(t, "the count of reports", func() bool { return r.stats("tracing.datadog.reports_sent") == "tracing.datadog.reports_sent: 1\n" })
}
