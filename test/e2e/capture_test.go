//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/lateen-mesh/lateen/pkg/runfile"
	"github.com/lateen-mesh/lateen/test/internal/testnet"
)

const (
	// fetchVariable makes the test's program a client that gets a URL and prints the answer.
	fetchVariable = "LATEEN_E2E_FETCH"
	// ownNetVariable says that the test's program runs in a network namespace of its own.
	ownNetVariable = "LATEEN_E2E_OWN_NET"
)

func fetchAndPrint(url string) int {
	var remote net.Addr
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { remote = c.Conn.RemoteAddr() }})
	url, by6 := strings.CutPrefix(url, "by IPv6 ")
	if by6 {
		http.DefaultTransport.(*http.Transport).DialContext = func(ctx context.Context, _, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp6", address)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer resp.Body.Close()
	fmt.Println(resp.StatusCode, resp.Header.Get("server"), remote)
	if _, err := io.Copy(os.Stdout, resp.Body); err != nil {
		return 1
	}
	return 0
}

// setupOwnNet makes all of 10.0.0.0/8 and fd10::/16 this machine, as 127.0.0.0/8 is, has the rest of the world beyond it, and names from a name server of the test's alone.
func setupOwnNet() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	ten, err := netlink.ParseAddr("10.0.0.1/8")
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(lo, ten); err != nil {
		return err
	}
	if err := testnet.Local6(lo); err != nil {
		return err
	}
	for _, all := range []string{"0.0.0.0/0", "::/0"} {
		_, everywhere, err := net.ParseCIDR(all)
		if err != nil {
			return err
		}
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: everywhere}); err != nil { // nothing is there, but one may set out for it
			return err
		}
	}
	return testnet.OwnNames()
}

// A program that knows nothing of proxies calls an address of the mesh: its connection is redirected, and gets to the service with mutual TLS. All of it
// runs in a network namespace of its own.
func TestRunCaptured(t *testing.T) {
	if !inOwnNet(t) {
		return
	}
	m := shared
	m.applyText(t, `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: items, namespace: istioinaction}
spec:
  hosts: [items.example]
  addresses: [10.9.9.9]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 3000}]
  workloadSelector: {labels: {app: catalog}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: istioinaction}
spec: {mtls: {mode: STRICT}}
`)
	// A program that the other user may run.
	client := filepath.Join(openDir(t), "client")
	copyProgram(t, "/proc/self/exe", client)
	m.env = append(m.env, fetchVariable+"=http://10.9.9.9/items")
	eventually(t, settleTime, func() error {
		out, err := m.lateen("run", "-n", "istioinaction", "--name", "client", "--capture-user", "nobody", "--", client)
		if err != nil || !strings.HasPrefix(out, "200 ") || !strings.Contains(out, "Harbour Lateen") {
			return fmt.Errorf("%v\n%s", err, out)
		}
		return nil
	})
	// Elsewhere, where the mesh says so (0x3E81 is 16001): what runs keeps its ports, what starts has the new ones.
	const settings = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {mesh: '%s'}\n"
	m.applyText(t, fmt.Sprintf(settings, "proxyListenPort: 16001"))
	eventually(t, settleTime, func() error {
		out, err := m.lateen("run", "-n", "istioinaction", "--name", "client", "--capture-user", "nobody", "--", "sh", "-c", client+" && cat /proc/net/tcp")
		if err != nil || !strings.HasPrefix(out, "200 ") || !strings.Contains(out, ":3E81 ") {
			return fmt.Errorf("%v\n%s", err, out)
		}
		return nil
	})
	m.applyText(t, fmt.Sprintf(settings, "{}"))
	// The redirection ends with the command: nobody is at that address then.
	cmd := exec.Command(client)
	cmd.Env = append(os.Environ(), m.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("refused")) {
		t.Errorf("after the end: %v\n%s", err, out)
	}
}

// fetcher is a program under `lateen run` that knows nothing of the mesh, and fetches what the test tells it to.
type fetcher struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Scanner
}

// startFetcher runs one whose connections and queries are redirected, until the test ends.
func startFetcher(t *testing.T, flags ...string) *fetcher {
	t.Helper()
	client := filepath.Join(openDir(t), "client")
	copyProgram(t, "/proc/self/exe", client)
	// Each fetch is a process of its own, which remembers no name.
	args := append([]string{"--state-dir", shared.state, "run", "-n", "istioinaction", "--name", "fetcher", "--drain-time", "1ms", "--capture-user", "nobody"}, flags...)
	cmd := exec.Command(shared.bin, append(args, "--", "sh", "-c", "while read -r url; do "+fetchVariable+"=\"$url\" "+client+" | tr '\\n' ' '; echo; done")...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close() // which ends the command
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return &fetcher{t, in, bufio.NewScanner(out)}
}

// fetch returns what came of a URL, in a line: status, server, the address that was called, and the body; or the error.
func (c *fetcher) fetch(url string) string {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.in, url); err != nil {
		c.t.Fatal(err)
	}
	if !c.out.Scan() {
		c.t.Fatalf("the program has ended: %v", c.out.Err())
	}
	return c.out.Text()
}

// gets wants all of the words in what comes of a URL.
func (c *fetcher) gets(url string, words ...string) {
	c.t.Helper()
	eventually(c.t, settleTime, func() error {
		got := c.fetch(url)
		for _, word := range words {
			if !strings.Contains(got, word) {
				return fmt.Errorf("%s: %.300s: no %q", url, got, word)
			}
		}
		return nil
	})
}

// A program that knows nothing of a mesh calls its services by name, with nothing in /etc/hosts: in short forms, a TCP service that has no address but of the mesh's giving,
// and what is outside of the mesh. It goes on when the control plane is gone.
func TestRunCapturedByName(t *testing.T) {
	if !inOwnNet(t) {
		return
	}
	stop, err := testnet.Names(map[string][]string{"www.outside.test": {"10.77.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	outside := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "from outside") })}
	l, err := net.Listen("tcp", "10.77.0.1:8077")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { defer close(served); _ = outside.Serve(l) }()
	defer func() { outside.Close(); <-served }()
	app, err := netip.ParseAddrPort(shared.app(t, "catalog-v1-1"))
	if err != nil {
		t.Fatal(err)
	}
	shared.applyText(t, fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: tcp, namespace: istioinaction}
spec:
  hosts: [items.tcp.test]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 9077, name: tcp, protocol: TCP}]
  endpoints: [{address: %s, ports: {tcp: %d}}]
`, app.Addr(), app.Port()))
	c := startFetcher(t)
	for _, name := range []string{"catalog.istioinaction", "catalog", "catalog.istioinaction.svc.cluster.local"} {
		c.gets("http://"+name+"/items", "200 istio-envoy 240.240.", "Harbour Lateen")
	}
	c.gets("http://items.tcp.test:9077/items", "200", "240.240.", ":9077", "Harbour Lateen")
	c.gets("http://www.outside.test:8077/", "200", "10.77.0.1:8077", "from outside")
	c.gets("http://nobody.outside.test/", "no such host")

	stopControlPlane(t)
	c.gets("http://catalog.istioinaction/items", "200 istio-envoy 240.240.", "Harbour Lateen")
	c.gets("http://www.outside.test:8077/", "200", "10.77.0.1:8077", "from outside")
}

// stopControlPlane kills it, and has nobody start it again until the test ends.
func stopControlPlane(t *testing.T) {
	t.Helper()
	run, err := runfile.Read(shared.state)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(run.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(run.PID, syscall.SIGCONT) })
	pid, err := shared.pid("control-plane")
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Queries are left to the system where the host says so, or the mesh; the host has the last word.
func TestRunCapturedWithoutDNS(t *testing.T) {
	if !inOwnNet(t) {
		return
	}
	stop, err := testnet.Names(map[string][]string{"www.outside.test": {"10.77.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	c := startFetcher(t, "--capture-dns=false")
	c.gets("http://catalog.istioinaction/items", "no such host")
}

// A program's connections by IPv6 are redirected as those by IPv4 are: to an address of a service, to the one that the mesh has given a name, and to what is outside of it.
func TestRunCapturedIPv6(t *testing.T) {
	if !inOwnNet(t) {
		return
	}
	stop, err := testnet.Names(map[string][]string{"www.outside.test": {testnet.Address6}})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	outside := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "from outside") })}
	l, err := net.Listen("tcp6", "["+testnet.Address6+"]:8077")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { defer close(served); _ = outside.Serve(l) }()
	defer func() { outside.Close(); <-served }()
	shared.applyText(t, `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: six, namespace: istioinaction}
spec:
  hosts: [six.test]
  addresses: ["fd10::99", 10.9.9.9]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 3000}, {number: 9077, name: tcp, protocol: TCP, targetPort: 3000}]
  workloadSelector: {labels: {app: catalog}}
`)
	c := startFetcher(t)
	for url, words := range map[string][]string{
		"http://[fd10::99]/items":              {"200 istio-envoy [fd10::99]:80", "Harbour Lateen"},
		"http://[fd10::99]:9077/items":         {"200", "[fd10::99]:9077", "Harbour Lateen"}, // bytes
		"http://10.9.9.9/items":                {"200 istio-envoy 10.9.9.9:80", "Harbour Lateen"},
		"by IPv6 http://six.test/items":        {"200 istio-envoy [fd10::99]:80", "Harbour Lateen"},
		"by IPv6 http://catalog/items":         {"200 istio-envoy [2001:2::f0f0:", "Harbour Lateen"},
		"by IPv6 http://www.outside.test:8077": {"200", "[fd10::1]:8077", "from outside"},
	} {
		c.gets(url, words...)
	}
}

// A program may serve and be redirected in the mesh of this machine: others reach it by mutual TLS at the workload's address, and what it calls needs no proxy in its environment.
// A second one whose connections would be redirected is refused at once.
func TestRunCapturedServes(t *testing.T) {
	if !inOwnNet(t) {
		return
	}
	shared.applyText(t, `
apiVersion: v1
kind: Service
metadata: {name: store, namespace: istioinaction}
spec: {selector: {app: store}, ports: [{name: http, port: 80, targetPort: 3100}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: istioinaction}
spec: {mtls: {mode: STRICT}}
`)
	dir := openDir(t)
	client, bin := filepath.Join(dir, "client"), filepath.Join(dir, "lateen")
	copyProgram(t, "/proc/self/exe", client)
	copyProgram(t, shared.bin, bin)
	called := filepath.Join(dir, "called")
	if err := os.WriteFile(called, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(called, 0o666); err != nil {
		t.Fatal(err)
	}
	background(t, nil, []string{
		shared.bin, "--state-dir", shared.state, "run", "-n", "istioinaction", "--service", "store", "--port", "3100=9100", "--drain-time", "1ms", "--capture-user", "nobody", "--",
		"sh", "-c", fetchVariable + "=http://catalog/items " + client + " > " + called + "; exec " + bin + " sample serve catalog --address $HOST:$PORT",
	})
	eventually(t, 30*time.Second, func() error {
		out, err := shared.lateen("run", "-n", "istioinaction", "--name", "caller", "--", "sh", "-c", fetchVariable+"=http://store/items "+client)
		if err != nil || !strings.HasPrefix(out, "200 ") || !strings.Contains(out, "Harbour Lateen") {
			return fmt.Errorf("%v\n%s", err, out)
		}
		return nil
	})
	if got, err := os.ReadFile(called); err != nil || !strings.HasPrefix(string(got), "200 istio-envoy 240.240.") {
		t.Errorf("what it called: %s %v", got, err)
	}
	if out, err := shared.lateen("run", "-n", "istioinaction", "--name", "second", "--capture-user", "daemon", "--", "true"); err == nil || !strings.Contains(out, "port 15001 is taken") {
		t.Errorf("a second one: %s %v", out, err)
	}
}
