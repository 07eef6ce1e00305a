package ratelimit_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is a rate limit service: it writes down what it is asked, and says what it is told to.
type service struct {
	mu    sync.Mutex
	asked []string
	say   *rlsv3.RateLimitResponse // nil: OK
	raw   func(w http.ResponseWriter, r *http.Request)
}

func (s *service) serve(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	m := &rlsv3.RateLimitRequest{}
	if len(b) < 5 || proto.Unmarshal(b[5:], m) != nil {
		panic(http.ErrAbortHandler)
	}
	s.mu.Lock()
	s.asked = append(s.asked, question(m))
	say, raw := s.say, s.raw
	s.mu.Unlock()
	if raw != nil {
		raw(w, r)
		return
	}
	if say == nil {
		say = &rlsv3.RateLimitResponse{OverallCode: rlsv3.RateLimitResponse_OK}
	}
	out, _ := proto.Marshal(say)
	answer(w, out)
}

func answer(w http.ResponseWriter, message []byte) {
	w.Header().Set("Content-Type", "application/grpc")
	_, _ = w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...))
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
}

// question is a request as a line: domain, hits, and each descriptor.
func question(m *rlsv3.RateLimitRequest) string {
	out := fmt.Sprintf("%s %d", m.GetDomain(), m.GetHitsAddend())
	for _, d := range m.GetDescriptors() {
		out += " ["
		for i, e := range d.GetEntries() {
			if i > 0 {
				out += ","
			}
			out += e.GetKey() + "=" + e.GetValue()
		}
		out += "]"
		if l := d.GetLimit(); l != nil {
			out += fmt.Sprintf("<%d/%v>", l.GetRequestsPerUnit(), l.GetUnit())
		}
		if h := d.GetHitsAddend(); h != nil {
			out += fmt.Sprintf("+%d", h.GetValue())
		}
		if d.GetIsNegativeHits() {
			out += "-"
		}
	}
	return out
}

func (s *service) answers(m *rlsv3.RateLimitResponse) {
	s.mu.Lock()
	s.say, s.asked = m, nil
	s.mu.Unlock()
}

func (s *service) questions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.asked...)
}

// want waits for the questions since the last call.
func (s *service) want(t *testing.T, want ...string) {
	t.Helper()
	proxytest.Eventually(t, func() error {
		if got := s.questions(); strings.Join(got, "\n") != strings.Join(want, "\n") {
			return fmt.Errorf("asked\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		return nil
	})
	s.answers(nil)
}

func filter(more string) string {
	return "- {name: rl, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit, domain: d, timeout: 5s, " +
		"rate_limit_service: {transport_api_version: V3, grpc_service: {envoy_grpc: {cluster_name: rls}}}" + more + "}}"
}

func rlsCluster(addr string) string {
	host, port, _ := strings.Cut(addr, ":")
	return "- {name: rls, connect_timeout: 1s, load_assignment: {cluster_name: rls, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: " + host + ", port_value: " + port + "}}}}]}]}, " + proxytest.HTTP2 + "}"
}

func start(t *testing.T, c proxytest.Config) (*proxytest.Proxy, *service) {
	s := &service{}
	c.Clusters = rlsCluster(proxytest.HTTP2Server(t, s.serve))
	if c.Filters == "" {
		c.Filters = filter("")
	}
	if c.Upstream == "" {
		c.Upstream = proxytest.Server(t, proxytest.Echo)
	}
	return proxytest.Start(t, c), s
}

const perRoute = "typed_per_filter_config: {rl: {'@type': type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute, "

func route(limits string) string {
	return "- {match: {prefix: /}, route: {cluster: up, rate_limits: [" + limits + "]}}"
}

const generic = "{actions: [{generic_key: {descriptor_value: v}}]}"

func TestDescriptors(t *testing.T) {
	for name, test := range map[string]struct {
		limits, path string
		headers      []string
		want         string // "": not asked
	}{
		"clusters":         {"{actions: [{source_cluster: {}}, {destination_cluster: {}}]}", "/", nil, "d 0 [source_cluster=test,destination_cluster=up]"},
		"header":           {"{actions: [{request_headers: {header_name: x-a, descriptor_key: a}}]}", "/", []string{"x-a", "1"}, "d 0 [a=1]"},
		"no header":        {"{actions: [{generic_key: {descriptor_value: v}}, {request_headers: {header_name: x-a, descriptor_key: a}}]}", "/", nil, ""},
		"header skipped":   {"{actions: [{generic_key: {descriptor_value: v}}, {request_headers: {header_name: x-a, descriptor_key: a, skip_if_absent: true}}]}", "/", nil, "d 0 [generic_key=v]"},
		"header not UTF-8": {"{actions: [{request_headers: {header_name: x-a, descriptor_key: a}}]}", "/", []string{"x-a", "1\xff2"}, "d 0 [a=1\uFFFD2]"},
		"address":          {"{actions: [{remote_address: {}}]}, {actions: [{masked_remote_address: {v4_prefix_mask_len: 16}}]}", "/", nil, "d 0 [remote_address=127.0.0.1] [masked_remote_address=127.0.0.0/16]"},
		"query":            {"{actions: [{query_parameters: {query_parameter_name: q, descriptor_key: k}}]}", "/?q=1", nil, "d 0 [k=1]"},
		"header match":     {"{actions: [{header_value_match: {descriptor_value: v, headers: [{name: x-a, present_match: true}]}}]}", "/", []string{"x-a", ""}, "d 0 [header_match=v]"},
		"no header match":  {"{actions: [{header_value_match: {descriptor_value: v, expect_match: false, descriptor_key: k, headers: [{name: x-a, present_match: true}]}}]}", "/", nil, "d 0 [k=v]"},
		"query match":      {"{actions: [{query_parameter_value_match: {descriptor_value: v, query_parameters: [{name: q, string_match: {exact: '1'}}]}}]}", "/?q=1", nil, "d 0 [query_match=v]"},
		"address match":    {"{actions: [{remote_address_match: {descriptor_value: '%REQ(x-a)%', address_matcher: {ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}}}]}", "/", []string{"x-a", "1"}, "d 0 [remote_address_match=1]"},
		"no address match": {"{actions: [{remote_address_match: {descriptor_value: v, address_matcher: {invert_match: true, ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}}}]}", "/", nil, ""},
		"address default":  {"{actions: [{remote_address_match: {descriptor_value: '%REQ(x-a)%', default_value: none, descriptor_key: k, address_matcher: {ranges: [{address_prefix: 127.0.0.1, prefix_len: 32}]}}}]}", "/", nil, "d 0 [k=none]"},
		"metadata":         {"{actions: [{metadata: {descriptor_key: k, metadata_key: {key: m, path: [{key: a}]}, default_value: none}}, {dynamic_metadata: {descriptor_key: k2, metadata_key: {key: m, path: [{key: a}]}, default_value: none}}]}", "/", nil, "d 0 [k=none,k2=none]"},
		"no metadata":      {"{actions: [{dynamic_metadata: {descriptor_key: k2, metadata_key: {key: m, path: [{key: a}]}}}]}", "/", nil, ""},
		"limit":            {"{actions: [{generic_key: {descriptor_value: v}}], limit: {rate_limit: {requests_per_unit: 7, unit: HOUR}}}", "/", nil, "d 0 [generic_key=v]<7/HOUR>"},
		"no limit":         {"{actions: [{generic_key: {descriptor_value: v}}], limit: {dynamic_metadata: {metadata_key: {key: m, path: [{key: a}]}}}}", "/", nil, "d 0 [generic_key=v]"},
		"stage":            {"{stage: 1, actions: [{generic_key: {descriptor_value: v}}]}", "/", nil, ""},
		"several":          {generic + "," + generic, "/", nil, "d 0 [generic_key=v] [generic_key=v]"},
		"none":             {"", "/", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(test.limits, "dynamic_metadata: {descriptor_key") && proxytest.Envoy() {
				t.Skip("Envoy 1.40 wants a runtime key for it")
			}
			if name == "header not UTF-8" && proxytest.Envoy() {
				t.Skip("Envoy sends what is no proto then")
			}
			p, s := start(t, proxytest.Config{Routes: route(test.limits)})
			if r := p.Get(test.path, test.headers...); r.StatusCode != 200 {
				t.Errorf("%d %s", r.StatusCode, r.Text)
			}
			if test.want == "" {
				s.want(t)
			} else {
				s.want(t, test.want)
			}
		})
	}
}

// TestMetadata: what filters before this one have found out makes descriptors, and the limit.
func TestMetadata(t *testing.T) {
	p, s := start(t, proxytest.Config{
		Routes: "- {match: {prefix: /}, metadata: {filter_metadata: {m: {a: {b: deep}}}}, route: {cluster: up, rate_limits: [{actions: [{metadata: {descriptor_key: k, source: ROUTE_ENTRY, metadata_key: {key: m, path: [{key: a}, {key: b}]}}}]}]}}",
	})
	p.Get("/")
	s.want(t, "d 0 [k=deep]")

	if proxytest.Envoy() {
		t.Skip("as above")
	}
	// The first filter's answer is what the second one tells.
	p, s = start(t, proxytest.Config{
		Filters: filter(", metadata_namespace: m") + "\n" + filter(", stage: 1"),
		Routes: route(generic + `, {stage: 1, actions: [{metadata: {descriptor_key: a, metadata_key: {key: m, path: [{key: a}]}}}, {dynamic_metadata: {descriptor_key: b, metadata_key: {key: m, path: [{key: b}, {key: c}]}}}],
  limit: {dynamic_metadata: {metadata_key: {key: m, path: [{key: limit}]}}}}`),
	})
	for limit, want := range map[any]string{
		"DAY": "<3/DAY>", "NIGHT": "", 5: "",
	} {
		md, err := structpb.NewStruct(map[string]any{"a": "one", "b": map[string]any{"c": "two"}, "limit": map[string]any{"requests_per_unit": 3, "unit": limit}})
		if err != nil {
			t.Fatal(err)
		}
		s.answers(&rlsv3.RateLimitResponse{OverallCode: rlsv3.RateLimitResponse_OK, DynamicMetadata: md})
		p.Get("/")
		s.want(t, "d 0 [generic_key=v]", "d 0 [a=one,b=two]"+want)
	}
}

// TestHits: how many hits a request is may come from the filter state, and for a descriptor from its
// configuration.
func TestHits(t *testing.T) {
	const state = "- {name: s, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config, on_request_headers: [{object_key: envoy.ratelimit.hits_addend, format_string: {text_format_source: {inline_string: '%REQ(x-hits)%'}}}]}}\n"
	limits := ", rate_limits: [" + generic + ", {actions: [{generic_key: {descriptor_value: two}}], hits_addend: {number: 3}}, {actions: [{generic_key: {descriptor_value: three}}], hits_addend: {format: '%REQ(x-cost)%', is_negative_hits: true}}]"
	p, s := start(t, proxytest.Config{Filters: state + filter(limits)})
	for _, test := range []struct {
		headers []string
		want    string
	}{
		{nil, "d 0 [generic_key=v] [generic_key=two]+3"},
		{[]string{"x-hits", "5", "x-cost", "7"}, "d 5 [generic_key=v] [generic_key=two]+3 [generic_key=three]+7-"},
		{[]string{"x-hits", "-5", "x-cost", "x"}, "d 0 [generic_key=v] [generic_key=two]+3"},
		{[]string{"x-hits", "4294967296", "x-cost", "1000000001"}, "d 0 [generic_key=v] [generic_key=two]+3"},
		{[]string{"x-cost", "1000000000"}, "d 0 [generic_key=v] [generic_key=two]+3 [generic_key=three]+1000000000-"},
	} {
		p.Get("/", test.headers...)
		s.want(t, test.want)
	}
}

func status(code rlsv3.RateLimitResponse_Code, name string, limit uint32, unit rlsv3.RateLimitResponse_RateLimit_Unit, left uint32, reset time.Duration) *rlsv3.RateLimitResponse_DescriptorStatus {
	return &rlsv3.RateLimitResponse_DescriptorStatus{
		Code: code, LimitRemaining: left, DurationUntilReset: durationpb.New(reset),
		CurrentLimit: &rlsv3.RateLimitResponse_RateLimit{Name: name, RequestsPerUnit: limit, Unit: unit},
	}
}

func TestAnswers(t *testing.T) {
	const (
		yes = rlsv3.RateLimitResponse_OK
		no  = rlsv3.RateLimitResponse_OVER_LIMIT
	)
	multiplied := status(yes, "", 10, rlsv3.RateLimitResponse_RateLimit_MINUTE, 4, time.Second)
	multiplied.CurrentLimit.UnitMultiplier = wrapperspb.UInt32(5)
	two := []*rlsv3.RateLimitResponse_DescriptorStatus{
		status(no, "first", 10, rlsv3.RateLimitResponse_RateLimit_SECOND, 3, 900*time.Millisecond),
		status(no, "", 100, rlsv3.RateLimitResponse_RateLimit_WEEK, 2, 30*time.Second),
		{Code: no},
	}
	for name, test := range map[string]struct {
		more    string // configuration
		say     *rlsv3.RateLimitResponse
		request []string
		status  int
		body    string // "": not looked at
		headers map[string]string
		log     string
		stats   map[string]int64
	}{
		"ok":      {"", &rlsv3.RateLimitResponse{OverallCode: yes, RawBody: []byte("not this")}, nil, 200, "", map[string]string{"x-envoy-ratelimited": "", "x-ratelimit-limit": ""}, "200 via_upstream -", map[string]int64{"ok": 1}},
		"unknown": {"", &rlsv3.RateLimitResponse{}, nil, 200, "", nil, "200 via_upstream -", map[string]int64{"ok": 1}},
		"over": {"", &rlsv3.RateLimitResponse{OverallCode: no, Statuses: two}, nil, 429, "", map[string]string{"x-envoy-ratelimited": "true", "x-ratelimit-limit": "", "retry-after": "", "content-type": ""},
			"429 request_rate_limited RL", map[string]int64{"over_limit": 1, "ok": 0}},
		"over, with body and headers": {", response_headers_to_add: [{header: {key: x-conf, value: '%RESPONSE_FLAGS% %REQ(x-a)%'}}], disable_x_envoy_ratelimited_header: true",
			&rlsv3.RateLimitResponse{OverallCode: no, RawBody: []byte(`{"slow": "down"}`), ResponseHeadersToAdd: []*corev3.HeaderValue{{Key: "Content-Type", Value: "application/json"}, {Key: "x-b", Value: "1"}, {Key: "x-b", Value: "2"}}},
			[]string{"x-a", "here"}, 429, `{"slow": "down"}`, map[string]string{"content-type": "application/json", "x-b": "1|2", "x-conf": "RL here", "x-envoy-ratelimited": ""}, "429 request_rate_limited RL", map[string]int64{"over_limit": 1}},
		"text":                  {"", &rlsv3.RateLimitResponse{OverallCode: no, RawBody: []byte("slow")}, nil, 429, "slow", map[string]string{"content-type": "text/plain"}, "429 request_rate_limited RL", nil},
		"other status":          {", rate_limited_status: {code: ServiceUnavailable}, enable_retry_after_header: true", &rlsv3.RateLimitResponse{OverallCode: no, Statuses: two}, nil, 503, "", map[string]string{"retry-after": ""}, "503 request_rate_limited RL", map[string]int64{"over_limit": 1}},
		"no status of an error": {", rate_limited_status: {code: OK}", &rlsv3.RateLimitResponse{OverallCode: no}, nil, 429, "", nil, "429 request_rate_limited RL", nil},
		"not enforced": {", filter_enforced: {default_value: {numerator: 0}}", &rlsv3.RateLimitResponse{OverallCode: no, ResponseHeadersToAdd: []*corev3.HeaderValue{{Key: "x-b", Value: "1"}}}, nil, 200, "",
			map[string]string{"x-envoy-ratelimited": "true", "x-b": "1"}, "200 via_upstream -", map[string]int64{"over_limit": 1}},
		"not enabled":     {", filter_enabled: {default_value: {numerator: 0}}", &rlsv3.RateLimitResponse{OverallCode: no}, nil, 200, "", nil, "200 via_upstream -", map[string]int64{"over_limit": 0}},
		"gRPC":            {"", &rlsv3.RateLimitResponse{OverallCode: no, RawBody: []byte("slow")}, []string{"content-type", "application/grpc"}, 200, "", map[string]string{"grpc-status": "14", "grpc-message": "slow"}, "200 request_rate_limited RL", nil},
		"gRPC, exhausted": {", rate_limited_as_resource_exhausted: true", &rlsv3.RateLimitResponse{OverallCode: no}, []string{"content-type", "application/grpc"}, 200, "", map[string]string{"grpc-status": "8"}, "200 request_rate_limited RL", nil},
		"x-ratelimit": {", enable_x_ratelimit_headers: DRAFT_VERSION_03, enable_retry_after_header: true", &rlsv3.RateLimitResponse{OverallCode: no, Statuses: two}, nil, 429, "",
			map[string]string{"x-ratelimit-limit": `100, 10;w=1;name="first", 100;w=604800`, "x-ratelimit-remaining": "2", "x-ratelimit-reset": "30", "retry-after": "30"}, "429 request_rate_limited RL", nil},
		"x-ratelimit, ok": {", enable_x_ratelimit_headers: DRAFT_VERSION_03", &rlsv3.RateLimitResponse{OverallCode: yes, Statuses: []*rlsv3.RateLimitResponse_DescriptorStatus{multiplied, status(yes, "", 5, 0, 4, -time.Second)}}, nil, 200, "",
			map[string]string{"x-ratelimit-limit": "10, 10;w=300", "x-ratelimit-remaining": "4", "x-ratelimit-reset": "1"}, "200 via_upstream -", nil},
		"retry-after of the service": {", enable_retry_after_header: true", &rlsv3.RateLimitResponse{OverallCode: no, Statuses: two[:1], ResponseHeadersToAdd: []*corev3.HeaderValue{{Key: "retry-after", Value: "77"}}}, nil, 429, "", map[string]string{"retry-after": "77"}, "429 request_rate_limited RL", nil},
		"retry-after, at least 1":    {", enable_retry_after_header: true", &rlsv3.RateLimitResponse{OverallCode: no, Statuses: two[:1]}, nil, 429, "", map[string]string{"retry-after": "1"}, "429 request_rate_limited RL", nil},
		"request headers":            {"", &rlsv3.RateLimitResponse{OverallCode: yes, RequestHeadersToAdd: []*corev3.HeaderValue{{Key: "X-A", Value: "1"}, {Key: "x-a", Value: "2"}}}, []string{"x-a", "0"}, 200, "x-a: 0\nx-a: 1\nx-a: 2\n", nil, "200 via_upstream -", nil},
		"prefix":                     {", stat_prefix: own", &rlsv3.RateLimitResponse{OverallCode: no}, nil, 429, "", nil, "429 request_rate_limited RL", map[string]int64{"own.over_limit": 1, "over_limit": 0}},
	} {
		t.Run(name, func(t *testing.T) {
			p, s := start(t, proxytest.Config{Filters: filter(test.more), Routes: route(generic + "," + generic), Log: "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%"})
			s.answers(test.say)
			r := p.Get("/", test.request...)
			if r.StatusCode != test.status || !strings.Contains(r.Text, test.body) {
				t.Errorf("%d %q, want %d %q", r.StatusCode, r.Text, test.status, test.body)
			}
			for name, want := range test.headers {
				if got := strings.Join(r.Header.Values(name), "|"); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			if got := p.Log(1)[0]; got != test.log {
				t.Errorf("log %q, want %q", got, test.log)
			}
			stats := map[string]int64{}
			for k, v := range test.stats {
				stats["cluster.up.ratelimit."+k] = v
			}
			p.WantStats(stats)
		})
	}
}

// TestCodes: a refusal counts as an answer of the cluster that would have been asked.
func TestCodes(t *testing.T) {
	p, s := start(t, proxytest.Config{Routes: route(generic)})
	s.answers(&rlsv3.RateLimitResponse{OverallCode: rlsv3.RateLimitResponse_OVER_LIMIT})
	p.Get("/")
	p.WantStats(map[string]int64{"cluster.up.upstream_rq_429": 1, "cluster.up.upstream_rq_4xx": 1, "cluster.up.internal.upstream_rq_429": 1, "cluster.up.upstream_rq_total": 0, "http.t.downstream_rq_4xx": 1})
}

// TestDynamicMetadata: what a service wants to be known is there for those behind.
func TestDynamicMetadata(t *testing.T) {
	for more, name := range map[string]string{"": "envoy.filters.http.ratelimit", ", metadata_namespace: mine": "mine"} {
		p, s := start(t, proxytest.Config{Filters: filter(more), Routes: route(generic), Log: "%DYNAMIC_METADATA(" + name + ":a:b)%"})
		md, err := structpb.NewStruct(map[string]any{"a": map[string]any{"b": "c"}})
		if err != nil {
			t.Fatal(err)
		}
		s.answers(&rlsv3.RateLimitResponse{OverallCode: rlsv3.RateLimitResponse_OK, DynamicMetadata: md})
		p.Get("/")
		if got := strings.Trim(p.Log(1)[0], `"`); got != "c" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestBadService: whatever a service does, requests are answered as the configuration says.
func TestBadService(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	for name, raw := range map[string]func(w http.ResponseWriter, r *http.Request){
		"silent": func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-hang:
			}
		},
		"cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			_, _ = w.Write([]byte{0, 0, 0, 0, 9, 1})
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		},
		"garbage": func(w http.ResponseWriter, _ *http.Request) { answer(w, []byte{0xff, 0xff, 0xff}) },
		"short": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			_, _ = w.Write([]byte{0, 0, 0})
		},
		"no gRPC": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
		"500":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"refuses": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Grpc-Status", "16")
		},
		"too large": func(w http.ResponseWriter, _ *http.Request) { answer(w, make([]byte, 2<<20)) },
		"no trailer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			_, _ = w.Write(make([]byte, 5))
		},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "too large" && proxytest.Envoy() {
				t.Skip("Envoy's bound is higher")
			}
			filters := map[string]string{"allow": filter(", timeout: 0.1s"), "deny": filter(", timeout: 0.1s, failure_mode_deny: true"), "status": filter(", timeout: 0.1s, failure_mode_deny_percent: {default_value: {numerator: 100}}, status_on_error: {code: BadGateway}")}
			for how, want := range map[string]string{"allow": "200 via_upstream -", "deny": "500 rate_limiter_error RLSE", "status": "502 rate_limiter_error RLSE"} {
				filters[how] = strings.Replace(filters[how], "timeout: 5s, ", "", 1)
				p, s := start(t, proxytest.Config{Filters: filters[how], Routes: route(generic), Log: "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%"})
				s.raw = raw
				p.Get("/")
				if got := p.Log(1)[0]; got != want {
					t.Errorf("%s: %q, want %q", how, got, want)
				}
				allowed := int64(0)
				if how == "allow" {
					allowed = 1
				}
				p.WantStats(map[string]int64{"cluster.up.ratelimit.error": 1, "cluster.up.ratelimit.failure_mode_allowed": allowed, "cluster.up.ratelimit.ok": 0, "cluster.rls.upstream_rq_active": 0})
			}
		})
	}
}

// TestNoService: nobody listens, or there is no such cluster.
func TestNoService(t *testing.T) {
	for name, clusters := range map[string]string{"nobody listens": rlsCluster("127.0.0.1:1"), "no host": "- {name: rls, load_assignment: {cluster_name: rls}, " + proxytest.HTTP2 + "}"} {
		p := proxytest.Start(t, proxytest.Config{Filters: filter(", failure_mode_deny: true"), Routes: route(generic), Clusters: clusters, Upstream: "127.0.0.1:1"})
		if r := p.Get("/"); r.StatusCode != 500 || r.Text != "" {
			t.Errorf("%s: %d %q", name, r.StatusCode, r.Text)
		}
		p.WantStats(map[string]int64{"cluster.up.ratelimit.error": 1})
	}
}

// TestLyingService: what a service wants to add to a message is added only where it is a header.
func TestLyingService(t *testing.T) {
	if proxytest.Envoy() {
		t.Skip("Envoy trusts the service")
	}
	p, s := start(t, proxytest.Config{Routes: route(generic), Filters: filter(", enable_x_ratelimit_headers: DRAFT_VERSION_03")})
	bad := []*corev3.HeaderValue{
		{Key: "x-bad", Value: "a\r\nx-injected: b"}, {Key: "x-bad\r\nx-injected", Value: "b"}, {Key: "", Value: "a"}, {Key: ":path", Value: "/admin"}, {Key: "Host", Value: "other"},
		{Key: "content-length", Value: "1000"}, {Key: "Transfer-Encoding", Value: "chunked"}, {Key: "connection", Value: "x-a"}, {Key: "x-nul", Value: "\x00"}, {Key: "x-good", Value: "yes"},
	}
	s.answers(&rlsv3.RateLimitResponse{
		OverallCode: rlsv3.RateLimitResponse_OK, RequestHeadersToAdd: bad, ResponseHeadersToAdd: bad,
		Statuses: []*rlsv3.RateLimitResponse_DescriptorStatus{status(0, "a\"\r\nx-injected: b", 1, rlsv3.RateLimitResponse_RateLimit_SECOND, 1, 0)},
	})
	c := p.Dial()
	for range 2 { // the connection is still in order
		r := c.Send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").Read("GET")
		for _, name := range []string{"x-bad", "x-injected", "x-nul", "host"} {
			if r.Header.Get(name) != "" || strings.Contains(r.Text, name+": b") || strings.Contains(r.Text, "/admin") || strings.Contains(r.Text, "other") {
				t.Errorf("%s got through: %v %q", name, r.Header, r.Text)
			}
		}
		if r.Header.Get("x-good") != "yes" || !strings.Contains(r.Text, "x-good: yes") || r.Header.Get("x-ratelimit-limit") != "1, 1;w=1" {
			t.Errorf("%v %q", r.Header, r.Text)
		}
	}
}

// TestLevels: whose limits are asked about, and in which domain.
func TestLevels(t *testing.T) {
	of := func(name string) string { return "{actions: [{generic_key: {descriptor_value: " + name + "}}]}" }
	for name, test := range map[string]struct{ filter, route, want string }{
		"route":               {"", "route: {cluster: up, rate_limits: [" + of("r") + "]}", "d 0 [generic_key=r]"},
		"virtual host":        {"", "route: {cluster: up}", "d 0 [generic_key=vh]"},
		"both, of old":        {"", "route: {cluster: up, include_vh_rate_limits: true, rate_limits: [" + of("r") + "]}", "d 0 [generic_key=r] [generic_key=vh]"},
		"both":                {"", "route: {cluster: up, rate_limits: [" + of("r") + "]}, " + perRoute + "vh_rate_limits: INCLUDE}}", "d 0 [generic_key=r] [generic_key=vh]"},
		"ignored":             {"", "route: {cluster: up}, " + perRoute + "vh_rate_limits: IGNORE}}", ""},
		"own of the route":    {"", "route: {cluster: up, rate_limits: [" + of("r") + "]}, " + perRoute + "rate_limits: [" + of("own") + "], domain: other}}", "other 0 [generic_key=own]"},
		"own of the filter":   {", rate_limits: [" + of("f") + "]", "route: {cluster: up, rate_limits: [" + of("r") + "]}", "d 0 [generic_key=f]"},
		"of both":             {", rate_limits: [" + of("f") + "]", "route: {cluster: up}, " + perRoute + "rate_limits: [" + of("own") + "]}}", "d 0 [generic_key=own]"},
		"not forwarded":       {"", "direct_response: {status: 200}", ""},
		"no such cluster":     {"", "route: {cluster_header: x-none, rate_limits: [" + of("r") + "]}", ""},
		"only from within":    {", request_type: internal", "route: {cluster: up}", ""},
		"only from elsewhere": {", request_type: external", "route: {cluster: up}", "d 0 [generic_key=vh]"},
		"other stage":         {", stage: 2", "route: {cluster: up, rate_limits: [{stage: 2, actions: [{generic_key: {descriptor_value: two}}]}, " + of("r") + "]}", "d 0 [generic_key=two]"},
	} {
		t.Run(name, func(t *testing.T) {
			p, s := start(t, proxytest.Config{
				Filters: filter(test.filter), VirtualHost: "rate_limits: [" + of("vh") + "]", Routes: "- {match: {prefix: /}, " + test.route + "}",
				HCM: "internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}",
			})
			p.Get("/")
			if test.want == "" {
				s.want(t)
			} else {
				s.want(t, test.want)
			}
		})
	}
}

// TestStreamDone: some limits are told of when the stream is over, and then nobody waits.
func TestStreamDone(t *testing.T) {
	p, s := start(t, proxytest.Config{
		Filters: filter(", rate_limits: [" + generic + ", {apply_on_stream_done: true, actions: [{generic_key: {descriptor_value: done}}], hits_addend: {format: '%RESPONSE_CODE%'}}]"),
	})
	p.Get("/")
	s.want(t, "d 0 [generic_key=v]", "d 0 [generic_key=done]+200")
	s.answers(&rlsv3.RateLimitResponse{OverallCode: rlsv3.RateLimitResponse_OVER_LIMIT})
	if r := p.Get("/"); r.StatusCode != 429 {
		t.Errorf("%d", r.StatusCode)
	}
	s.want(t, "d 0 [generic_key=v]", "d 0 [generic_key=done]+429")
}

// TestClientGone: a client that goes away takes its question with it.
func TestClientGone(t *testing.T) {
	dropped := make(chan struct{}, 1)
	asked := make(chan struct{}, 1)
	p, s := start(t, proxytest.Config{Routes: route(generic), Log: "%RESPONSE_CODE% %RESPONSE_FLAGS%"})
	s.raw = func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
		dropped <- struct{}{}
	}
	c := p.Dial()
	c.Send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nab")
	<-asked
	c.Close()
	select {
	case <-dropped:
	case <-time.After(time.Minute):
		t.Fatal("the question was not dropped")
	}
	p.WantStats(map[string]int64{"cluster.up.ratelimit.ok": 0, "cluster.up.ratelimit.error": 0, "cluster.rls.upstream_rq_active": 0, "http.t.downstream_rq_active": 0})
}

// TestBody: a request's body waits with it.
func TestBody(t *testing.T) {
	p, s := start(t, proxytest.Config{Routes: route(generic)})
	release := make(chan struct{})
	s.raw = func(w http.ResponseWriter, _ *http.Request) {
		<-release
		out, _ := proto.Marshal(&rlsv3.RateLimitResponse{OverallCode: rlsv3.RateLimitResponse_OK})
		answer(w, out)
	}
	c := p.Dial()
	c.Send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc")
	proxytest.Eventually(t, func() error {
		if len(s.questions()) == 0 {
			return fmt.Errorf("not asked yet")
		}
		return nil
	})
	c.Send("def")
	close(release)
	if r := c.Read("POST"); !strings.HasSuffix(r.Text, "\nabcdef") {
		t.Errorf("%q", r.Text)
	}
}

func TestRefused(t *testing.T) {
	for more, want := range map[string]string{
		", stage: 11":          "stage",
		", request_type: some": "request_type",
		", rate_limits: [{stage: 1, actions: [{remote_address: {}}]}]":                                       "rate_limits[0].stage",
		", rate_limits: [{disable_key: k, actions: [{remote_address: {}}]}]":                                 "rate_limits[0].disable_key",
		", rate_limits: [{actions: [{extension: {name: x}}]}]":                                               "extension",
		", rate_limits: [{actions: [{remote_address: {}}], hits_addend: {format: 'a%BYTES_RECEIVED%'}}]":     "hits_addend.format",
		", rate_limits: [{actions: [{remote_address: {}}], hits_addend: {format: '%NONSENSE%'}}]":            "NONSENSE",
		", rate_limits: [{actions: [{remote_address: {}}], hits_addend: {number: 1, format: '%PROTOCOL%'}}]": "hits_addend",
	} {
		err := proxytest.Check(proxytest.Config{Filters: filter(more), Clusters: rlsCluster("127.0.0.1:1")})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", more, err, want)
		}
	}
	for old, new := range map[string]string{"transport_api_version: V3": "transport_api_version: V2", "envoy_grpc: {cluster_name: rls}": "google_grpc: {target_uri: a, stat_prefix: b}", "{envoy_grpc:": "{timeout: 1s, envoy_grpc:"} {
		if err := proxytest.Check(proxytest.Config{Filters: strings.Replace(filter(""), old, new, 1), Clusters: rlsCluster("127.0.0.1:1")}); err == nil {
			t.Errorf("%s is taken", new)
		}
	}
}
