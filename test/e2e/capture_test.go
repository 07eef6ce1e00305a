//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
)

const (
	// fetchVariable makes the test's program a client that gets a URL and prints the answer.
	fetchVariable = "LATEEN_E2E_FETCH"
	// ownNetVariable says that the test's program runs in a network namespace of its own.
	ownNetVariable = "LATEEN_E2E_OWN_NET"
)

func fetchAndPrint(url string) int {
	resp, err := http.Get(url)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer resp.Body.Close()
	fmt.Println(resp.StatusCode, resp.Header.Get("server"))
	if _, err := io.Copy(os.Stdout, resp.Body); err != nil {
		return 1
	}
	return 0
}

// setupOwnNet makes all of 10.0.0.0/8 this machine, as 127.0.0.0/8 is.
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
	return netlink.AddrAdd(lo, ten)
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
	// The redirection ends with the command: nobody is at that address then.
	cmd := exec.Command(client)
	cmd.Env = append(os.Environ(), m.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("refused")) {
		t.Errorf("after the end: %v\n%s", err, out)
	}
}
