package runner

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/pkg/jointoken"
	"github.com/lateen-mesh/lateen/pkg/runfile"
	"github.com/lateen-mesh/lateen/workload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCommandsEnd(t *testing.T) {
	for _, tc := range []struct {
		name, script string
		end          bool
		want         int
	}{
		{"well", "exit 0", false, 0},
		{"with a code", "exit 7", false, 7},
		{"by a signal of its own", "kill -9 $$", false, 137},
		{"when asked", "exec sleep 600", true, 143},
		{"when asked, with a code of its own", "trap 'exit 3' TERM; while :; do sleep 0.01; done", true, 3},
		{"killed, with what it has started", "trap '' TERM; sleep 600; sleep 600", true, 137},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := startCommand([]string{"/bin/sh", "-c", tc.script}, nil, "", nil)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(tc.script, "trap") {
				waitForTrap(t, c)
			}
			if tc.end {
				c.end(300 * time.Millisecond)
			}
			<-c.done
			var exit ExitError
			err = c.result()
			if errors.As(err, &exit); exit.Code != tc.want {
				t.Errorf("%v, want %d", err, tc.want)
			}
		})
	}
	if _, err := startCommand([]string{"/no/such/program"}, nil, "", nil); err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("no program: %v", err)
	}
}

// waitForTrap returns when the shell has another disposition for SIGTERM than to end (proc(5): SigCgt and SigIgn, bit 15).
func waitForTrap(t *testing.T, c *command) {
	t.Helper()
	path := filepath.Join("/proc", strconv.Itoa(c.cmd.Process.Pid), "status")
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		raw, err := os.ReadFile(path)
		if runtime.GOOS != "linux" {
			t.Skip("this looks into Linux's /proc: run go test ./runner there")
		}
		if err != nil {
			t.Fatal(err) // the shell has ended
		}
		for line := range strings.Lines(string(raw)) {
			name, mask, _ := strings.Cut(strings.TrimSpace(line), ":")
			bits, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			if err == nil && (name == "SigCgt" || name == "SigIgn") && bits&(1<<14) != 0 {
				return
			}
		}
	}
	t.Fatal("the shell sets no trap")
}

func config(t *testing.T, state string) Config {
	t.Helper()
	return Config{
		Name: "hello-1", Deployment: "hello", Namespace: "shop", ServiceAccount: "hello", Labels: map[string]string{"app": "hello"},
		Ports: []string{"8080=9000"}, Command: []string{"true"}, StateDir: state, Executable: "/bin/lateen",
	}
}

func TestJoinLocal(t *testing.T) {
	state := t.TempDir()
	cfg := config(t, state)
	if _, err := cfg.join(); !errors.Is(err, runfile.ErrNotRunning) || !strings.Contains(err.Error(), "--discovery-address") {
		t.Errorf("no mesh: %v", err)
	}
	for _, dir := range []string{"ca", "workloads"} {
		if err := os.Mkdir(filepath.Join(state, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(state, "ca", jointoken.KeyFile), jointoken.NewKey(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := runfile.Write(state, &runfile.Run{PID: os.Getpid(), Block: "127.77", XDSTLS: "127.77.0.1:15012"}); err != nil {
		t.Fatal(err)
	}
	for flag, bad := range map[string]func(*Config){
		"--ip": func(c *Config) { c.IP = "10.0.0.1" }, "--token-file": func(c *Config) { c.TokenFile = "t" }, "--group": func(c *Config) { c.Group = "g" },
		"APP-PORT": func(c *Config) { c.Ports = []string{"x"} },
	} {
		c := cfg
		bad(&c)
		if _, err := c.join(); err == nil || !strings.Contains(err.Error(), flag) || runfile.IsMember(state, c.Name) {
			t.Errorf("%s: %v", flag, err)
		}
	}
	m, err := cfg.join()
	if err != nil {
		t.Fatal(err)
	}
	entry := filepath.Join(state, "workloads", "hello-1.yaml")
	if raw, err := os.ReadFile(entry); err != nil || !strings.Contains(string(raw), "address: 127.77.4.1") {
		t.Errorf("entry %s %v", raw, err)
	}
	args := strings.Join(m.site.Proxy(m.workload, m.flags...).Args, " ")
	for _, want := range []string{"--ip 127.77.4.1", "--inbound 8080=127.0.0.1:9000", "--discovery-address 127.77.0.1:15012", "--http-proxy 127.77.4.1:15080"} {
		if !strings.Contains(args, want) {
			t.Errorf("no %q in %s", want, args)
		}
	}
	if _, err := cfg.join(); err == nil || !strings.Contains(err.Error(), "member of the mesh already") {
		t.Errorf("twice: %v", err)
	}
	if err := m.forget(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{entry, m.site.TokenFile(m.workload)} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s stays", path)
		}
	}
	if runfile.IsMember(state, cfg.Name) {
		t.Error("it is a member still")
	}
}

func TestJoinRemote(t *testing.T) {
	cfg := config(t, t.TempDir())
	cfg.Discovery, cfg.Group = "127.0.0.1:15012", "hello"
	if _, err := cfg.join(); err == nil || !strings.Contains(err.Error(), "--token-file and --root-cert") {
		t.Errorf("no proof: %v", err)
	}
	cfg.TokenFile, cfg.RootCert = filepath.Join(cfg.StateDir, "token"), filepath.Join(cfg.StateDir, "root.pem")
	if _, err := cfg.join(); err == nil || !strings.Contains(err.Error(), cfg.StateDir) {
		t.Errorf("no files: %v", err)
	}
	for _, path := range []string{cfg.TokenFile, cfg.RootCert} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m, err := cfg.join()
	if err != nil {
		t.Fatal(err)
	}
	args := strings.Join(m.site.Proxy(m.workload, m.flags...).Args, " ")
	for _, want := range []string{"--ip 127.0.0.1", "--admin-ip 127.0.0.1", "--token-file " + cfg.TokenFile, "--root-cert " + cfg.RootCert} {
		if !strings.Contains(args, want) {
			t.Errorf("no %q in %s", want, args)
		}
	}
}

func TestCaptureRefused(t *testing.T) {
	cfg := config(t, t.TempDir())
	var w workload.Workload
	if got, err := cfg.interception(w); got != nil || err != nil {
		t.Errorf("nobody: %v %v", got, err)
	}
	for name, want := range map[string]string{"no-such-user-here": "--capture-user no-such-user-here", "root": "another than this program's"} {
		if name == "root" && os.Getuid() != 0 {
			continue
		}
		cfg.CaptureUser, cfg.Ports = name, nil
		if _, err := cfg.interception(w); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cfg.CaptureUser, cfg.IncludeInbound = "nobody", "8080"
	if _, err := cfg.interception(w); err == nil || !strings.Contains(err.Error(), "--include-inbound-ports") {
		t.Errorf("what comes to a workload in the mesh of this machine: %v", err)
	}
	cfg.IncludeInbound = ""
	cfg.Discovery, cfg.Ports = "istiod:15012", []string{"8080=9000"}
	if w, _ = cfg.workload("10.0.0.1", "127.0.0.1"); len(w.Ports) != 1 {
		t.Fatal(w)
	}
	if _, err := cfg.interception(w); err == nil || !strings.Contains(err.Error(), "8080=9000") {
		t.Errorf("another port of the application: %v", err)
	}
}
