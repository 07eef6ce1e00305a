package filewatch

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func watch(t *testing.T, w *Watcher, err error) chan struct{} {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	moved := make(chan struct{}, 16)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, func() { moved <- struct{}{} }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return moved
}

func move(t *testing.T, to string) {
	t.Helper()
	tmp := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(tmp, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, to); err != nil {
		t.Fatal(err)
	}
}

func wait(t *testing.T, c chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(time.Minute):
		t.Fatal("the move was not reported")
	}
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	w, err := File(filepath.Join(dir, "a.yaml"))
	moved := watch(t, w, err)
	// Another file, and a write in place, are not reported; the order of events makes the one
	// report at the end prove that.
	move(t, filepath.Join(dir, "b.yaml"))
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	move(t, filepath.Join(dir, "a.yaml"))
	wait(t, moved)
	if len(moved) != 0 {
		t.Errorf("%d reports too many", len(moved))
	}
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	w, err := Directory(dir)
	moved := watch(t, w, err)
	move(t, filepath.Join(dir, "..data"))
	wait(t, moved)
}

func TestMissingDirectory(t *testing.T) {
	if _, err := File(filepath.Join(t.TempDir(), "no", "a.yaml")); err == nil {
		t.Error("a directory that is not there was taken")
	}
}
