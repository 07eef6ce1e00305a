package decision

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/controlplane"
	"github.com/lateen-mesh/lateen/test/internal/testnet"
)

// reachable says why the network may reach a port of a proxy, and what the first line is that a stranger gets there for asking for the whole configuration;
// "" where the connection ends without a byte.
var reachable = map[string]map[uint16]struct{ why, answer string }{
	"at web-v1": {
		15001: {"what the workload sends is redirected to it; who calls it has no destination beyond it", ""},
		15006: {"what comes to the workload is redirected to it; who calls it is under the workload's policies, which want mutual TLS here", ""},
		15020: {"Prometheus asks the agent for what the proxy and the application count, as in Istio", "HTTP/1.1 404 Not Found"},
		15021: {"probes ask it whether the proxy is ready", "HTTP/1.1 404 Not Found"},
		15090: {"Prometheus asks it for what the proxy counts, as in Istio", "HTTP/1.1 404 Not Found"},
	},
	"gateway": {
		8080:  {"the Gateway's server", "HTTP/1.1 404 Not Found"},
		15020: {"as of a sidecar", "HTTP/1.1 404 Not Found"},
		15021: {"as of a sidecar", "HTTP/1.1 404 Not Found"},
		15090: {"as of a sidecar", "HTTP/1.1 404 Not Found"},
	},
}

// TestListening opens every listening socket of a mesh with a sidecar or a gateway: it is on the loopback, where the network does not come, or it is named above, and
// gives nobody the configuration.
func TestListening(t *testing.T) {
	if why := testnet.Missing(); why != "" {
		t.Skip(why)
	}
	table, err := Read("../testdata/bypass/listening/mesh.yaml")
	if err != nil {
		t.Fatal(err)
	}
	w := startWorld(t, table, &ports{listeningPorts})
	for where, known := range reachable {
		t.Run(where, func(t *testing.T) {
			n := w.nodeAt(t, where)
			stop := w.startProxy(t, n, ours)
			defer stop()
			open := listening(t)
			if len(open) == 0 {
				t.Fatal("nothing listens")
			}
			seen := map[uint16]bool{}
			for _, a := range open {
				if a.Addr().IsLoopback() || w.isApp(a) {
					continue
				}
				is, ok := known[a.Port()]
				if !ok {
					t.Errorf("%v may be reached from the network, and nothing says why", a)
					continue
				}
				seen[a.Port()] = true
				address := netip.AddrPortFrom(netip.MustParseAddr(n.address), a.Port())
				for _, path := range []string{"/config_dump", "/quitquitquit"} {
					if got := firstLine(t, w, address, "POST", path); got != is.answer {
						t.Errorf("%v (%s): %s is answered by %q, want %q", a, is.why, path, got, is.answer)
					}
				}
			}
			for port := range known {
				if !seen[port] {
					t.Errorf("nothing listens at port %d", port)
				}
			}
		})
	}
}

// TestControlPlaneListening opens every listening socket of a control plane that an operator has put on an address of the network: there are the three standard ports and no other, and none
// shows a stranger the configuration.
func TestControlPlaneListening(t *testing.T) {
	if why := testnet.Missing(); why != "" {
		t.Skip(why)
	}
	known := map[uint16]struct{ why, answer string }{ // how the answer begins
		15010: {"gRPC in plaintext, which shows configuration to whoever speaks it: an operator has to ask for it", "\x00\x00\x12\x04"}, // SETTINGS, three of them
		15012: {"gRPC over TLS, for proxies with a certificate of the mesh and for those who ask for one", ""},
		15014: {"Prometheus asks it for what is counted, and probes whether it is ready; its other pages are for its own machine", "HTTP/1.1 403 Forbidden"},
	}
	before := listening(t)
	dir := t.TempDir()
	for _, sub := range []string{"config", "workloads"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const at = "10.10.0.9"
	cp, err := controlplane.New(controlplane.Config{
		ConfigDir: filepath.Join(dir, "config"), WorkloadsDir: filepath.Join(dir, "workloads"), MeshFile: filepath.Join(dir, "mesh.yaml"), CADir: filepath.Join(dir, "ca"),
		GRPCAddr: at + ":15010", SecureGRPCAddr: at + ":15012", HTTPAddr: at + ":15014", Logger: logger(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer start(t, "control plane", cp.Run, cp.Ready())()
	w := &world{ports: &ports{controlPlanePorts}}
	for _, a := range listening(t) {
		if slices.Contains(before, a) {
			continue
		}
		is, ok := known[a.Port()]
		if !ok || a.Addr().String() != at {
			t.Errorf("%v listens, and nothing says why", a)
			continue
		}
		delete(known, a.Port())
		for _, path := range []string{"/debug/configz", "/debug/config_dump?proxyID=a.b", "/debug/syncz"} {
			if got := firstLine(t, w, a, "GET", path); !strings.HasPrefix(got, is.answer) || got != "" && is.answer == "" {
				t.Errorf("%v (%s): %s is answered by %q, want %q", a, is.why, path, got, is.answer)
			}
		}
	}
	for port := range known {
		t.Errorf("nothing listens at port %d", port)
	}
}

// isApp says that a socket is an application's of the table.
func (w *world) isApp(a netip.AddrPort) bool {
	return slices.ContainsFunc(w.table.Apps, func(app App) bool {
		return app.Address == a.Addr().String() && slices.ContainsFunc(app.Ports, func(p AppPort) bool { return p.Target == uint32(a.Port()) })
	})
}

// firstLine asks an address for a path from outside.
func firstLine(t *testing.T, w *world, to netip.AddrPort, method, path string) string {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(outsideAddress), Port: w.ports.next()}}
	c, err := d.DialContext(t.Context(), "tcp", to.String())
	if errors.Is(err, syscall.ECONNRESET) {
		return "" // it was over before the client knew that it had begun
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(c, "%s %s HTTP/1.1\r\nhost: %s\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", method, path, to); err != nil {
		return ""
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		t.Errorf("%v gives no answer and stays open", to)
	}
	return strings.TrimSpace(line)
}

// listening are the sockets of TCP that listen in this network, which is the test's own. It is asked for by the thread: the first thread of the process may
// have gone into another network with one of the tests.
func listening(t *testing.T) []netip.AddrPort {
	t.Helper()
	var out []netip.AddrPort
	for _, file := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) < 4 || f[3] != "0A" { // TCP_LISTEN
				continue
			}
			address, port, _ := strings.Cut(f[1], ":")
			raw, err := hex.DecodeString(address)
			if err != nil {
				t.Fatal(err)
			}
			for word := 0; word+4 <= len(raw); word += 4 { // each is in the order of the machine
				slices.Reverse(raw[word : word+4])
			}
			ip, ok := netip.AddrFromSlice(raw)
			n, err := strconv.ParseUint(port, 16, 16)
			if !ok || err != nil {
				t.Fatalf("%s: %q", file, line)
			}
			out = append(out, netip.AddrPortFrom(ip.Unmap(), uint16(n)))
		}
	}
	return out
}
