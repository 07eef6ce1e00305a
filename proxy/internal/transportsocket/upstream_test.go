package transportsocket_test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/proxyprotocol"
	"github.com/lateen-mesh/lateen/proxy/internal/proxytest"
)

// receiver is an HTTP server behind the PROXY protocol. Each answer says what header its connection began with, and how many requests
// it has had.
func receiver(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go receive(c)
		}
	}()
	return ln.Addr().String()
}

func receive(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	var head []byte
	one := make([]byte, 1)
	for {
		if _, err := c.Read(one); err != nil {
			return
		}
		head = append(head, one[0])
		h, _, err := proxyprotocol.Parse(head)
		if err == proxyprotocol.ErrMore {
			continue
		}
		said := fmt.Sprint(err)
		if err == nil {
			said = fmt.Sprintf("v%d %v %v", h.Version, h.Source, h.Destination)
			for _, tlv := range h.TLVs {
				said += fmt.Sprintf(" %d=%d", tlv.Type, len(tlv.Value))
			}
		}
		r := bufio.NewReader(c)
		for n := 1; ; n++ {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			body := fmt.Sprintf("%s, request %d", said, n)
			if strings.HasPrefix(req.URL.Path, "/health") && !strings.Contains(said, "127.0.0.1") && !strings.Contains(said, "invalid AddrPort") {
				body = "a stranger"
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s", len(body), body)
		}
	}
}

func proxying(config, inner string) string {
	if inner == "" {
		inner = "{name: envoy.transport_sockets.raw_buffer, typed_config: {'@type': type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}"
	}
	return "transport_socket: {name: p, typed_config: {'@type': type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport, " + config + ", transport_socket: " + inner + "}}"
}

func ask(c *proxytest.Conn, path string) string {
	return c.Send("GET " + path + " HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 9.9.9.9\r\n\r\n").Read("GET").Text
}

// TestProxyHeader: each client has upstream connections of its own, which begin with who it is.
func TestProxyHeader(t *testing.T) {
	for version, name := range map[string]string{"V1": "v1", "V2": "v2"} {
		up := receiver(t)
		p := proxytest.Start(t, proxytest.Config{Upstream: up, UpstreamCluster: proxying("config: {version: "+version+"}", "")})
		a, b := p.Dial(), p.Dial()
		for n := 1; n <= 2; n++ {
			for _, c := range []*proxytest.Conn{a, b} {
				if got, want := ask(c, "/"), fmt.Sprintf("%s %s %s, request %d", name, c.LocalAddr(), p.Addr, n); got != want {
					t.Errorf("%s: %q, want %q", version, got, want)
				}
			}
		}
		p.WantStats(map[string]int64{"cluster.up.upstream_cx_total": 2})
	}
}

// TestProxyHeaderUnix: a client of a Unix socket has no address to tell of.
func TestProxyHeaderUnix(t *testing.T) {
	if proxytest.Envoy() {
		t.Skip("Envoy sends no header for a client of a Unix socket, or ends itself")
	}
	for version, want := range map[string]string{"V1": "v1 invalid AddrPort invalid AddrPort, request 1", "V2": "v2 invalid AddrPort invalid AddrPort, request 1"} {
		path := filepath.Join(t.TempDir(), "s")
		p := proxytest.Start(t, proxytest.Config{
			Upstream: receiver(t), UpstreamCluster: proxying("config: {version: "+version+"}", ""),
			Listener: "additional_addresses: [{address: {pipe: {path: " + path + "}}}]",
		})
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nhost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(b) != want {
			t.Errorf("%s: %q, want %q", version, b, want)
		}
		p.WantStats(map[string]int64{"cluster.up.upstream_cx_total": 1})
	}
}

// TestProxyHeaderHealthCheck: a check speaks for the proxy itself.
func TestProxyHeaderHealthCheck(t *testing.T) {
	for _, version := range []string{"V1", "V2"} {
		p := proxytest.Start(t, proxytest.Config{
			Upstream: receiver(t),
			UpstreamCluster: proxying("config: {version: "+version+"}", "") +
				"\nhealth_checks: [{timeout: 5s, interval: 60s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /health, receive: [{text: '" +
				fmt.Sprintf("%x", strings.ToLower(version)) + "'}]}}]",
		})
		p.WantStats(map[string]int64{"cluster.up.membership_healthy": 1, "cluster.up.health_check.success": 1})
	}
}

// TestProxyHeaderTooLong: extensions that do not fit are left out, and counted.
func TestProxyHeaderTooLong(t *testing.T) {
	big := base64.StdEncoding.EncodeToString(make([]byte, 40000))
	p := proxytest.Start(t, proxytest.Config{
		Upstream: receiver(t), UpstreamCluster: proxying("config: {version: V2, added_tlvs: [{type: 1, value: "+big+"}, {type: 2, value: "+big+"}, {type: 3, value: YQ==}]}", ""),
	})
	c := p.Dial()
	if got, want := ask(c, "/"), fmt.Sprintf("v2 %s %s 1=40000 3=1, request 1", c.LocalAddr(), p.Addr); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	p.WantStats(map[string]int64{"cluster.up.upstream.proxyprotocol.v2_tlvs_exceed_max_length": 1})
}

func TestProxyHeaderRefused(t *testing.T) {
	for config, want := range map[string]string{
		"allow_unspecified_address: true": "allow_unspecified_address",
		"config: {added_tlvs: [{type: 1, format_string: {text_format_source: {inline_string: a}}}]}": "format_string",
		"config: {pass_through_tlvs: {match_type: INCLUDE, tlv_type: [256]}}":                        "does not fit a byte",
	} {
		err := proxytest.Check(proxytest.Config{UpstreamCluster: proxying(config, "")})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", config, err, want)
		}
	}
}
