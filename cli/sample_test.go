package cli

import (
	"bytes"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/localmesh"
	"github.com/lateen-mesh/lateen/pkg/runfile"
	"github.com/lateen-mesh/lateen/sample"
)

// shopOf writes a run.json that names two running apps and returns the state folder.
func shopOf(t *testing.T) (dir string, run *runfile.Run) {
	t.Helper()
	run = &runfile.Run{PID: os.Getpid(), Block: "127.77", Gateway: "127.0.0.1:8080"}
	for _, version := range []string{"v1", "v2"} {
		h, err := sample.NewHandler(sample.Config{Kind: "catalog", Getenv: func(string) string { return "" }, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		run.Apps = append(run.Apps, runfile.App{Name: "catalog-" + version + "-1", App: "catalog", Version: version, Address: strings.TrimPrefix(server.URL, "http://")})
	}
	dir = t.TempDir()
	if err := runfile.Write(dir, run); err != nil {
		t.Fatal(err)
	}
	return dir, run
}

func execute(t *testing.T, args ...string) (string, error) {
	t.Helper()
	root := NewRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestSampleFault(t *testing.T) {
	dir, run := shopOf(t)
	out, err := execute(t, "--state-dir", dir, "sample", "fault", "--app", "catalog", "--version", "v1", "--rate", "0.5", "--status", "500", "--delay", "1ms")
	if err != nil || out != "catalog-v1-1: waits 1ms and answers 500 for 50 % of the requests\n" {
		t.Errorf("%q %v", out, err)
	}
	for i, want := range []int{500, 0} {
		if f, err := sample.GetFault(t.Context(), run.Apps[i].Address); err != nil || f.Status != want {
			t.Errorf("%s: %+v %v", run.Apps[i].Name, f, err)
		}
	}
	out, err = execute(t, "--state-dir", dir, "sample", "fault", "--app", "catalog", "--off")
	if err != nil || out != "catalog-v1-1: behaves\ncatalog-v2-1: behaves\n" {
		t.Errorf("%q %v", out, err)
	}
	out, err = execute(t, "--state-dir", dir, "sample", "requests", "--app", "catalog", "--version", "v2")
	if err != nil || !strings.Contains(out, `"catalog-v2-1": []`) {
		t.Errorf("%q %v", out, err)
	}
}

func TestSampleMistakes(t *testing.T) {
	dir, _ := shopOf(t)
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"no mesh", []string{"--state-dir", t.TempDir(), "sample", "fault", "--app", "catalog", "--rate", "1", "--status", "500"}, "lateen demo"},
		{"no such app", []string{"--state-dir", dir, "sample", "fault", "--app", "bakery", "--rate", "1", "--status", "500"}, "catalog v1, catalog v2"},
		{"no rate", []string{"--state-dir", dir, "sample", "fault", "--app", "catalog"}, "--rate"},
		{"a rate that does nothing", []string{"--state-dir", dir, "sample", "fault", "--app", "catalog", "--rate", "1"}, "does nothing"},
		{"no such kind", []string{"sample", "serve", "bakery"}, "bakery"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := execute(t, tc.args...); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestDemoStatusTable(t *testing.T) {
	var out strings.Builder
	run := &runfile.Run{Block: "127.77", Gateway: "127.0.0.1:8080", GatewayTLS: "127.0.0.1:8443", GatewayTCP: "127.0.0.1:31400"}
	err := printMeshStatus(&out, run, []localmesh.ProcessStatus{
		{Name: "control-plane", PID: 12, State: "ready", Log: "/l/control-plane.log"},
		{Name: "forum-1", State: "restarting", Log: "/l/forum-1.log"},
	})
	want := `PROCESS         PID   STATE        LOG
control-plane   12    ready        /l/control-plane.log
forum-1         -     restarting   /l/forum-1.log

gateway: http://127.0.0.1:8080, port 443 at 127.0.0.1:8443, port 31400 at 127.0.0.1:31400   addresses: 127.77.0.0/16
`
	if err != nil || out.String() != want {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestDemoStopWithoutDemo(t *testing.T) {
	out, err := execute(t, "--state-dir", t.TempDir(), "demo", "stop")
	if err != nil || !strings.Contains(out, "no mesh runs") {
		t.Errorf("%q %v", out, err)
	}
	if _, err := execute(t, "--state-dir", t.TempDir(), "demo", "status"); err == nil || !strings.Contains(err.Error(), "lateen demo") {
		t.Errorf("status: %v", err)
	}
}
