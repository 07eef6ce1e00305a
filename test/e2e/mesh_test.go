package e2e

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/pkg/runfile"
	"github.com/lateen-mesh/lateen/samples/shop"
)

const (
	// settleTime is how long a change may take to reach every proxy before a test gives up.
	settleTime = 10 * time.Second
	webappHost = "webapp.istioinaction.io"
	catalogGW  = "catalog.istioinaction.io"
)

// mesh is the running demo.
type mesh struct {
	bin, state string
	port       int
	run        *runfile.Run
	client     *http.Client
	env        []string // beyond the test's own, for every command
}

// shared is the one mesh of all tests; TestMain starts and ends it.
var shared *mesh

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		if runtime.GOOS != "linux" || testing.Short() {
			fmt.Println("skipped: the end-to-end tests need Linux, and run without -short")
			return 0
		}
		if url := os.Getenv(fetchVariable); url != "" {
			return fetchAndPrint(url)
		}
		if os.Getenv(ownNetVariable) != "" {
			if err := setupOwnNet(); err != nil {
				fmt.Println(err)
				return 1
			}
		}
		dir, err := os.MkdirTemp("", "lateen-e2e-")
		if err != nil {
			fmt.Println(err)
			return 1
		}
		defer os.RemoveAll(dir)
		shared, err = startMesh(dir)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		code := m.Run()
		if out, err := shared.lateen("demo", "stop"); err != nil {
			fmt.Printf("demo stop: %v\n%s\n", err, out)
			code = 1
		}
		if err := shared.crashes(); err != nil {
			fmt.Println(err)
			code = 1
		}
		if keep := os.Getenv("LATEEN_E2E_KEEP"); code != 0 && keep != "" {
			if err := os.CopyFS(keep, os.DirFS(shared.state)); err != nil {
				fmt.Println(err)
			}
		}
		return code
	}())
}

func startMesh(dir string) (*mesh, error) {
	m := &mesh{bin: filepath.Join(dir, "lateen"), state: filepath.Join(dir, "state")}
	// LATEEN_E2E_BUILD=-race runs every process with the race detector.
	args := append([]string{"build", "-o", m.bin}, strings.Fields(os.Getenv("LATEEN_E2E_BUILD"))...)
	build := exec.Command("go", append(args, "github.com/lateen-mesh/lateen/cmd/lateen")...)
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build: %w\n%s", err, out)
	}
	var err error
	args = []string{"demo", "--detach"}
	for _, flag := range []string{"--gateway-tls-port", "--gateway-tcp-port", "--gateway-port"} {
		if m.port, err = freePort(); err != nil {
			return nil, err
		}
		args = append(args, flag, strconv.Itoa(m.port))
	}
	// The first request goes out as soon as the command has returned: it has to succeed.
	m.client = newClient()
	begun := time.Now()
	out, err := m.lateen(args...)
	if err != nil {
		logs, _ := exec.Command("sh", "-c", "tail -n 30 "+filepath.Join(m.state, "logs", "*")).CombinedOutput()
		return nil, fmt.Errorf("lateen demo --detach: %w\n%s\n%s", err, out, logs)
	}
	fmt.Printf("the demo serves after %v\n", time.Since(begun).Round(time.Millisecond))
	if a, err := m.get(webappHost, "/api/catalog"); err != nil || a.code != http.StatusOK {
		_, _ = m.lateen("demo", "stop")
		return nil, fmt.Errorf("the first request after `lateen demo --detach`: %+v %w", a, err)
	}
	if m.run, err = runfile.Read(m.state); err != nil {
		return nil, err
	}
	return m, nil
}

// crashes looks for what no process may write to its log: a panic, or what the race detector says in a build with it.
func (m *mesh) crashes() error {
	logs, err := filepath.Glob(filepath.Join(m.state, "logs", "*"))
	if err != nil {
		return err
	}
	var found []error
	for _, path := range logs {
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, sign := range []string{"panic: ", "fatal error: ", "WARNING: DATA RACE", "BUG: "} {
			if at := bytes.Index(raw, []byte(sign)); at >= 0 {
				found = append(found, fmt.Errorf("%s:\n%.4000s", path, raw[at:]))
			}
		}
	}
	return errors.Join(found...)
}

// freePort finds one below the range that the kernel takes clients' ports from, so that no client gets what a program is about to listen on.
func freePort() (int, error) {
	const low, high = 20000, 32000
	start := os.Getpid() % 8000
	for range high - low {
		port := low + (start+int(lastPort.Add(1)))%(high-low)
		if ln, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			return port, ln.Close()
		}
	}
	return 0, errors.New("no port is free")
}

// lastPort is where the search for free ports goes on.
var lastPort atomic.Int32

func newClient() *http.Client {
	return &http.Client{
		Timeout:   20 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 64},
	}
}

// lateen runs a command against the mesh and returns what it printed.
func (m *mesh) lateen(args ...string) (string, error) { return m.lateenIn("", args...) }

func (m *mesh) lateenIn(stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, m.bin, append([]string{"--state-dir", m.state}, args...)...)
	cmd.Env = append(os.Environ(), m.env...)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// must runs a command that has to succeed.
func (m *mesh) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := m.lateen(args...)
	if err != nil {
		t.Fatalf("lateen %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// apply applies manifests of samples/shop and takes them back at the end of the test. It returns what the last one printed.
func (m *mesh) apply(t *testing.T, paths ...string) string {
	t.Helper()
	var out string
	for _, path := range paths {
		text, err := shop.ForBlock(path, m.run.Block)
		if err != nil {
			t.Fatal(err)
		}
		out = m.applyText(t, string(text))
	}
	return out
}

func (m *mesh) applyText(t *testing.T, manifest string) string {
	t.Helper()
	out, err := m.lateenIn(manifest, "apply", "-f", "-")
	if err != nil {
		t.Fatalf("lateen apply: %v\n%s\nof\n%s", err, out, manifest)
	}
	t.Cleanup(func() {
		// An object that two manifests of the test share is gone already at the second.
		if out, err := m.lateenIn(manifest, "delete", "-f", "-"); err != nil && !strings.Contains(out, "not found") {
			t.Errorf("lateen delete: %v\n%s", err, out)
		}
	})
	return out
}

// fault makes an app misbehave for the rest of the test.
func (m *mesh) fault(t *testing.T, app, version string, args ...string) {
	t.Helper()
	target := []string{"sample", "fault", "--app", app, "--version", version}
	m.must(t, append(target, args...)...)
	t.Cleanup(func() { m.must(t, append(target, "--off")...) })
}

// answer is what a request got.
type answer struct {
	code   int
	body   string
	header http.Header
}

// v2 says whether version 2 of catalog answered.
func (a answer) v2() bool { return strings.Contains(a.body, "imageUrl") }

func (m *mesh) get(host, path string, header ...string) (answer, error) {
	return fetch(m.client, "http://127.0.0.1:"+strconv.Itoa(m.port)+path, host, header...)
}

func fetch(client *http.Client, url, host string, header ...string) (answer, error) {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return answer{}, err
	}
	req.Host = host
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, fmt.Errorf("body of a %s: %w", resp.Status, err)
	}
	return answer{resp.StatusCode, string(body), resp.Header}, nil
}

// mustGet is a request that has to succeed with 200.
func (m *mesh) mustGet(t *testing.T, host, path string, header ...string) answer {
	t.Helper()
	a, err := m.get(host, path, header...)
	if err != nil {
		t.Fatal(err)
	}
	if a.code != http.StatusOK {
		t.Fatalf("%s%s: %d %s", host, path, a.code, a.body)
	}
	return a
}

// eventually repeats check until it returns nil; at the deadline the test ends with its last error.
func eventually(t *testing.T, limit time.Duration, check func() error) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("not within %v: %v", limit, err)
		case <-ticker.C:
		}
	}
}

// settle waits until twenty requests in a row are as wanted: a change that has reached every proxy and worker.
func (m *mesh) settle(t *testing.T, host, path string, want func(answer) bool, header ...string) {
	t.Helper()
	eventually(t, settleTime, func() error {
		for i := range 20 {
			a, err := m.get(host, path, header...)
			if err != nil {
				return err
			}
			if !want(a) {
				return fmt.Errorf("request %d: %d %.200s", i, a.code, a.body)
			}
		}
		return nil
	})
}

func isV1(a answer) bool { return a.code == http.StatusOK && !a.v2() }
func isV2(a answer) bool { return a.code == http.StatusOK && a.v2() }

// app returns the address where an app itself listens.
func (m *mesh) app(t *testing.T, name string) string {
	t.Helper()
	for _, a := range m.run.Apps {
		if a.Name == name {
			return a.Address
		}
	}
	t.Fatalf("no app %s", name)
	return ""
}

// address returns the address of a workload, where its proxy listens.
func (m *mesh) address(t *testing.T, name string) string {
	t.Helper()
	for _, p := range m.run.Proxies {
		if p.Name == name {
			host, _, err := net.SplitHostPort(p.Admin)
			if err != nil {
				t.Fatal(err)
			}
			return host
		}
	}
	t.Fatalf("no proxy %s", name)
	return ""
}

// pid returns the process id of a process of the mesh now; 0 while it is down.
func (m *mesh) pid(name string) (int, error) {
	run, err := runfile.Read(m.state)
	if err != nil {
		return 0, err
	}
	for _, p := range run.Processes {
		if p.Name == name {
			return p.PID, nil
		}
	}
	return 0, errors.New("no process " + name)
}
