package agent

import (
	"maps"
	"net/netip"
	"testing"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/miekg/dns"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/agent/nameserver"
	"github.com/lateen-mesh/lateen/pkg/nametable"
)

// What the control plane tells is answered from; a response that is not valid changes nothing and is refused.
func TestNamesAreTaken(t *testing.T) {
	server, err := nameserver.Listen(nameserver.Config{
		Namespace: "shop", Domain: "shop.svc.cluster.local", Addresses: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Logger: quiet(),
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	n, err := newNames(Config{Type: Sidecar, Name: "web-1", Namespace: "shop", IP: netip.MustParseAddr("10.0.0.9"), Logger: quiet(), Metadata: map[string]any{"DNS_CAPTURE": "true"}}.withDefaults(), newSecrets(), server)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"LATEEN_NAMES": "true", "DNS_CAPTURE": "true"} {
		if got := n.node.GetMetadata().GetFields()[key].GetStringValue(); got != want {
			t.Errorf("the node says %s=%q", key, got)
		}
	}
	resource := func(host, ip, version string) *discoverypb.Resource {
		b, err := proto.Marshal((&nametable.Table{Own: &nametable.Info{IPs: []string{ip}, Registry: "External"}}).Message())
		if err != nil {
			t.Fatal(err)
		}
		return &discoverypb.Resource{Name: host, Version: version, Resource: &anypb.Any{TypeUrl: nametable.TypeURL, Value: b}}
	}
	for _, step := range []struct {
		resp    *discoverypb.DeltaDiscoveryResponse
		refused bool
		have    map[string]string
		a       string // address of a.example
	}{
		{&discoverypb.DeltaDiscoveryResponse{Resources: []*discoverypb.Resource{resource("a.example", "10.0.0.1", "1"), resource("b.example", "10.0.0.2", "1")}}, false,
			map[string]string{"a.example": "1", "b.example": "1"}, "10.0.0.1"},
		{&discoverypb.DeltaDiscoveryResponse{Resources: []*discoverypb.Resource{resource("a.example", "10.0.0.3", "2"), {Name: "c.example", Resource: &anypb.Any{Value: []byte{0xff}}}}}, true,
			map[string]string{"a.example": "1", "b.example": "1"}, "10.0.0.1"},
		{&discoverypb.DeltaDiscoveryResponse{Resources: []*discoverypb.Resource{resource("a.example", "10.0.0.4", "3")}, RemovedResources: []string{"b.example"}}, false,
			map[string]string{"a.example": "3"}, "10.0.0.4"},
	} {
		step.resp.TypeUrl, step.resp.Nonce = nametable.TypeURL, "n"
		answer := n.take(step.resp)
		if answer.GetTypeUrl() != nametable.TypeURL || answer.GetResponseNonce() != "n" || (answer.GetErrorDetail() != nil) != step.refused {
			t.Errorf("answer %v, refused %v", answer, step.refused)
		}
		if !maps.Equal(n.have, step.have) {
			t.Errorf("has %v, want %v", n.have, step.have)
		}
		m, err := dns.Exchange(new(dns.Msg).SetQuestion("a.example.", dns.TypeA), server.Addresses()[0].String())
		if err != nil || len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != step.a {
			t.Errorf("a.example is %v %v, want %s", m, err, step.a)
		}
	}
	select {
	case <-n.known:
	default:
		t.Error("nobody is told that there are names")
	}
}

// Who answers queries: the agent of a sidecar to which they are redirected, if the host says so, else the mesh, else its default.
func TestCapturesDNS(t *testing.T) {
	for name, tc := range map[string]struct {
		host, mesh map[string]any
		byDefault  bool
		want       bool
	}{
		"nobody says":               {nil, nil, false, false},
		"by default":                {nil, nil, true, true},
		"the mesh":                  {nil, map[string]any{"DNS_CAPTURE": "true"}, false, true},
		"not the mesh":              {nil, map[string]any{"DNS_CAPTURE": "false"}, true, false},
		"the host, against a mesh":  {map[string]any{"DNS_CAPTURE": "false"}, map[string]any{"DNS_CAPTURE": "true"}, true, false},
		"the host, as JSON":         {map[string]any{"DNS_CAPTURE": true}, nil, false, true},
		"the host, in some letters": {map[string]any{"DNS_CAPTURE": "True"}, nil, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			variables := map[string]string{}
			for k, v := range tc.mesh {
				variables["ISTIO_META_"+k] = v.(string)
			}
			c := Config{Metadata: tc.host, DefaultDNSCapture: tc.byDefault, Logger: quiet()}.apply(settings{variables: variables}).withHostDefaults()
			if got := CapturesDNS(c.Metadata); got != tc.want {
				t.Errorf("%v: %v", c.Metadata, got)
			}
		})
	}
	for name, c := range map[string]Config{
		"a gateway": {Type: Router, Metadata: map[string]any{"DNS_CAPTURE": "true", "INTERCEPTION_MODE": "REDIRECT"}},
		"a workload to whose proxy nothing is redirected": {Type: Sidecar, Metadata: map[string]any{"DNS_CAPTURE": "true"}},
	} {
		c.Logger = quiet()
		if s, err := c.listenDNS(); s != nil || err != nil {
			t.Errorf("%s: %v %v", name, s, err)
		}
	}
}
