package runner

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/pkg/runfile"
)

// A command sees what the application was given: its variables and its folder.
func TestExec(t *testing.T) {
	dir := t.TempDir()
	app := exec.Command("sleep", "60")
	app.Dir, app.Env = dir, []string{"HTTP_PROXY=http://127.77.1.1:15080", "PATH=" + os.Getenv("PATH")}
	if err := app.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = app.Process.Kill()
		_ = app.Wait() // it was killed
	})
	// Start returns a moment before the kernel has put the new program's environment in its place.
	for deadline := time.Now().Add(time.Minute); ; {
		raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(app.Process.Pid), "environ"))
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("no environment: %v", err)
		}
		if len(raw) > 0 {
			break
		}
		runtime.Gosched()
	}
	run := &runfile.Run{Processes: []runfile.Process{{Name: "a-1", PID: app.Process.Pid}, {Name: "b-1", Log: "b.log"}}}
	pod := runfile.Proxy{Name: "a-1", Type: "sidecar"}
	if err := Exec(context.Background(), run, pod, []string{"sh", "-c", `pwd > out; echo "$HTTP_PROXY" >> out`}); err != nil {
		t.Fatal(err)
	}
	out, err := os.ReadFile(filepath.Join(dir, "out"))
	if want := dir + "\nhttp://127.77.1.1:15080\n"; err != nil || string(out) != want {
		t.Errorf("%q %v, want %q", out, err, want)
	}
	var exit ExitError
	if err := Exec(context.Background(), run, pod, []string{"sh", "-c", "exit 4"}); !errors.As(err, &exit) || exit.Code != 4 {
		t.Errorf("%v, want exit code 4", err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Exec(ended, run, pod, []string{"sleep", "60"}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the end of the context", err)
	}
	for _, tc := range []struct {
		proxy runfile.Proxy
		want  string
	}{
		{runfile.Proxy{Name: "gw-1", Type: "router"}, "is a gateway"},
		{runfile.Proxy{Name: "b-1", Type: "sidecar"}, "b.log"},
		{runfile.Proxy{Name: "c-1", Type: "sidecar"}, "no application"},
	} {
		if err := Exec(context.Background(), run, tc.proxy, []string{"true"}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.proxy.Name, err, tc.want)
		}
	}
}
