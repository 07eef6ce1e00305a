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
	cmd        *exec.Cmd
	done       chan error
	grpc, http string
	log        string
}

// startServer runs a program's `control-plane` on a folder and returns when it is ready.
func startServer(ctx context.Context, program, configDir, stateDir string) (*server, error) {
	s := &server{done: make(chan error, 1), log: filepath.Join(stateDir, "control-plane.log")}
	var err error
	if s.grpc, err = freeAddr(); err != nil {
		return nil, err
	}
	if s.http, err = freeAddr(); err != nil {
		return nil, err
	}
	log, err := os.Create(s.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd = exec.CommandContext(ctx, program, "control-plane", "--state-dir", stateDir, "--config-dir", configDir, "--ca-dir", filepath.Join(stateDir, "ca"),
		"--grpc-addr", s.grpc, "--secure-grpc-addr", "none", "--http-addr", s.http)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { s.done <- s.cmd.Wait() }()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-s.done:
			return nil, fmt.Errorf("the control plane ended: %w; its log is %s", err, s.log)
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

func (s *server) stop() {
	_ = s.cmd.Process.Kill() // it keeps nothing that counts
	<-s.done
}

// cpu is the processor time of all of its threads, to the nanosecond (proc(5), schedstat).
func (s *server) cpu() time.Duration {
	var sum time.Duration
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.cmd.Process.Pid))
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
func (s *server) resident() int64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	pages, _ := strconv.ParseInt(strings.Fields(string(raw))[1], 10, 64)
	return pages * int64(os.Getpagesize())
}
