package networkfilter_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func filter(name, body string) string {
	return "- {name: " + name + ", typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network." + body + "}}\n"
}

var (
	echoes = filter("echo", "echo.v3.Echo")
	tcp    = filter("tcp", "tcp_proxy.v3.TcpProxy, stat_prefix: tcp, cluster: up")
)

// echo sends a line and returns what comes back, "" for a connection that was closed.
func echo(p *proxytest.Proxy, line string) string {
	c := p.Dial().Send(line + "\n")
	defer c.Close()
	s, _ := c.R.ReadString('\n')
	return strings.TrimSuffix(s, "\n")
}

// tcpServer answers each connection with its name and the first line that comes.
func tcpServer(t *testing.T, name string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, name+"\n")
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, c) // a reset would take the answer away
			c.Close()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	return ln.Addr().String()
}

// TestEcho: everything comes back, also to a client that has ended its side. (Envoy closes then.)
func TestEcho(t *testing.T) {
	proxytest.Differs(t, "its echo closes when the client has ended its side")
	p := proxytest.Start(t, proxytest.Config{Terminal: echoes})
	big := strings.Repeat("x", 3<<20)
	c := p.Dial()
	go func() {
		c.Send(big)
		_ = c.Conn.(*net.TCPConn).CloseWrite()
	}()
	if got := c.All(); got != big {
		t.Errorf("%d bytes came back of %d", len(got), len(big))
	}
}

func TestDirectResponse(t *testing.T) {
	p := proxytest.Start(t, proxytest.Config{Terminal: filter("d", "direct_response.v3.Config, response: {inline_string: hello}")})
	if got := p.Dial().All(); got != "hello" {
		t.Errorf("%q", got)
	}
	if got := p.Dial().Send(strings.Repeat("x", 1000)).All(); got != "hello" {
		t.Errorf("to one that speaks: %q", got)
	}
}

func TestRBAC(t *testing.T) {
	rules := func(action, rule string) string {
		return "{action: " + action + ", policies: {p: {permissions: [{any: true}], principals: [" + rule + "]}}}"
	}
	const here, elsewhere = "{direct_remote_ip: {address_prefix: 127.0.0.0, prefix_len: 8}}", "{remote_ip: {address_prefix: 10.0.0.0, prefix_len: 8}}"
	for name, test := range map[string]struct {
		body  string
		want  string
		stats map[string]int64
	}{
		"allowed":  {"rules: " + rules("ALLOW", here), "x", map[string]int64{"tcp.rbac.allowed": 1, "tcp.rbac.denied": 0}},
		"denied":   {"rules: " + rules("ALLOW", elsewhere), "", map[string]int64{"tcp.rbac.allowed": 0, "tcp.rbac.denied": 1}},
		"deny":     {"rules: " + rules("DENY", here), "", map[string]int64{"tcp.rbac.denied": 1}},
		"not deny": {"rules: " + rules("DENY", elsewhere), "x", map[string]int64{"tcp.rbac.allowed": 1}},
		"shadow":   {"shadow_rules: " + rules("DENY", here), "x", map[string]int64{"tcp.rbac.shadow_denied": 1}},
		"prefix":   {"shadow_rules_stat_prefix: s_, shadow_rules: " + rules("ALLOW", here), "x", map[string]int64{"tcp.rbac.s_.shadow_allowed": 1}},
		"delayed":  {"delay_deny: 0.05s, rules: " + rules("DENY", here), "", map[string]int64{"tcp.rbac.denied": 1}},
	} {
		p := proxytest.Start(t, proxytest.Config{Network: filter("r", "rbac.v3.RBAC, stat_prefix: tcp, "+test.body), Terminal: echoes})
		if got := echo(p, "x"); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
		p.WantStats(test.stats)
	}
}

func TestLocalRateLimit(t *testing.T) {
	p := proxytest.Start(t, proxytest.Config{
		Network:  filter("l", "local_ratelimit.v3.LocalRateLimit, stat_prefix: l, token_bucket: {max_tokens: 2, fill_interval: 3600s}"),
		Terminal: echoes,
	})
	var got []string
	for i := range 4 {
		got = append(got, echo(p, fmt.Sprint(i)))
	}
	if s := strings.Join(got, ","); s != "0,1,," {
		t.Error(s)
	}
	p.WantStats(map[string]int64{"local_rate_limit.l.rate_limited": 2})
}

func TestConnectionLimit(t *testing.T) {
	p := proxytest.Start(t, proxytest.Config{
		Network:  filter("c", "connection_limit.v3.ConnectionLimit, stat_prefix: c, max_connections: 2, delay: 0.02s"),
		Terminal: echoes,
	})
	var open []*proxytest.Conn
	for range 2 {
		c := p.Dial().Send("a\n")
		if s, err := c.R.ReadString('\n'); s != "a\n" {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	if got := echo(p, "b"); got != "" {
		t.Errorf("the third connection was served: %q", got)
	}
	p.WantStats(map[string]int64{"connection_limit.c.limited_connections": 1, "connection_limit.c.active_connections": 2})
	open[0].Close()
	p.WantStats(map[string]int64{"connection_limit.c.active_connections": 1})
	if got := echo(p, "c"); got != "c" {
		t.Errorf("after one has ended: %q", got)
	}
}

// TestClusterFromState: the TCP proxy goes where a filter before it says.
func TestClusterFromState(t *testing.T) {
	other := tcpServer(t, "other")
	_, port, _ := net.SplitHostPort(other)
	p := proxytest.Start(t, proxytest.Config{
		Upstream: tcpServer(t, "up"),
		Network:  filter("s", "set_filter_state.v3.Config, on_new_connection: [{object_key: envoy.tcp_proxy.cluster, format_string: {text_format_source: {inline_string: other}}}]"),
		Terminal: tcp,
		Clusters: "- {name: other, connect_timeout: 5s, load_assignment: {cluster_name: other, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: " + port + "}}}}]}]}}",
	})
	if got := ask(p, "x"); got != "other\n" {
		t.Errorf("%q", got)
	}
}

// ask sends what it has to say and returns the answer.
func ask(p *proxytest.Proxy, s string) string {
	return p.Dial().Send(s).All()
}

// TestSNICluster: a TLS client's SNI names the cluster; one without keeps the configured one.
func TestSNICluster(t *testing.T) {
	other := tcpServer(t, "other")
	_, port, _ := net.SplitHostPort(other)
	p := proxytest.Start(t, proxytest.Config{
		Upstream: tcpServer(t, "up"),
		Listener: "listener_filters: [{name: t, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}]",
		Network:  filter("s", "sni_cluster.v3.SniCluster"), Terminal: tcp,
		Clusters: "- {name: other.example, connect_timeout: 5s, load_assignment: {cluster_name: other, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: " + port + "}}}}]}]}}",
	})
	if got := ask(p, hello("other.example")); got != "other\n" {
		t.Errorf("%q", got)
	}
	if got := ask(p, "plain text, no TLS"); got != "up\n" {
		t.Errorf("%q", got)
	}
}

// hello is a ClientHello with a server name.
func hello(sni string) string {
	u16 := func(n int) string { return string([]byte{byte(n >> 8), byte(n)}) }
	name := "\x00" + u16(len(sni)) + sni
	ext := u16(0) + u16(len(name)+2) + u16(len(name)) + name
	body := "\x03\x03" + strings.Repeat("r", 32) + "\x00" + u16(2) + "\x13\x01" + "\x01\x00" + u16(len(ext)) + ext
	msg := "\x01\x00" + u16(len(body)) + body
	return "\x16\x03\x01" + u16(len(msg)) + msg
}

func TestRefused(t *testing.T) {
	for body, want := range map[string]string{
		"rbac.v3.RBAC, stat_prefix: a, enforcement_type: CONTINUOUS":                                                        "CONTINUOUS",
		"local_ratelimit.v3.LocalRateLimit, stat_prefix: l, share_key: k, token_bucket: {max_tokens: 2, fill_interval: 1s}": "share_key",
		"local_ratelimit.v3.LocalRateLimit, stat_prefix: l, token_bucket: {max_tokens: 2, fill_interval: 0.001s}":           "at least 50ms",
		"set_filter_state.v3.Config, on_downstream_data: [{object_key: a}]":                                                 "on_downstream_data",
		"echo.v3.Echo": "must stand last",
	} {
		err := proxytest.Check(proxytest.Config{Network: filter("x", body), Terminal: echoes})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", body, err, want)
		}
	}
}
