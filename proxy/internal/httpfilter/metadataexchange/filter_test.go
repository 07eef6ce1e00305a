package metadataexchange

import (
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"

	xdstype "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// stream is what the filter needs of a stream.
type stream struct {
	httpfilter.Stream
	info   streaminfo.Info
	target *route.Target
}

func (s *stream) Info() *streaminfo.Info { return &s.info }
func (s *stream) Target() *route.Target  { return s.target }

func config(t testing.TB, js string) *anypb.Any {
	t.Helper()
	v := &structpb.Struct{}
	if err := protojson.Unmarshal([]byte(js), v); err != nil {
		t.Fatal(err)
	}
	a, err := anypb.New(&xdstype.TypedStruct{TypeUrl: typeURL, Value: v})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

const sidecar = `{"downstream_discovery":[{"istio_headers":{}}],"upstream_discovery":[{"istio_headers":{}}],
	"downstream_propagation":[{"istio_headers":{}}],"upstream_propagation":[{"istio_headers":{"skip_external_clusters":true}}]}`

// vector is a peer's metadata as an Istio proxy was seen to send it.
func vector(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("../../peermetadata/testdata/peer-metadata.json")
	if err != nil {
		t.Fatal(err)
	}
	var vs []struct{ Base64 string }
	if err := json.Unmarshal(b, &vs); err != nil {
		t.Fatal(err)
	}
	return vs[0].Base64
}

func newFilter(t testing.TB, js string, d xdsresource.Direction) *filter {
	t.Helper()
	cfg, err := ParseConfig(nil, config(t, js))
	if err != nil {
		t.Fatal(err)
	}
	f, err := New(cfg, Deps{Workers: 1, ID: "sidecar~own", Metadata: "b3du", Direction: d, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	l, err := eventloop.New(0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	x := f.NewFilter(l)
	if x != f.NewFilter(l) {
		t.Error("a worker has more than one filter")
	}
	return x.(*filter)
}

func withPeer(t testing.TB) *header.Map {
	h := &header.Map{}
	h.AddString(header.XEnvoyPeerMetadataID, "sidecar~10.10.0.19~webapp")
	h.AddString(header.XEnvoyPeerMetadata, vector(t))
	return h
}

func peerHeaders(h *header.Map) [2]string {
	return [2]string{string(h.Value(header.XEnvoyPeerMetadataID)), string(h.Value(header.XEnvoyPeerMetadata))}
}

var (
	none = [2]string{}
	own  = [2]string{"sidecar~own", "b3du"}
)

func TestInbound(t *testing.T) {
	f := newFilter(t, sidecar, xdsresource.DirectionInbound)
	s := &stream{target: &route.Target{Cluster: "inbound|8080||"}}
	req := withPeer(t)
	if f.OnRequestHeaders(s, req, true) != httpfilter.Continue || peerHeaders(req) != none {
		t.Error("the application sees the mesh's headers")
	}
	if p := s.info.DownstreamPeer; p == nil || p.Workload != "webapp" || p.ID != "sidecar~10.10.0.19~webapp" {
		t.Errorf("client %+v", p)
	}
	res := &header.Map{}
	f.OnResponseHeaders(s, res, false)
	if peerHeaders(res) != own {
		t.Error("the client is not told about us")
	}
	// A client outside of the mesh told us nothing and is told nothing.
	s, res = &stream{}, &header.Map{}
	f.OnRequestHeaders(s, &header.Map{}, true)
	f.OnResponseHeaders(s, res, false)
	if peerHeaders(res) != none || s.info.DownstreamPeer != nil {
		t.Error("a stranger is told about us")
	}
	// Half of the pair, or damage, is taken away as well.
	req = &header.Map{}
	req.AddString(header.XEnvoyPeerMetadata, "???")
	f.OnRequestHeaders(s, req, true)
	if peerHeaders(req) != none {
		t.Error("a lone header reaches the application")
	}
}

func TestOutbound(t *testing.T) {
	f := newFilter(t, sidecar, xdsresource.DirectionOutbound)
	s := &stream{target: &route.Target{Cluster: "outbound|80||catalog"}}
	req := withPeer(t) // an untrusted caller pretends
	f.OnRequestHeaders(s, req, true)
	if peerHeaders(req) != own || s.info.DownstreamPeer != nil {
		t.Error("the server is told something else than us")
	}
	res := withPeer(t)
	f.OnResponseHeaders(s, res, false)
	if peerHeaders(res) != none || s.info.UpstreamPeer == nil || s.info.UpstreamPeer.Namespace != "istioinaction" {
		t.Errorf("server %+v", s.info.UpstreamPeer)
	}
	for _, target := range []*route.Target{nil, {Cluster: "PassthroughCluster"}, {Cluster: "BlackHoleCluster"}} {
		req = &header.Map{}
		f.OnRequestHeaders(&stream{target: target}, req, true)
		if peerHeaders(req) != none {
			t.Errorf("%+v is told about us", target)
		}
	}
}

// TestGateway: only the upstream half is configured, whatever the direction says.
func TestGateway(t *testing.T) {
	f := newFilter(t, `{"upstreamDiscovery":[{"istioHeaders":{}},{"workloadDiscovery":{}}],"upstreamPropagation":[{"istioHeaders":{}}]}`, xdsresource.DirectionOutbound)
	s := &stream{target: &route.Target{Cluster: "PassthroughCluster"}}
	req := withPeer(t)
	f.OnRequestHeaders(s, req, true)
	res := withPeer(t)
	f.OnResponseHeaders(s, res, false)
	if peerHeaders(req) != own || peerHeaders(res) != none {
		t.Error("gateway")
	}
}

func TestConfigErrors(t *testing.T) {
	for js, want := range map[string]string{
		`{"nope":1}`: "nope: is not supported",
		`{"upstream_discovery":[{"baggage":{}}]}`:                  `method "baggage" is not supported`,
		`{"upstream_propagation":[{"istio_headers":{"other":1}}]}`: "istio_headers.other",
	} {
		if _, err := ParseConfig(nil, config(t, js)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", js, err)
		}
	}
	if _, err := ParseConfig(nil, nil); err == nil {
		t.Error("nothing accepted")
	}
	if _, err := ParseRouteConfig(nil, nil); err == nil {
		t.Error("a route configuration accepted")
	}
}

func TestNoAllocations(t *testing.T) {
	f := newFilter(t, sidecar, xdsresource.DirectionInbound)
	s := &stream{target: &route.Target{Cluster: "c"}}
	id, md := []byte("sidecar~10.10.0.19~webapp"), []byte(vector(t))
	req, res := &header.Map{}, &header.Map{}
	run := func() {
		req.Reset()
		req.AppendRef(header.XEnvoyPeerMetadataID, nil, id)
		req.AppendRef(header.XEnvoyPeerMetadata, nil, md)
		res.Reset()
		f.OnRequestHeaders(s, req, true)
		f.OnResponseHeaders(s, res, true)
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
