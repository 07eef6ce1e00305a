package model

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestParseProxy(t *testing.T) {
	p, err := ParseProxy("sidecar~127.77.1.1~webapp-1.shop~shop.svc.cluster.local", "webapp.shop", map[string]any{
		"LABELS": map[string]any{"app": "webapp"}, "INTERCEPTION_MODE": "NONE", "INSTANCE_IPS": "127.77.1.1,::1",
		"LATEEN_INBOUND": "3000=127.0.0.1:41234, 8080=127.0.0.1:41235", "LATEEN_HTTP_PROXY": "127.77.1.1:15080", "SERVICE_ACCOUNT": "sa",
	}, Locality{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "webapp-1" || p.Namespace != "shop" || p.Interception != InterceptNone || p.HTTPProxy.Port() != 15080 || p.ServiceAccount != "sa" ||
		p.Bind != "0.0.0.0" || !slices.Equal(p.IPs, []string{"127.77.1.1", "::1"}) || p.Labels["app"] != "webapp" {
		t.Errorf("got %+v", p)
	}
	if want := map[uint32]string{3000: "127.0.0.1:41234", 8080: "127.0.0.1:41235"}; !reflect.DeepEqual(p.Inbound, want) {
		t.Errorf("inbound %v", p.Inbound)
	}
	for _, c := range []struct {
		id   string
		meta map[string]any
		want string
	}{
		{"sidecar~1.1.1.1~a.b", nil, "3 parts"},
		{"waypoint~1.1.1.1~a.b~b", nil, `unknown type "waypoint"`},
		{"sidecar~1.1.1.1~nameless~b", nil, "not name.namespace"},
		{"sidecar~x~a.b~b", nil, "not an IP"},
		{"sidecar~1.1.1.1~a.b~b", map[string]any{"LATEEN_INBOUND": "0=1.1.1.1:1"}, "LATEEN_INBOUND"},
		{"sidecar~1.1.1.1~a.b~b", map[string]any{"LATEEN_INBOUND": "80=host:1"}, "LATEEN_INBOUND"},
		{"router~1.1.1.1~a.b~b", map[string]any{"LATEEN_BIND": "here"}, "LATEEN_BIND"},
		{"sidecar~1.1.1.1~a.b~b", map[string]any{"LATEEN_SYSTEM_ROOTS": "roots.pem"}, "LATEEN_SYSTEM_ROOTS"},
		{"sidecar~1.1.1.1~a.b~b", map[string]any{"LATEEN_HTTP_PROXY": "1.1.1.1"}, "LATEEN_HTTP_PROXY"},
	} {
		if _, err := ParseProxy(c.id, "", c.meta, Locality{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %v: %v, want %s", c.id, c.meta, err, c.want)
		}
	}
}

func TestSelectProtocol(t *testing.T) {
	for _, c := range []struct {
		app, name, transport string
		port                 uint32
		want                 Protocol
	}{
		{"", "http", "TCP", 80, ProtocolHTTP},
		{"", "http-web", "", 80, ProtocolHTTP},
		{"", "http2-x", "", 80, ProtocolHTTP2},
		{"", "grpc-web", "", 80, ProtocolGRPCWeb},
		{"", "grpc", "", 80, ProtocolGRPC},
		{"", "https", "", 443, ProtocolHTTPS},
		{"", "mysql-a", "", 80, ProtocolMySQL},
		{"mongo", "tcp", "", 80, ProtocolMongo},
		{"", "redis", "", 80, ProtocolTCP},
		{"", "web", "", 80, ProtocolAuto},
		{"", "httpx", "", 80, ProtocolAuto},
		{"", "", "", 3306, ProtocolTCP},
		{"http", "tcp", "", 80, ProtocolHTTP},
		{"kubernetes.io/h2c", "", "", 80, ProtocolHTTP2},
		{"kubernetes.io/ws", "", "", 80, ProtocolHTTP},
		{"example.com/own", "tcp-x", "", 80, ProtocolTCP},
		{"http", "http", "UDP", 80, ProtocolUDP},
	} {
		if got := SelectProtocol(c.app, c.name, c.transport, c.port); got != c.want {
			t.Errorf("%+v: got %d", c, got)
		}
	}
}

func TestTable(t *testing.T) {
	var empty Table[int]
	a := empty.Apply([]Edit[int]{{Key: "b", Value: 2}, {Key: "a", Value: 1}, {Key: "c", Value: 3}, {Key: "a", Value: 9}})
	b := a.Apply([]Edit[int]{{Key: "b", Delete: true}, {Key: "bb", Value: 5}, {Key: "z", Delete: true}})
	if !slices.Equal(a.Keys(), []string{"a", "b", "c"}) || !slices.Equal(a.Values(), []int{9, 2, 3}) {
		t.Errorf("a: %v %v", a.Keys(), a.Values())
	}
	if !slices.Equal(b.Keys(), []string{"a", "bb", "c"}) || !slices.Equal(b.Prefix("b"), []int{5}) {
		t.Errorf("b: %v", b.Keys())
	}
	if _, ok := b.Get("b"); ok {
		t.Error("b is deleted")
	}
}

func TestPatterns(t *testing.T) {
	for host, want := range map[string]string{
		"a.b.c":  "a.b.c *.b.c *.c *",
		"*.b.c":  "*.b.c *.b.c *.c *",
		"single": "single *",
		"*":      "* *",
	} {
		var got []string
		patterns(host, func(p string) bool { got = append(got, p); return false })
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: %s, want %s", host, s, want)
		}
	}
}

func TestMTLSPrecedence(t *testing.T) {
	s := &Snapshot{Mesh: DefaultMesh()}
	pa := func(ns, name string, sel map[string]string, mode MTLSMode, ports map[uint32]MTLSMode) Edit[*PeerAuthentication] {
		return Edit[*PeerAuthentication]{Key: ns + "/" + name, Value: &PeerAuthentication{Namespace: ns, Name: name, Selector: sel, Mode: mode, Ports: ports}}
	}
	app := map[string]string{"app": "a"}
	for i, c := range []struct {
		policies []Edit[*PeerAuthentication]
		port     uint32
		want     MTLSMode
	}{
		{nil, 80, MTLSPermissive},
		{[]Edit[*PeerAuthentication]{pa("istio-system", "m", nil, MTLSStrict, nil)}, 80, MTLSStrict},
		{[]Edit[*PeerAuthentication]{pa("istio-system", "m", app, MTLSStrict, nil)}, 80, MTLSPermissive},
		{[]Edit[*PeerAuthentication]{pa("istio-system", "m", nil, MTLSStrict, nil), pa("ns", "n", nil, MTLSDisable, nil)}, 80, MTLSDisable},
		{[]Edit[*PeerAuthentication]{pa("istio-system", "m", nil, MTLSStrict, nil), pa("ns", "n", nil, MTLSUnset, nil)}, 80, MTLSStrict},
		{[]Edit[*PeerAuthentication]{pa("ns", "n", nil, MTLSStrict, nil), pa("ns", "w", app, MTLSDisable, nil)}, 80, MTLSDisable},
		{[]Edit[*PeerAuthentication]{pa("ns", "w", app, MTLSStrict, map[uint32]MTLSMode{81: MTLSDisable})}, 81, MTLSDisable},
		{[]Edit[*PeerAuthentication]{pa("ns", "w", app, MTLSStrict, map[uint32]MTLSMode{81: MTLSDisable})}, 80, MTLSStrict},
		{[]Edit[*PeerAuthentication]{pa("ns", "w", map[string]string{"app": "b"}, MTLSStrict, nil)}, 80, MTLSPermissive},
	} {
		s.PeerAuthentications = Table[*PeerAuthentication]{}.Apply(c.policies)
		if got := s.MTLS("ns", app, c.port); got != c.want {
			t.Errorf("case %d: got %v, want %v", i, got, c.want)
		}
	}
}

func TestScopeAsksOnlyForLabelsThatRulesName(t *testing.T) {
	p := &Proxy{Type: Sidecar, Namespace: "ns", Labels: map[string]string{"app": "a", "version": "v1"}}
	q := &Proxy{Type: Sidecar, Namespace: "ns", Labels: map[string]string{"app": "a", "version": "v2"}}
	s := &Snapshot{RuleLabels: []string{"app"}}
	if s.Scope(p) != s.Scope(q) {
		t.Error("a label that no rule names parts two proxies")
	}
	s = &Snapshot{RuleLabels: []string{"app", "version"}}
	if s.Scope(p) == s.Scope(q) {
		t.Error("a label that a rule names does not part two proxies")
	}
}

func TestOriginIstioPath(t *testing.T) {
	o := Origin{APIVersion: "networking.istio.io/v1", Kind: "DestinationRule", Namespace: "ns", Name: "n", File: "f.yaml", Line: 3}
	if got := o.IstioPath(); got != "/apis/networking.istio.io/v1alpha3/namespaces/ns/destination-rule/n" {
		t.Error(got)
	}
	if got := fmt.Sprint(o.At("spec.x", 9)); got != "DestinationRule ns/n (f.yaml:9)" {
		t.Error(got)
	}
}
