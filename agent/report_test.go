package agent

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	meshpb "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/agent/health"
	"github.com/lateen-mesh/lateen/agent/status"
)

// A command that comes from elsewhere is run where the user of this host allows it, and nowhere else.
func TestCommandsOfTheControlPlane(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		r := newReporter(Config{Logger: quiet(), ExecProbes: allowed, AdminIP: netip.MustParseAddr("127.0.0.1")}, newSecrets(), nil)
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.checkAs(ctx, &health.Probe{Exec: &health.Exec{Command: []string{"true"}}})
		}()
		<-r.news
		cancel()
		<-done
		s := r.saying()
		if s.healthy != allowed || !allowed && !strings.Contains(s.why, "--exec-probes") {
			t.Errorf("allowed %t: said %+v", allowed, s)
		}
		req := s.request()
		if req.TypeUrl != healthType || (req.ErrorDetail == nil) != allowed {
			t.Errorf("allowed %t: sent %v", allowed, req)
		}
	}
}

// A configuration that cannot be read is refused, and what was before stays.
func TestAgentsConfiguration(t *testing.T) {
	r := newReporter(Config{Logger: quiet()}, newSecrets(), nil)
	// readiness_probe {tcp_socket {port: 80}}, then one that is cut.
	good, bad := []byte{0xfa, 0x01, 4, 0x42, 2, 0x10, 80}, []byte{0xfa, 0x01, 4, 0x42}
	answer := r.take(&discoverypb.DiscoveryResponse{TypeUrl: proxyConfigType, Nonce: "1", VersionInfo: "v1", Resources: []*anypb.Any{{Value: good}}})
	if answer.ResponseNonce != "1" || answer.VersionInfo != "v1" || answer.ErrorDetail != nil {
		t.Errorf("answer %v", answer)
	}
	answer = r.take(&discoverypb.DiscoveryResponse{TypeUrl: proxyConfigType, Nonce: "2", Resources: []*anypb.Any{{Value: bad}}})
	if answer.ErrorDetail == nil || !strings.Contains(answer.ErrorDetail.Message, "readiness_probe") {
		t.Errorf("answer %v", answer)
	}
	if p := <-r.probes; p == nil || p.TCPSocket == nil || p.TCPSocket.Port != 80 {
		t.Errorf("probe %+v", p)
	}
	r.take(&discoverypb.DiscoveryResponse{Resources: []*anypb.Any{{Value: good}}})
	r.take(&discoverypb.DiscoveryResponse{}) // the last counts
	if p := <-r.probes; p != nil {
		t.Errorf("probe %+v", p)
	}
}

// Whether metrics are merged is followed while the agent runs; what cannot be read changes nothing.
func TestMergeIsFollowed(t *testing.T) {
	r := newReporter(Config{Logger: quiet()}, newSecrets(), nil)
	var got []bool
	r.merge = func(on bool) { got = append(got, on) }
	off, err := proto.Marshal(&meshpb.ProxyConfig{ProxyMetadata: map[string]string{"ISTIO_META_LATEEN_PROMETHEUS_MERGE": "False", "ISTIO_META_A": "x"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, resources := range [][]*anypb.Any{{{Value: off}}, {{Value: off[:len(off)-1]}}, {{}}, {{Value: off}}, nil} {
		r.take(&discoverypb.DiscoveryResponse{Resources: resources})
		select {
		case <-r.probes:
		default:
		}
	}
	if want := []bool{false, true, false, true}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// Metrics are asked for where the application serves that port, or else where it serves the others.
func TestMetricsAt(t *testing.T) {
	at := func(port uint32, address string) health.Targets {
		return health.Targets{port: netip.MustParseAddrPort(address)}
	}
	for _, c := range []struct {
		targets health.Targets
		want    string
	}{
		{nil, "localhost:9102"},
		{at(9102, "127.0.0.1:19102"), "127.0.0.1:19102"},
		{at(80, "127.77.3.1:80"), "127.77.3.1:9102"},
		{health.Targets{80: netip.MustParseAddrPort("127.77.3.1:80"), 81: netip.MustParseAddrPort("127.77.3.2:80")}, "localhost:9102"},
	} {
		if got := (Config{Metrics: &status.Application{Port: 9102}, ProbeTargets: c.targets}).metricsAt(); got != c.want {
			t.Errorf("%v: %s, want %s", c.targets, got, c.want)
		}
	}
	cfg := Config{Metrics: &status.Application{Port: 15020}}.withDefaults()
	if err := cfg.validate(); err == nil || !strings.Contains(err.Error(), "prometheus.io/port 15020") {
		t.Errorf("its own port: %v", err)
	}
}

func TestProxyServes(t *testing.T) {
	code := http.StatusOK
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ready" {
			t.Errorf("asked for %s", r.URL)
		}
		w.WriteHeader(code)
	}))
	defer s.Close()
	at := netip.MustParseAddrPort(s.Listener.Addr().String())
	r := newReporter(Config{Logger: quiet(), AdminIP: at.Addr(), AdminPort: at.Port()}, newSecrets(), nil)
	if err := r.ready(t.Context()); err != nil {
		t.Error(err)
	}
	code = http.StatusServiceUnavailable
	if err := r.ready(t.Context()); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("draining: %v", err)
	}
}
