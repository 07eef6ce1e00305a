package supervise

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	switch os.Getenv("SUPERVISE_TEST_ROLE") {
	case "supervisor":
		superviseSleeper()
		return
	}
	goleak.VerifyTestMain(m)
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func TestBackoff(t *testing.T) {
	policy := Policy{First: time.Second, Max: 5 * time.Second, Steady: 10 * time.Second}
	tests := []struct {
		name  string
		lived []time.Duration
		want  []time.Duration
	}{
		{"doubles up to the bound", []time.Duration{0, 0, 0, 0, 0}, []time.Duration{1, 2, 4, 5, 5}},
		{"a steady life forgives", []time.Duration{0, 0, 10 * time.Second, 0}, []time.Duration{1, 2, 1, 2}},
		{"a short life does not", []time.Duration{0, 9 * time.Second, 9 * time.Second}, []time.Duration{1, 2, 4}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			var b backoff
			for i, lived := range tc.lived {
				if got := b.ended(policy, lived); got != tc.want[i]*time.Second {
					t.Errorf("end %d: wait %v, want %vs", i, got, int64(tc.want[i]))
				}
			}
		})
	}
}

// fakeSpawner makes children that live for a given time, or until they are signalled.
type fakeSpawner struct {
	lives  time.Duration // 0: until signalled
	deaf   bool          // ignores SIGTERM
	fail   error
	mu     sync.Mutex
	starts []time.Time
}

type fakeChild struct {
	pid    int
	ending chan error
	deaf   bool
}

func (f *fakeSpawner) run(ctx context.Context) { <-ctx.Done() }

func (f *fakeSpawner) start(Process) (child, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.starts = append(f.starts, time.Now())
	if f.fail != nil {
		return nil, f.fail
	}
	c := &fakeChild{pid: len(f.starts), ending: make(chan error, 2), deaf: f.deaf}
	if f.lives > 0 {
		time.AfterFunc(f.lives, func() { c.ending <- errors.New("crashed") })
	}
	return c, nil
}

func (c *fakeChild) PID() int    { return c.pid }
func (c *fakeChild) Wait() error { return <-c.ending }
func (c *fakeChild) Signal(sig syscall.Signal) error {
	if c.deaf && sig == syscall.SIGTERM {
		return nil
	}
	c.ending <- fmt.Errorf("signal: %v", sig)
	return nil
}

func TestRestartTimes(t *testing.T) {
	tests := []struct {
		name  string
		spawn *fakeSpawner
		want  []time.Duration // between starts
	}{
		{"crash loop", &fakeSpawner{lives: time.Millisecond}, []time.Duration{101, 201, 401, 801}},
		{"lives long, then restarts at once", &fakeSpawner{lives: 6 * time.Second}, []time.Duration{6100, 6100, 6100}},
		{"cannot be started", &fakeSpawner{fail: errors.New("no such file")}, []time.Duration{100, 200, 400}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				s := New(Config{Logger: quiet(), spawn: tc.spawn})
				s.Add(Process{Name: "app"})
				if err := s.Run(ctx); err != nil {
					t.Fatal(err)
				}
				for i, want := range tc.want {
					if got := tc.spawn.starts[i+1].Sub(tc.spawn.starts[i]); got != want*time.Millisecond {
						t.Errorf("start %d came after %v, want %v", i+1, got, want*time.Millisecond)
					}
				}
			})
		})
	}
}

func TestEndOfTheContextEndsTheProcess(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		t.Run(fmt.Sprintf("deaf=%v", deaf), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				s := New(Config{Logger: quiet(), Grace: 3 * time.Second, spawn: &fakeSpawner{deaf: deaf}})
				s.Add(Process{Name: "app"})
				done := make(chan error, 1)
				go func() { done <- s.Run(ctx) }()
				synctest.Wait()
				if pid := s.Statuses()[0].PID; pid != 1 {
					t.Errorf("pid %d, want 1", pid)
				}
				begun := time.Now()
				cancel()
				<-done
				want := time.Duration(0)
				if deaf {
					want = 3 * time.Second
				}
				if took := time.Since(begun); took != want {
					t.Errorf("took %v, want %v", took, want)
				}
				if st := s.Statuses()[0]; st.PID != 0 || !strings.HasPrefix(st.LastEnd, "signal: ") {
					t.Errorf("status %+v", st)
				}
			})
		})
	}
}

func TestAddWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var last []Status
		s := New(Config{Logger: quiet(), spawn: &fakeSpawner{}, OnChange: func(all []Status) { last = all }})
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		for _, name := range []string{"a", "b", "c"} {
			s.Add(Process{Name: name})
			synctest.Wait()
		}
		if len(last) != 3 || last[0].Name != "a" || last[2].PID != 3 {
			t.Errorf("statuses %+v", last)
		}
		cancel()
		<-done
	})
}

// superviseSleeper is the program that TestChildrenDieWithTheSupervisor kills: it supervises a sleeping child and prints its pid.
func superviseSleeper() {
	s := New(Config{Logger: quiet(), OnChange: func(all []Status) { fmt.Println(all[0].PID) }})
	s.Add(Process{Name: "sleeper", Path: "/bin/sh", Args: []string{"-c", "exec sleep 600"}, Log: os.Getenv("SUPERVISE_TEST_LOG")})
	if err := s.Run(context.Background()); err != nil {
		fmt.Println(err)
	}
}

func TestChildrenDieWithTheSupervisor(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "SUPERVISE_TEST_ROLE=supervisor", "SUPERVISE_TEST_LOG="+filepath.Join(t.TempDir(), "log"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // "signal: killed", as asked
	deadline := time.Now().Add(time.Minute)
	for running(pid) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d outlived its supervisor", pid)
		}
	}
}

// running says whether the process exists and is no zombie (an orphan stays one where nobody reaps).
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}

func TestRealProcessLogsAndComesBack(t *testing.T) {
	log := filepath.Join(t.TempDir(), "out.log")
	ctx, cancel := context.WithCancel(t.Context())
	starts := make(chan int, 100)
	s := New(Config{Logger: quiet(), OnChange: func(all []Status) {
		if all[0].PID != 0 {
			starts <- all[0].PID
		}
	}})
	s.Add(Process{Name: "app", Path: "/bin/sh", Args: []string{"-c", "echo hello; exec sleep 600"}, Log: log})
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	first := <-starts
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if second := <-starts; second == first {
		t.Error("not a new process")
	}
	deadline := time.Now().Add(time.Minute)
	for {
		content, err := os.ReadFile(log)
		if err == nil && strings.Contains(string(content), "hello\n") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the log holds %q (%v)", content, err)
		}
	}
	cancel()
	<-done
}

func TestRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		spawn := &fakeSpawner{}
		var last []Status
		s := New(Config{Logger: quiet(), spawn: spawn, OnChange: func(all []Status) { last = all }})
		s.Add(Process{Name: "never started"})
		s.Remove("never started")
		s.Remove("unknown")
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		for _, name := range []string{"a", "b"} {
			s.Add(Process{Name: name})
			synctest.Wait()
		}
		s.Remove("a")
		if len(last) != 1 || last[0].Name != "b" || last[0].PID != 2 {
			t.Errorf("after the removal: %+v", last)
		}
		s.Add(Process{Name: "a"}) // the name is free again
		synctest.Wait()
		if len(last) != 2 || last[1].Name != "a" || last[1].PID != 3 || len(spawn.starts) != 3 {
			t.Errorf("added again: %+v, %d starts", last, len(spawn.starts))
		}
		cancel()
		<-done
	})
}

// A process starts when what it needs is there, each time, and not at all when it is not wanted any more by then.
func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begun := time.Now()
		slow := func(ctx context.Context) {
			select {
			case <-time.After(7 * time.Second):
			case <-ctx.Done():
			}
		}
		spawn := &fakeSpawner{lives: 10 * time.Second}
		s := New(Config{Logger: quiet(), spawn: spawn})
		s.Add(Process{Name: "app", Await: slow})
		s.Add(Process{Name: "gone", Await: func(ctx context.Context) { <-ctx.Done() }})
		time.AfterFunc(time.Second, func() { s.Remove("gone") })
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		for i, want := range []time.Duration{7000, 24100} { // the app lives for 10 s, is down for 0.1 s, and waits again
			if got := spawn.starts[i].Sub(begun); got != want*time.Millisecond {
				t.Errorf("start %d after %v, want %v", i, got, want*time.Millisecond)
			}
		}
		if len(spawn.starts) != 4 {
			t.Errorf("%d starts, want 4 of one process", len(spawn.starts))
		}
	})
}
