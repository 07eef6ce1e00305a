package runfile

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestWriteThenRead(t *testing.T) {
	dir := t.TempDir()
	want := &Run{
		PID: os.Getpid(), Block: "127.77", Gateway: "127.0.0.1:8080",
		Proxies:   []Proxy{{Name: "catalog-v1-1", Namespace: "istioinaction", Workload: "catalog-v1", Type: "sidecar", Admin: "127.77.1.2:15000"}},
		Apps:      []App{{Name: "catalog-v1-1", App: "catalog", Version: "v1", Address: "127.77.3.2:3000"}},
		Processes: []Process{{Name: "control-plane", PID: 7, Log: "/x/control-plane.log"}},
	}
	if err := Write(dir, want); err != nil {
		t.Fatal(err)
	}
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v (%v), want run.json alone", entries, err)
	}
}

func TestReadWithoutAMesh(t *testing.T) {
	tests := []struct {
		name, content string
		notRunning    bool
		mention       string
	}{
		{"no file", "", true, "lateen demo"},
		{"writer gone", `{"pid": 999999999}`, true, "999999999"},
		{"no pid", `{}`, true, "lateen demo"},
		{"damaged", `{`, false, "remove the file"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			if tc.content != "" {
				if err := os.WriteFile(filepath.Join(dir, Name), []byte(tc.content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Read(dir)
			if err == nil {
				t.Fatal("no error")
			}
			if errors.Is(err, ErrNotRunning) != tc.notRunning || !strings.Contains(err.Error(), tc.mention) {
				t.Errorf("got %q", err)
			}
		})
	}
}

// A supervisor that was killed is gone, even while nobody has waited for it.
func TestZombieIsNotAlive(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "exec sleep 600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	run := &Run{PID: cmd.Process.Pid}
	if !run.Alive() {
		t.Error("a running process is not alive")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "linux" {
		for deadline := time.Now().Add(time.Minute); run.Alive(); {
			if time.Now().After(deadline) {
				t.Fatal("a zombie is alive")
			}
		}
	}
	_ = cmd.Wait() // "signal: killed", as asked
	if run.Alive() {
		t.Error("a process that has ended is alive")
	}
}
