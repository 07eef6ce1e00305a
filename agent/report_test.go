package agent

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/agent/health"
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
