package tcpproxy

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/peermetadata"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

const peerExchange = "istio-peer-exchange"

func preamble(t *testing.T, name string) []byte {
	t.Helper()
	md, err := peermetadata.Encode(map[string]any{"NAME": name, "NAMESPACE": "shop", "WORKLOAD_NAME": name})
	if err != nil {
		t.Fatal(err)
	}
	p, err := peermetadata.Preamble("sidecar~"+name, md)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestExchange: two proxies with TLS between them tell each other who they are, and what the applications say arrives as it was,
// whoever speaks first.
func TestExchange(t *testing.T) {
	for _, tt := range []struct {
		name       string
		alpn       string // what the server's side offers
		filter     bool   // the client's cluster has the filter
		garbled    bool   // the client's side begins with something else
		met        bool
		serverTalk string
	}{
		{name: "client first", alpn: peerExchange, filter: true, met: true},
		{name: "server first", alpn: peerExchange, filter: true, met: true, serverTalk: "Welcome"},
		{name: "the server's side does not take part", alpn: "istio", filter: true},
		{name: "the client's side does not take part", alpn: "istio"},
		{name: "the client's side says nothing", alpn: peerExchange, garbled: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.cluster("app", nil, backend(t, "tcp", func(c net.Conn) {
				_, _ = c.Write([]byte(tt.serverTalk))
				echo(c)
			}))
			secret := selfSigned(t)
			secret.ALPN = []string{tt.alpn}
			server := w.listen(&xdsresource.TCPProxy{Cluster: "app", StatPrefix: "server"},
				Exchange{Downstream: peerExchange, Preamble: preamble(t, "server")},
				&xdsresource.DownstreamTLS{CommonTLS: secret})
			w.cluster("server", func(c *xdsresource.Cluster) {
				c.Transport = &xdsresource.UpstreamTransport{TLS: &xdsresource.UpstreamTLS{CommonTLS: xdsresource.CommonTLS{ALPN: []string{peerExchange, "istio"}}}}
				if tt.filter {
					c.Filters = []xdsresource.NetworkFilter{{Name: "x", Config: &xdsresource.TCPMetadataExchange{Protocol: peerExchange}}}
				}
			}, server)
			client := w.listen(&xdsresource.TCPProxy{Cluster: "server", StatPrefix: "client"}, Exchange{Preamble: preamble(t, "client")}, nil)

			c := dial(t, client)
			want := tt.serverTalk
			if tt.garbled {
				// The server's preamble is the application's to see: it was agreed on, and not meant.
				want = string(preamble(t, "server")) + want
			}
			got := make([]byte, len(want))
			if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
				t.Fatalf("the server said %q, %v", got, err)
			}
			msg := bytes.Repeat([]byte("to and fro "), 10_000)
			go func() {
				_, _ = c.Write(msg)
				_ = c.CloseWrite()
			}()
			back, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(back, msg) {
				t.Fatalf("%d of %d bytes came back, %v", len(back), len(msg), err)
			}
			peers := map[string]string{}
			for range 2 {
				i := <-w.ended
				name := func(p *peermetadata.Peer) string {
					if p == nil {
						return "unknown"
					}
					return p.Workload
				}
				peers[i.UpstreamCluster] = name(i.DownstreamPeer) + " " + name(i.UpstreamPeer)
				if i.Flags&streaminfo.DownstreamProtocolError != 0 {
					t.Errorf("flags %v", i.Flags)
				}
			}
			met := map[string]string{"app": "unknown unknown", "server": "unknown unknown"}
			if tt.met {
				met = map[string]string{"app": "client unknown", "server": "unknown server"}
			}
			for cluster, want := range met {
				if peers[cluster] != want {
					t.Errorf("to %s: %s, want %s", cluster, peers[cluster], want)
				}
			}
		})
	}
}
