package registries

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/test/internal/consulmesh"
)

// version is that of the module in server/go.mod; the program is kept under it.
const version = "1.22.0"

// find returns the server, and builds it when it was not built before and LATEEN_REGISTRIES asks for that.
var find = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(cache, "lateen", "consul-"+version)
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	if os.Getenv("LATEEN_REGISTRIES") == "" {
		return "", errors.New("it has not been built yet; `make registries` builds it")
	}
	cmd := exec.Command("go", "-C", "server", "build", "-buildvcs=false", "-o", bin+".new", "github.com/hashicorp/consul")
	cmd.Env = append(os.Environ(), "GONOSUMDB=github.com/hashicorp/consul/*") // one of its modules is not in the checksum database
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build github.com/hashicorp/consul: %v: %s", err, out[max(0, len(out)-600):])
	}
	return bin, os.Rename(bin+".new", bin)
})

// server is a Consul server of one node, on loopback.
type server struct {
	t    testing.TB
	bin  string
	addr string
	args []string
	cmd  *exec.Cmd
	log  *bytes.Buffer
}

// start runs a server with more configuration in HCL.
func start(t testing.TB, extra string) *server {
	t.Helper()
	bin, err := find()
	if err != nil {
		t.Skipf("no Consul %s: %v", version, err)
	}
	port := freePort(t)
	s := &server{t: t, bin: bin, addr: fmt.Sprintf("127.0.0.1:%d", port), args: []string{
		"agent", "-dev", "-bind", "127.0.0.1", "-client", "127.0.0.1", "-log-level", "warn"}}
	dir := t.TempDir()
	for i, text := range []string{
		fmt.Sprintf("ports { http = %d, dns = -1, grpc = -1, grpc_tls = -1, serf_lan = %d, serf_wan = %d, server = %d }",
			port, freePort(t), freePort(t), freePort(t)),
		extra, // of equal settings the later counts
	} {
		file := filepath.Join(dir, fmt.Sprintf("%d.hcl", i))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.args = append(s.args, "-config-file", file)
	}
	t.Cleanup(s.Kill)
	s.Restart()
	return s
}

func (s *server) Addr() string { return s.addr }

// Kill ends the server, if it runs.
func (s *server) Kill() {
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Kill() // it may have ended by itself; Wait says how
	s.cmd.Wait()
	s.cmd = nil
	if s.t.Failed() {
		s.t.Logf("Consul wrote:\n%s", s.log)
	}
}

// Restart starts the server and waits until it has a leader. It keeps its data in memory, so that it begins with nothing.
func (s *server) Restart() {
	s.t.Helper()
	s.log = &bytes.Buffer{}
	s.cmd = exec.Command(s.bin, s.args...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for over := time.After(time.Minute); ; {
		if s.ready() {
			return
		}
		select {
		case <-tick.C:
		case <-over:
			s.t.Fatalf("Consul did not become ready:\n%s", s.log)
		}
	}
}

// ready reports whether the server has a leader and knows itself.
func (s *server) ready() bool {
	req, err := http.NewRequest(http.MethodGet, "http://"+s.addr+"/v1/health/service/consul?passing=1", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("X-Consul-Token", os.Getenv("CONSUL_HTTP_TOKEN"))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return err == nil && resp.StatusCode == http.StatusOK && strings.Contains(string(body), `"serfHealth"`)
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestConsul(t *testing.T) { consulmesh.Run(t, start(t, "")) }
