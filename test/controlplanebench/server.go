package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is a control plane that runs as a process of its own.
type server struct {
	process
	grpc, secure, http string
	caDir, log         string
}

// process is a program that runs beside the bench, and that its end kills.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how it ended, after done
}

// start runs a command with its output in a file.
func (p *process) start(cmd *exec.Cmd, log string) error {
	out, err := os.Create(log)
	if err != nil {
		return err
	}
	defer out.Close()
	p.cmd, p.done = cmd, make(chan struct{})
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { defer close(p.done); p.err = cmd.Wait() }()
	return nil
}

func (p *process) stop() {
	_ = p.cmd.Process.Kill() // it keeps nothing that counts
	<-p.done
}

// cpu is the processor time of all of its threads, to the nanosecond (proc(5), schedstat).
func (p *process) cpu() time.Duration {
	var sum time.Duration
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.cmd.Process.Pid))
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		if ns, err := strconv.ParseInt(strings.Fields(string(raw))[0], 10, 64); err == nil {
			sum += time.Duration(ns)
		}
	}
	return sum
}

// resident is its memory in bytes.
func (p *process) resident() int64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	pages, _ := strconv.ParseInt(strings.Fields(string(raw))[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// ended says how the control plane ended and what it wrote last; nil while it runs.
func (s *server) ended() error {
	select {
	case <-s.done:
	case <-time.After(time.Second): // a stream may break before the process is known to have ended
		return nil
	}
	const most = 2000
	log, _ := os.ReadFile(s.log)
	return fmt.Errorf("the control plane ended: %v; its log ends with\n%s", s.err, log[max(0, len(log)-most):])
}

// startServer runs a program's `control-plane` on a folder and returns when it is ready.
func startServer(ctx context.Context, program, configDir, stateDir string) (*server, error) {
	s := &server{caDir: filepath.Join(stateDir, "ca"), log: filepath.Join(stateDir, "control-plane.log")}
	for _, addr := range []*string{&s.grpc, &s.secure, &s.http} {
		var err error
		if *addr, err = freeAddr(); err != nil {
			return nil, err
		}
	}
	cmd := exec.CommandContext(ctx, program, "control-plane", "--state-dir", stateDir, "--config-dir", configDir, "--ca-dir", s.caDir,
		"--grpc-addr", s.grpc, "--secure-grpc-addr", s.secure, "--http-addr", s.http)
	if err := s.start(cmd, s.log); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		select {
		case <-s.done:
			return nil, s.ended()
		default:
		}
		if resp, err := http.Get("http://" + s.http + "/ready"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return s, nil
			}
		}
		if time.Now().After(deadline) {
			s.stop()
			return nil, errors.New("the control plane was not ready within two minutes; its log is " + s.log)
		}
	}
}
