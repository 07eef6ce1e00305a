package datadog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tinylib/msgp/msgp"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/lateen-mesh/lateen/proxy/internal/export"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
	"github.com/lateen-mesh/lateen/proxy/internal/tracing"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// agent is Datadog's, and the way to it.
type agent struct {
	srv     *httptest.Server
	missing bool // the cluster
	got     chan *http.Request
	bodies  chan []byte
}

func serve(t *testing.T, answer http.HandlerFunc) *agent {
	t.Helper()
	a := &agent{got: make(chan *http.Request, 16), bodies: make(chan []byte, 16)}
	a.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a.bodies <- body
		a.got <- r
		answer(w, r)
	}))
	t.Cleanup(a.srv.Close)
	return a
}

func (a *agent) GRPC(context.Context) (*grpc.ClientConn, func(), error) {
	return nil, nil, errors.New("not by gRPC")
}

func (a *agent) HTTP(context.Context) (*http.Client, func(), error) {
	if a.missing {
		return nil, nil, fmt.Errorf("%w %q", export.ErrNoCluster, "agent")
	}
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", a.srv.Listener.Addr().String())
	}}
	return &http.Client{Transport: t}, func() {}, nil
}

// reported decodes a report.
func reported(t *testing.T, body []byte) (out [][]map[string]any) {
	t.Helper()
	var text bytes.Buffer
	if rest, err := msgp.UnmarshalAsJSON(&text, body); err != nil || len(rest) > 0 {
		t.Fatalf("%v, %d bytes left over", err, len(rest))
	}
	d := json.NewDecoder(&text)
	d.UseNumber()
	if err := d.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func reporter(a export.Service) (*Reporter, *stats.Store) {
	store := stats.NewStore(stats.Options{Workers: 1})
	return New(&xdsresource.Datadog{Cluster: "agent", Host: "dd.example", Service: "shop", Env: "prod"}, Deps{
		Workers: 1, Service: a, Process: "a-uuid", Version: "1.2", Stats: store, Log: slog.New(slog.DiscardHandler), Getenv: func(string) string { return "" },
	}), store
}

// run sends what was reported, and ends.
func run(r *Reporter) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r.Run(ctx)
}

func TestReport(t *testing.T) {
	a := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"rate_by_service": {"service:shop,env:prod": 0.5}}`)
	})
	r, _ := reporter(a)
	start := time.Unix(100, 7)
	d := &tracing.Datadog{
		Root: 1 << 63, Priority: 1, Rate: 1, Tags: []tracing.Tag{{Key: "_dd.p.tid", Value: "6b0de53a00000000"}, {Key: "own", Value: "lost"}}, Source: "02",
		HasOrigin: true, Origin: "rum", HasLastParent: true, LastParent: "00f067aa0ba902b7", Trouble: "decoding_error", W3CTrouble: "invalid_version",
	}
	of := tracing.Context{TraceLow: 1<<64 - 1, Span: d.Root, Parent: 5, Datadog: d}
	// The span of a call comes first, and waits.
	r.Report(0, &tracing.Span{Context: of.Child(9), Name: "router backend egress", Start: start, Duration: 2, Tags: []tracing.Tag{
		{Key: "error", Value: "true"}, {Key: "error.reason", Value: "connection failure"}, {Key: "upstream_cluster", Value: "backend"},
	}})
	if items, _ := r.queue.Take(); len(items) != 0 {
		t.Fatal("the span of a call did not wait")
	}
	r.Report(0, &tracing.Span{Context: of, Name: "ingress", Start: start, Duration: 3, Tags: []tracing.Tag{
		{Key: "http.method", Value: "GET"}, {Key: "error", Value: "no"}, {Key: "resource.name", Value: "GET /"}, {Key: "own", Value: "a\xff"}, {Key: "own", Value: "b\xff"},
	}})
	// One that comes late goes alone.
	r.Report(0, &tracing.Span{Context: of.Child(10), Name: "late", Start: start, Duration: -1})
	run(r)
	req := <-a.got
	for name, want := range map[string]string{"Content-Type": "application/msgpack", "Datadog-Meta-Lang": "go", "Datadog-Meta-Tracer-Version": "1.2", "X-Datadog-Trace-Count": "2"} {
		if got := req.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if req.Method != http.MethodPost || req.URL.Path != "/v0.4/traces" || req.Host != "dd.example" || req.Header.Get("Datadog-Meta-Lang-Version") == "" {
		t.Errorf("%s %s for %s: %v", req.Method, req.URL, req.Host, req.Header)
	}
	got := reported(t, <-a.bodies)
	pid := got[0][0]["metrics"].(map[string]any)["process_id"]
	span := func(resource string, id, parent, duration, failed int64, meta, metrics map[string]any) map[string]any {
		for k, v := range map[string]string{"language": "go", "runtime-id": "a-uuid", "version": "lateen 1.2", "env": "prod", "_dd.origin": "rum"} {
			meta[k] = v
		}
		metrics["process_id"] = pid
		number := func(n int64) json.Number { return json.Number(fmt.Sprint(n)) }
		return map[string]any{
			"service": "shop", "name": "envoy.proxy", "resource": resource, "type": "web", "trace_id": json.Number("18446744073709551615"),
			"span_id": json.Number(fmt.Sprint(uint64(id))), "parent_id": json.Number(fmt.Sprint(uint64(parent))), "start": number(100000000007), "duration": number(duration),
			"error": number(failed), "meta": meta, "metrics": metrics,
		}
	}
	const root = -1 << 63 // as a uint64
	want := [][]map[string]any{
		{
			span("GET /", root, 5, 3, 0, map[string]any{
				"http.method": "GET", "own": "b!", "_dd.p.tid": "6b0de53a00000000", "_dd.p.ts": "02", "_dd.parent_id": "00f067aa0ba902b7",
				"_dd.propagation_error": "decoding_error", "_dd.w3c_extraction_error": "invalid_version",
			}, map[string]any{"_dd.agent_psr": json.Number("1"), "_sampling_priority_v1": json.Number("1")}),
			span("router backend egress", 9, root, 2, 1, map[string]any{
				"upstream_cluster": "backend", "error.reason": "connection failure", "error.message": "connection failure",
			}, map[string]any{}),
		},
		{span("late", 10, root, 0, 0, map[string]any{}, map[string]any{"_sampling_priority_v1": json.Number("1")})},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if rate, told := r.Rate(); rate != 0.5 || !told {
		t.Errorf("rate %v, %v", rate, told)
	}
}

// TestVariables: what Datadog's tracers are told by the environment and this one does not know is named.
func TestVariables(t *testing.T) {
	r, _ := reporter(&agent{})
	var log bytes.Buffer
	r.deps.Log = slog.New(slog.NewTextHandler(&log, nil))
	r.deps.Getenv = func(name string) string {
		return map[string]string{"DD_TRACE_SAMPLE_RATE": "0.1", "DD_TAGS": "a:b", "DD_ENV": "prod"}[name]
	}
	run(r)
	if want := `variables="DD_TAGS, DD_TRACE_SAMPLE_RATE"`; !strings.Contains(log.String(), want) {
		t.Errorf("%s lacks %s", log.String(), want)
	}
}

// TestAnswers: what each answer of an agent is counted as.
func TestAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		answer  http.HandlerFunc
		missing bool
		count   string
	}{
		"taken":                 {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }, false, "reports_sent"},
		"taken, in other words": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "OK") }, false, "reports_sent"},
		"too many":              {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }, false, "reports_dropped"},
		"accepted":              {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }, false, "reports_dropped"},
		"no answer":             {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, false, "reports_dropped"},
		"half an answer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			_, _ = io.WriteString(w, "{")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, false, "reports_failed"},
		"a long answer":       {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte("{"), 1<<20)) }, false, "reports_sent"},
		"there is no cluster": {func(http.ResponseWriter, *http.Request) {}, true, "reports_skipped_no_cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			a := serve(t, tc.answer)
			a.missing = tc.missing
			r, store := reporter(a)
			d := &tracing.Datadog{Root: 1, Rate: -1}
			r.Report(0, &tracing.Span{Context: tracing.Context{TraceLow: 1, Span: 1, Datadog: d}})
			run(r)
			counters, err := store.Counters(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, count := range []string{"reports_sent", "reports_dropped", "reports_failed", "reports_skipped_no_cluster"} {
				want := uint64(0)
				if count == tc.count {
					want = 1
				}
				if got := counters["tracing.datadog."+count]; got != want {
					t.Errorf("%s is %d, want %d", count, got, want)
				}
			}
			if _, told := r.Rate(); told {
				t.Error("it was told a rate")
			}
		})
	}
}
