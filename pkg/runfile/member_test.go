package runfile

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestMembers(t *testing.T) {
	dir := t.TempDir()
	join := func(name string, pid int) (int, error) {
		at := 0
		err := Join(dir, name, func(slot int) (*Member, error) {
			at = slot
			return &Member{PID: pid, Slot: slot, Proxy: Proxy{Name: name}, App: &App{Name: name}, Processes: []Process{{Name: name, PID: pid}}}, nil
		})
		return at, err
	}
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		pid  int
		slot int
	}{{"a", os.Getpid(), 1}, {"b", gone.Process.Pid, 2}, {"c", os.Getpid(), 2}, {"d", os.Getpid(), 3}} {
		if slot, err := join(step.name, step.pid); err != nil || slot != step.slot {
			t.Errorf("%s: slot %d %v, want %d", step.name, slot, err, step.slot)
		}
	}
	if _, err := join("a", os.Getpid()); err == nil || !strings.Contains(err.Error(), "a is a member of the mesh already") {
		t.Errorf("a again: %v", err)
	}
	if err := Join(dir, "e", func(int) (*Member, error) { return nil, errors.New("no") }); err == nil || IsMember(dir, "e") {
		t.Errorf("e: %v", err)
	}
	if err := Write(dir, &Run{PID: os.Getpid(), Proxies: []Proxy{{Name: "gateway"}}}); err != nil {
		t.Fatal(err)
	}
	run, err := Read(dir)
	if err != nil || len(run.Proxies) != 4 || len(run.Apps) != 3 || len(run.Processes) != 3 {
		t.Errorf("%+v %v", run, err)
	}
	for range 2 {
		if err := Leave(dir, "a"); err != nil {
			t.Error(err)
		}
	}
	if slot, err := join("f", os.Getpid()); err != nil || slot != 1 || IsMember(dir, "a") || !IsMember(dir, "f") {
		t.Errorf("f: %d %v", slot, err)
	}
}
