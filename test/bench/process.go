package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a running proxy or origin with the processes it started.
type process struct {
	name    string
	version string
	cmd     *exec.Cmd
	plain   string   // address of the plaintext listener
	tls     string   // address of the TLS listener
	tcp     string   // address of the TCP listener; "" for none
	grpc    string   // address of the gRPC listener; "" for none
	policed string   // address of the listener with policies; "" for none
	token   string   // that the policies let pass
	fresh   string   // address of a sidecar's listener whose requests have connections of their own upstream
	admin   string   // address of our admin API; "" unless a profile is taken
	addr    string   // of an origin
	second  *process // the other one of a pair of sidecars
	done    chan error
}

// launch starts a program in a process group of its own, its output in a log below dir.
func launch(ctx context.Context, name, dir string, env []string, args ...string) (*process, error) {
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{name: name, cmd: cmd, done: make(chan error, 1)}
	go func() { p.done <- cmd.Wait() }()
	return p, nil
}

func (p *process) stop() {
	if p.second != nil {
		p.second.stop()
	}
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// await waits until the URL answers 200, or the process ends.
func (p *process) await(ctx context.Context, url, dir string) error {
	client := &http.Client{
		Timeout:   time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true},
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(15 * time.Second)
	var last error
	for {
		resp, err := client.Get(url)
		if err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("status %s", resp.Status)
		}
		last = err
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-p.done:
			p.done <- err
			log, _ := os.ReadFile(filepath.Join(dir, p.name+".log"))
			return fmt.Errorf("ended at once (%v): %s", err, tail(log))
		case <-deadline:
			return fmt.Errorf("%s does not answer: %v", url, last)
		case <-tick.C:
		}
	}
}

func tail(b []byte) string {
	const most = 600
	if len(b) > most {
		b = b[len(b)-most:]
	}
	return strings.TrimSpace(string(b))
}

// pids lists the process and its children.
func (p *process) pids() []int {
	pids := []int{p.cmd.Process.Pid}
	for i := 0; i < len(pids); i++ {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pids[i], pids[i]))
		for _, f := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(f); err == nil {
				pids = append(pids, n)
			}
		}
	}
	return pids
}

// cpu is the processor time that all threads used so far, user and system together. It is
// read from the scheduler's accounting in nanoseconds, since the ticks of /proc/PID/stat
// (10 ms) are too coarse for a fixed rate.
func (p *process) cpu() time.Duration {
	var total time.Duration
	if p.second != nil {
		total = p.second.cpu()
	}
	for _, pid := range p.pids() {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		for _, t := range tasks {
			b, _ := os.ReadFile(t)
			if f := strings.Fields(string(b)); len(f) > 0 {
				ns, _ := strconv.ParseInt(f[0], 10, 64)
				total += time.Duration(ns)
			}
		}
	}
	return total
}

// rss is the resident memory of all processes in bytes.
func (p *process) rss() int64 {
	var total int64
	if p.second != nil {
		total = p.second.rss()
	}
	for _, pid := range p.pids() {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if f := strings.Fields(string(b)); len(f) > 1 {
			pages, _ := strconv.ParseInt(f[1], 10, 64)
			total += pages * int64(os.Getpagesize())
		}
	}
	return total
}

// freeAddr finds a free loopback port.
func freeAddr() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}

func lookPath(name string) error {
	if _, err := exec.LookPath(name); err == nil {
		return nil
	}
	_, err := os.Stat("/usr/sbin/" + name)
	return err
}

func program(name string) string {
	if p, err := exec.LookPath(name); err == nil {
		return p
	}
	return "/usr/sbin/" + name
}
