package format

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// istioFormat is Istio's default access log format.
const istioFormat = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% ` +
	`%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% ` +
	`%DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" ` +
	`"%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% ` +
	`%DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%`

func headers(pairs ...string) *header.Map {
	h := &header.Map{}
	for _, p := range pairs {
		i := strings.Index(p, ": ")
		h.AddName(p[:i], []byte(p[i+2:]))
	}
	return h
}

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func at(t testing.TB, s string) time.Time {
	t.Helper()
	x, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

const ms = int64(time.Millisecond)

// inbound is the stream of the first line of REQUIREMENTS F3.
func inbound(t testing.TB) *Context {
	return &Context{
		Request: headers(":method: HEAD", ":path: /api/catalog", ":authority: webapp.istioinaction.io:30000", "x-forwarded-for: 172.18.0.1",
			"user-agent: curl/8.7.1", "x-request-id: 8d425652-17a9-4b41-a21c-874acab3b1f4"),
		Response: headers(":status: 200", "x-envoy-upstream-service-time: 8"),
		Info: &streaminfo.Info{
			StartWall: at(t, "2025-04-18T13:27:57.178Z"), Start: 1, End: 1 + 8*ms + ms/2, Protocol: streaminfo.HTTP11,
			ResponseCode: 200, Details: "via_upstream", RouteName: "default", UpstreamCluster: "inbound|8080||",
			Host: &cluster.Host{Name: "10.10.0.18:8080"}, UpstreamLocal: addr("127.0.0.6:51809"),
			Downstream: &conn.Info{LocalAddr: addr("10.10.0.18:8080"), RemoteAddr: addr("10.10.0.8:41000"),
				SNI: "outbound_.80_._.webapp.istioinaction.svc.cluster.local"},
			Remote: addr("172.18.0.1:0"),
		},
	}
}

func mustCompile(t testing.TB, s string) *Formatter {
	t.Helper()
	f, err := Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestIstioLines holds the lines of REQUIREMENTS F3 and F4.
func TestIstioLines(t *testing.T) {
	outbound := &Context{
		Request: headers(":method: GET", ":path: /items", ":authority: catalog.istioinaction:80", "x-forwarded-for: 172.18.0.1",
			"user-agent: beegoServer", "x-request-id: 49b55b86-2505-4a5c-aadf-950d03705b87"),
		Response: headers("x-envoy-upstream-service-time: 2"),
		Info: &streaminfo.Info{
			StartWall: at(t, "2025-04-18T13:27:58.237Z"), Start: 5 * ms, End: 7 * ms, Protocol: streaminfo.HTTP11, ResponseCode: 200,
			Details: "via_upstream", BytesSent: 502, RouteName: "default", Host: &cluster.Host{Name: "10.10.0.16:3000"},
			UpstreamCluster: "outbound|80||catalog.istioinaction.svc.cluster.local", UpstreamLocal: addr("10.10.0.18:45152"),
			Downstream: &conn.Info{LocalAddr: addr("10.10.0.18:15001"), OriginalDst: addr("10.200.1.254:80"), RemoteAddr: addr("172.18.0.1:0")},
		},
	}
	blackhole := &Context{Info: &streaminfo.Info{
		StartWall: at(t, "2025-04-19T09:55:34.851Z"), Start: ms, End: ms, Flags: streaminfo.NoHealthyUpstream, UpstreamCluster: "BlackHoleCluster",
		Downstream: &conn.Info{OriginalDst: addr("185.199.109.133:443"), RemoteAddr: addr("10.10.0.19:34868")},
	}}
	f := mustCompile(t, istioFormat)
	for _, tt := range []struct {
		c    *Context
		want string
	}{
		{inbound(t), `[2025-04-18T13:27:57.178Z] "HEAD /api/catalog HTTP/1.1" 200 - via_upstream - "-" 0 0 8 8 "172.18.0.1" "curl/8.7.1" "8d425652-17a9-4b41-a21c-874acab3b1f4" "webapp.istioinaction.io:30000" "10.10.0.18:8080" inbound|8080|| 127.0.0.6:51809 10.10.0.18:8080 172.18.0.1:0 outbound_.80_._.webapp.istioinaction.svc.cluster.local default`},
		{outbound, `[2025-04-18T13:27:58.237Z] "GET /items HTTP/1.1" 200 - via_upstream - "-" 0 502 2 2 "172.18.0.1" "beegoServer" "49b55b86-2505-4a5c-aadf-950d03705b87" "catalog.istioinaction:80" "10.10.0.16:3000" outbound|80||catalog.istioinaction.svc.cluster.local 10.10.0.18:45152 10.200.1.254:80 172.18.0.1:0 - default`},
		{blackhole, `[2025-04-19T09:55:34.851Z] "- - -" 0 UH - - "-" 0 0 0 - "-" "-" "-" "-" "-" BlackHoleCluster - 185.199.109.133:443 10.10.0.19:34868 - -`},
	} {
		if got := string(f.Append(nil, tt.c)); got != tt.want {
			t.Errorf("got\n%s\nwant\n%s", got, tt.want)
		}
	}
}

func TestOperators(t *testing.T) {
	c := inbound(t)
	i := c.Info
	i.Flags = streaminfo.UpstreamConnectionFailure | streaminfo.UpstreamRetryLimitExceeded
	i.UpstreamFailure = "delayed connect error: 111"
	i.Attempts, i.ConnectionID, i.BytesReceived = 3, 17, 12
	i.RequestEnd, i.UpstreamTxLast, i.UpstreamRxFirst, i.ResponseEnd = 1+ms, 1+2*ms, 1+4*ms, 1+7*ms
	i.Trace = streaminfo.Trace{High: 0xd07b1cb671a13906, Low: 0x948c4e8cdb04fc5f, Span: 0x10}
	i.Cluster = &xdsresource.Cluster{AltStatName: "alt", Metadata: xdsresource.Metadata{"istio": {"config": "/apis/x"}}}
	i.Metadata = map[string]map[string]any{"f": {"k": map[string]any{"n": 1.0}, "s": "text"}}
	i.RouteMetadata = xdsresource.Metadata{"istio": {"config": "/apis/vs"}}
	i.Host = &cluster.Host{Name: "10.10.0.18:8080", Hostname: "up.test", Address: xdsresource.Address{IP: netip.MustParseAddr("10.10.0.18"), Port: 8080}}
	c.Request.AddString(header.ContentType, "application/grpc")
	c.Trailers = headers("grpc-status: 5", "x-t: tail")
	c.LocalReply = []byte("no healthy upstream")
	t.Setenv("FORMAT_TEST", "env")
	for in, want := range map[string]string{
		"100%%":                               "100%",
		"%REQ(X-NONE?USER-AGENT)%":            "curl/8.7.1",
		"%REQ(X-NONE)%":                       "-",
		"%REQ(USER-AGENT):4%":                 "curl",
		"%REQ(X-NONE?X-NONE2):4%":             "-",
		"%RESP(:STATUS)%":                     "200",
		"%TRAILER(X-T)%":                      "tail",
		"%PROTOCOL:4%":                        "HTTP",
		"%RESPONSE_FLAGS%":                    "UF,URX",
		"%RESPONSE_FLAGS_LONG%":               "UpstreamConnectionFailure,UpstreamRetryLimitExceeded",
		"%UPSTREAM_TRANSPORT_FAILURE_REASON%": "delayed_connect_error:_111",
		"%UPSTREAM_REQUEST_ATTEMPT_COUNT%":    "3",
		"%CONNECTION_ID%":                     "17",
		"%REQUEST_DURATION% %REQUEST_TX_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION%":               "1 2 4 3",
		"%UPSTREAM_CLUSTER% %UPSTREAM_CLUSTER_RAW%":                                                         "alt inbound|8080||",
		"%UPSTREAM_HOST_NAME% %UPSTREAM_REMOTE_PORT% %UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%":                "up.test 8080 10.10.0.18",
		"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%":                                                          "172.18.0.1",
		"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%":                                                                "10.10.0.8:41000",
		"%DOWNSTREAM_LOCAL_PORT%":                                                                           "8080",
		"%TRACE_ID%":                                                                                        "d07b1cb671a13906948c4e8cdb04fc5f",
		"%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS_NUMBER%":                                    "NotFound NOT_FOUND 5",
		"%DYNAMIC_METADATA(f:s)% %DYNAMIC_METADATA(f:k:n)% %DYNAMIC_METADATA(f:k)% %DYNAMIC_METADATA(g:x)%": `text 1 {"n":1} -`,
		"%METADATA(ROUTE:istio:config)% %METADATA(CLUSTER:istio:config)%":                                   "/apis/vs /apis/x",
		"%ENVIRONMENT(FORMAT_TEST)% %ENVIRONMENT(FORMAT_NONE)%":                                             "env -",
		"%LOCAL_REPLY_BODY%":                                                                                "no healthy upstream",
		"%START_TIME(%s.%3f)%":                                                                              "1744982877.178",
		"%START_TIME(%Y/%m/%dT%H:%M:%S%z %6f)%":                                                             "2025/04/18T13:27:57+0000 178000",
		"%START_TIME(%a, %d %b %y %e %j %I%p %E6S %E0S %F %T)%":                                             "Fri, 18 Apr 25 18 108 01PM 57.178000 57 2025-04-18 13:27:57",
		"%DOWNSTREAM_TLS_VERSION%":                                                                          "-",
		"%VIRTUAL_CLUSTER_NAME%":                                                                            "-",
	} {
		if got := string(mustCompile(t, in).Append(nil, c)); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
	if got := string(mustCompile(t, "a%REQ(X-NONE)%b").AppendOrEmpty(nil, c)); got != "ab" {
		t.Errorf("a missing value where nothing stands for it: %q", got)
	}
	if s, ok := mustCompile(t, "50%%").Constant(); !ok || s != "50%" {
		t.Error("a constant format is not seen as one")
	}
}

// TestEmptyContext: no operator needs a part of the stream.
func TestEmptyContext(t *testing.T) {
	for name := range plainOperators {
		mustCompile(t, "%"+name+"%").Append(nil, &Context{})
		mustCompile(t, "%"+name+"%").Append(nil, &Context{Info: &streaminfo.Info{}})
	}
}

func TestErrors(t *testing.T) {
	for in, want := range map[string]string{
		"%NOPE%":               "%NOPE%: is not supported",
		"%REQ%":                "needs a header name",
		"%REQ(a?b?c)%":         "two names at most",
		"%REQ(a):x%":           "is not a length",
		"100%":                 "no closing %",
		"%REQ(a%":              "no closing",
		"%PROTOCOL(x)%":        "takes no argument",
		"%START_TIME(%Q)%":     "%Q is not supported",
		"%METADATA(X:y)%":      `metadata type "X"`,
		"%DYNAMIC_METADATA()%": "needs NAMESPACE",
		"%GRPC_STATUS(x)%":     "none of",
		"%FILTER_STATE(x:y)%":  "%FILTER_STATE(x:y)%: \"y\" is none of PLAIN, TYPED, FIELD:name",
		"%DURATION:0%":         "is not a length",
	} {
		_, err := Compile(in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", in, err, want)
		}
	}
}

func TestJSON(t *testing.T) {
	cfg := map[string]any{
		"status": "%RESPONSE_CODE%", "agent": "%REQ(USER-AGENT)%", "none": "%REQ(X)%", "mixed": "d=%DURATION%", "fixed": 3.0, "yes": true,
		"sub": map[string]any{"route": "%ROUTE_NAME%", "quoted": `a"b` + "\n"}, "list": []any{"%BYTES_SENT%", "x"},
	}
	for _, tt := range []struct {
		typed, omit bool
		want        string
	}{
		{true, false, `{"agent":"curl/8.7.1","fixed":3,"list":[0,"x"],"mixed":"d=8","none":null,"status":200,"sub":{"quoted":"a\"b\n","route":"default"},"yes":true}`},
		{true, true, `{"agent":"curl/8.7.1","fixed":3,"list":[0,"x"],"mixed":"d=8","status":200,"sub":{"quoted":"a\"b\n","route":"default"},"yes":true}`},
		{false, false, `{"agent":"curl/8.7.1","fixed":3,"list":["0","x"],"mixed":"d=8","none":"-","status":"200","sub":{"quoted":"a\"b\n","route":"default"},"yes":true}`},
	} {
		j, err := CompileJSON(cfg, tt.typed, tt.omit)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(j.Append(nil, inbound(t))); got != tt.want {
			t.Errorf("typed %v, omit %v:\n got %s\nwant %s", tt.typed, tt.omit, got, tt.want)
		}
	}
	if _, err := CompileJSON(map[string]any{"a": map[string]any{"b": "%NOPE%"}}, true, false); err == nil || !strings.Contains(err.Error(), "a: b: format operator %NOPE%") {
		t.Error(err)
	}
}

func TestNoAllocations(t *testing.T) {
	f, c := mustCompile(t, istioFormat), inbound(t)
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { buf = f.Append(buf[:0], c) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkIstioFormat(b *testing.B) {
	f, c := mustCompile(b, istioFormat), inbound(b)
	buf := make([]byte, 0, 1024)
	for b.Loop() {
		buf = f.Append(buf[:0], c)
	}
}

// FuzzCompile: whatever compiles can be printed; JSON strings are always valid.
func FuzzCompile(f *testing.F) {
	f.Add(istioFormat, "x")
	f.Add("%START_TIME(%%%H%E9S)%%REQ(a?b):3%", "\xff\"\n")
	f.Add("%METADATA(CLUSTER:a:b)%", "")
	f.Fuzz(func(t *testing.T, s, value string) {
		c := inbound(t)
		c.Request.AddName("a", []byte(value))
		fm, err := Compile(s)
		if err != nil {
			return
		}
		fm.Append(nil, c)
		j, err := CompileJSON(map[string]any{"k": s, "v": "%REQ(a)%"}, true, false)
		if err != nil {
			t.Fatal(err)
		}
		if b := j.Append(nil, c); !json.Valid(b) {
			t.Fatalf("invalid JSON %s", b)
		}
	})
}
