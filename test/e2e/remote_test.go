//go:build linux

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/test/internal/testnet"
)

// A host with nothing else joins a control plane on another machine by token: what comes to its port is redirected to the proxy and wants mutual TLS, and others of
// the mesh get through.
func TestHostElsewhereJoins(t *testing.T) {
	if inOwnNet(t) {
		testHostElsewhere(t, "192.168.77.1", "192.168.77.2")
	}
}

// The same where both machines have IPv6 alone.
func TestHostElsewhereJoinsByIPv6(t *testing.T) {
	if inOwnNet(t) {
		testHostElsewhere(t, "fd77::1", "fd77::2")
	}
}

// testHostElsewhere takes the addresses of this machine and of the one elsewhere, on the wire between them.
func testHostElsewhere(t *testing.T, hereIP, thereIP string) {
	host, err := testnet.NewHost("elsewhere", netip.MustParseAddr(hereIP), netip.MustParseAddr(thereIP))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(host.Close) // after all that runs there
	dir := openDir(t)
	client, bin := filepath.Join(dir, "fetch"), filepath.Join(dir, "lateen")
	copyProgram(t, "/proc/self/exe", client)
	copyProgram(t, shared.bin, bin)
	config := filepath.Join(dir, "config")
	if err := os.Mkdir(config, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, config, "db.yaml", `
apiVersion: v1
kind: Service
metadata: {name: db, namespace: default}
spec: {selector: {app: db}, ports: [{name: http, port: 80, targetPort: 3000}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: db, namespace: default}
spec: {address: "`+thereIP+`", labels: {app: db, security.istio.io/tlsMode: istio}, serviceAccount: db}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: default}
spec: {mtls: {mode: STRICT}}
`)
	state := filepath.Join(dir, "control-plane")
	background(t, nil, []string{bin, "--state-dir", state, "control-plane", "--config-dir", config, "--address", hereIP})
	rootCert := filepath.Join(state, "ca", "root-cert.pem")
	token := func(account string) string {
		path := filepath.Join(dir, account+".token")
		eventually(t, settleTime, func() error {
			out, err := exec.Command(bin, "--state-dir", state, "create", "token", account, "-n", "default").Output()
			if err != nil {
				return fmt.Errorf("create token: %w", err)
			}
			return os.WriteFile(path, out, 0o600)
		})
		return path
	}
	join := func(account string, args ...string) []string {
		return append([]string{"--state-dir", filepath.Join(dir, account), "run", "--discovery-address", net.JoinHostPort(hereIP, "15012"),
			"--token-file", token(account), "--root-cert", rootCert}, args...)
	}
	dbArgs := join("db", "--service", "db", "--port", "3000", "--capture-user", "nobody", "--drain-time", "10ms", "--", bin, "sample", "serve", "catalog", "--address", ":3000")
	background(t, host, append([]string{bin}, dbArgs...))
	clientArgs := join("client", "--name", "client", "--", client)
	eventually(t, 30*time.Second, func() error {
		cmd := exec.Command(bin, clientArgs...)
		cmd.Env = append(os.Environ(), fetchVariable+"=http://db/items")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), "200 ") || !strings.Contains(string(out), "Harbour Lateen") {
			return fmt.Errorf("%v\n%s", err, out)
		}
		return nil
	})
	// Who is not of the mesh does not get past the proxy, though the application listens on every address.
	conn, err := net.Dial("tcp", net.JoinHostPort(thereIP, "3000"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /items HTTP/1.1\r\nhost: db\r\n\r\n")
	if got, err := io.ReadAll(conn); len(got) > 0 {
		t.Errorf("without TLS: %q %v", got, err)
	}
}

// inOwnNet runs the test again in a network namespace of its own, and reports whether this is that second run.
func inOwnNet(t *testing.T) bool {
	t.Helper()
	if os.Getenv(ownNetVariable) != "" {
		return true
	}
	if os.Getuid() != 0 {
		t.Skipf("this needs root: sudo go test ./test/e2e -run %s", t.Name())
	}
	cmd := exec.Command("/proc/self/exe", "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), ownNetVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// openDir is a folder that other users may read.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lateen-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func copyProgram(t *testing.T, from, to string) {
	t.Helper()
	program, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, program, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// background runs a program until the test ends, on another machine unless that is nil.
func background(t *testing.T, on *testnet.Host, argv []string) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := errors.New("not started")
	start := func() { err = cmd.Start() }
	if on != nil {
		on.Do(start)
	} else {
		start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s\n%s", strings.Join(argv, " "), out.String())
		}
	})
}
