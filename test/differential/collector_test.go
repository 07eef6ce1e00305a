package differential

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"

	alspb "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	agentpb "skywalking.apache.org/repo/goapi/collect/language/agent/v3"
)

// collector is an origin whose name begins with "export-": it takes access logs (gRPC access log service, OTLP) and
// spans (OTLP by gRPC and HTTP, Zipkin's JSON, SkyWalking's segments, Datadog's MessagePack). Each entry and each span is compared as an origin's message is, field
// by field, together with what stands around it; how many of them came in one request is not.
type collector struct{ o *origin }

// serveCollector serves until the returned server is closed.
func serveCollector(o *origin, lis net.Listener) *http.Server {
	c := collector{o: o}
	service := grpc.NewServer(grpc.ForceServerCodec(asBytes{}), grpc.UnknownServiceHandler(c.call))
	srv := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			service.ServeHTTP(w, r)
			return
		}
		c.post(w, r)
	})}
	srv.Protocols.SetUnencryptedHTTP2(true)
	srv.Protocols.SetHTTP1(true)
	o.wg.Go(func() { _ = srv.Serve(noting{lis, o}) })
	return srv
}

// asBytes passes gRPC messages as they are.
type asBytes struct{}

// Marshal implements encoding.Codec.
func (asBytes) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

// Unmarshal implements encoding.Codec.
func (asBytes) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = slices.Clone(data)
	return nil
}

// Name implements encoding.Codec.
func (asBytes) Name() string { return "bytes" }

// call takes a unary call or a stream, whose messages have no answers but one at the end.
func (c collector) call(_ any, st grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(st)
	for {
		var body []byte
		if err := st.RecvMsg(&body); errors.Is(err, io.EOF) {
			return st.SendMsg(&[]byte{})
		} else if err != nil {
			return err
		}
		if err := c.take(withToken(path.Base(path.Dir(method))+"/"+path.Base(method), st), body); err != nil {
			return err
		}
	}
}

func (c collector) post(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if answer, ours := datadogPaths[r.URL.Path]; ours && err == nil {
		if answer == "" {
			return
		}
		if err = c.takeDatadog(r.URL.Path+" "+r.Header.Get("Content-Type")+" "+r.Host, body); err == nil {
			_, _ = io.WriteString(w, answer)
			return
		}
	}
	if err == nil {
		err = c.take(r.URL.Path+" "+r.Header.Get("Content-Type"), body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// take reads a message. what says how it came.
func (c collector) take(what string, body []byte) error {
	var m proto.Message
	var list []string // the path to the entries, of which each is compared
	switch {
	case strings.HasSuffix(what, "AccessLogService/StreamAccessLogs"):
		m, list = &alspb.StreamAccessLogsMessage{}, []string{"httpLogs", "logEntry"}
	case strings.HasSuffix(what, "LogsService/Export"):
		m, list = &logspb.LogsData{}, []string{"resourceLogs", "scopeLogs", "logRecords"}
	case strings.HasSuffix(what, "TraceService/Export"), strings.HasPrefix(what, "/v1/traces"):
		m, list = &tracepb.TracesData{}, []string{"resourceSpans", "scopeSpans", "spans"}
	case strings.Contains(what, segmentService):
		m = &agentpb.SegmentObject{}
	case strings.HasPrefix(what, "/api/v2/spans"):
		var spans []any
		if err := json.Unmarshal(body, &spans); err != nil {
			return err
		}
		for _, s := range spans {
			c.record(what, s)
		}
		return nil
	default:
		return fmt.Errorf("no such service: %s", what)
	}
	if err := proto.Unmarshal(body, m); err != nil {
		return err
	}
	if s, ok := m.(*agentpb.SegmentObject); ok {
		orderly(s)
	}
	raw, err := protojson.Marshal(m)
	if err != nil {
		return err
	}
	var told map[string]any
	if err := json.Unmarshal(raw, &told); err != nil {
		return err
	}
	if told["tcpLogs"] != nil {
		list = []string{"tcpLogs", "logEntry"}
	}
	c.entries(what, told, list)
	return nil
}

// entries records what a message has at a path, each with what stands beside the path.
func (c collector) entries(what string, told map[string]any, list []string) {
	if len(list) == 0 {
		c.record(what, told)
		return
	}
	below, beside := told[list[0]], map[string]any{}
	for k, v := range told {
		if k != list[0] {
			beside[k] = v
		}
	}
	each := func(v any) {
		inner, _ := v.(map[string]any)
		inner = merge(map[string]any{}, inner)
		for k, v := range beside {
			inner[list[0]+" "+k] = v // names of levels are the same
		}
		c.entries(what, inner, list[1:])
	}
	if all, ok := below.([]any); ok {
		for _, v := range all {
			each(v)
		}
	} else if below != nil {
		each(below)
	}
}

func (c collector) record(what string, entry any) {
	m := message{line: what, framing: "none"}
	flatten("", readable(entry), &m.headers)
	m.headers = slices.DeleteFunc(m.headers, func(h string) bool { return strings.Contains(h, "identifier.node.extensions") })
	for i, h := range m.headers {
		if k, _, _ := strings.Cut(h, ":"); moment.MatchString(k) {
			m.headers[i] = k + ": {time}"
		}
	}
	slices.Sort(m.headers)
	c.o.next(m)
}

// moment are fields that tell when something happened, and how long it took: only that they are there is compared.
var moment = regexp.MustCompile(`(?i)(^|\.)(start|startTime|endTime|time|timeTo\w+|duration|timestamp|\w*timeUnixNano)$`)

// readable has lists of keys and values as what they stand for, and ids in hexadecimal digits, as OTLP's own JSON has.
func readable(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if s, ok := x.(string); ok && slices.Contains([]string{"traceId", "spanId", "parentSpanId"}, k) {
				if raw, err := base64.StdEncoding.DecodeString(s); err == nil && (len(raw) == 8 || len(raw) == 16) {
					x = hex.EncodeToString(raw)
				}
			}
			v[k] = readable(x)
		}
	case []any:
		pairs := map[string]any{}
		for i, x := range v {
			x = readable(x)
			v[i] = x
			if p, ok := x.(map[string]any); ok && p["key"] != nil {
				pairs[fmt.Sprint(p["key"])] = p["value"]
			}
		}
		if len(v) > 0 && len(pairs) == len(v) {
			return pairs
		}
	}
	return v
}

// byKind has spans of calls before those of requests, since which of the two ends first is a matter of time, and entries of
// logs by the names of these, which are sent over streams of their own.
func byKind(a, b message) int {
	const log = "logEntry httpLogs identifier.logName"
	return cmp.Or(strings.Compare(a.header("kind"), b.header("kind")), strings.Compare(a.header(log), b.header(log)))
}

// nameIDs gives the ids of traces and spans names by their first appearance, in the order of the fields: so which are the
// same, in what is exported and in the requests that an origin got, is compared.
func (o outcome) nameIDs() {
	names := map[string]string{}
	for _, f := range o.fields() {
		if datadogIDs.MatchString(f) {
			o[f] = hexID(o[f])
		}
		o[f] = traceIDs.ReplaceAllStringFunc(o[f], func(id string) string {
			if names[id] == "" {
				names[id] = fmt.Sprintf("{id %d of %d digits}", len(names)+1, len(id))
			}
			return names[id]
		})
	}
}

var traceIDs = regexp.MustCompile(`\b([0-9a-f]{32}|[0-9a-f]{16})\b`)
