package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type options struct {
	services, proxies []int
	uses              []int
	whole             int
	endpoints         int
	rounds            int
	changes           []string
	sotw              bool
	program, sidecar  string
	write             string
	limit             time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o := options{services: []int{1000}, proxies: []int{100, 1000}, uses: []int{0}}
	flag.Func("services", "comma-separated numbers of services (default 1000)", numbers(&o.services))
	flag.Func("proxies", "comma-separated numbers of proxies (default 100,1000)", numbers(&o.proxies))
	flag.Func("uses", "comma-separated numbers of services that each proxy asks for on demand; 0: it is sent everything (default 0)", counts(&o.uses))
	flag.IntVar(&o.whole, "whole", 1000, "most services with which proxies are measured that are sent everything")
	flag.IntVar(&o.endpoints, "endpoints", 10, "endpoints of each service")
	flag.IntVar(&o.rounds, "rounds", 3, "times that an endpoint and a weight are changed; the fastest counts")
	changes := flag.String("changes", "endpoint,weight,added,removed,patch,patch all,patch listener,wildcard,wildcard rule,idle,reopened", "comma-separated changes to measure after the cold start")
	flag.BoolVar(&o.sotw, "sotw", false, "state-of-the-world streams instead of delta")
	flag.StringVar(&o.program, "program", "", "the program that has the command control-plane (default: built from cmd/lateen)")
	flag.StringVar(&o.sidecar, "sidecar", "", "the program that has the command sidecar, to measure its memory (default: built from cmd/lateen-proxy)")
	flag.StringVar(&o.write, "write", "", "write the result into this Markdown file")
	flag.DurationVar(&o.limit, "limit", 5*time.Minute, "time that a change may take")
	flag.Parse()
	o.changes = strings.Split(*changes, ",")
	if err := bench(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "controlplanebench:", err)
		os.Exit(1)
	}
}

func numbers(to *[]int) func(string) error { return atLeast(1, to) }

func counts(to *[]int) func(string) error { return atLeast(0, to) }

func atLeast(least int, to *[]int) func(string) error {
	return func(text string) error {
		*to = nil
		for _, field := range strings.Split(text, ",") {
			n, err := strconv.Atoi(field)
			if err != nil || n < least {
				return fmt.Errorf("want numbers from %d on, such as 100,1000", least)
			}
			*to = append(*to, n)
		}
		return nil
	}
}

func bench(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "controlplanebench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for name, program := range map[string]*string{"lateen": &o.program, "lateen-proxy": &o.sidecar} {
		if *program != "" {
			continue
		}
		*program = filepath.Join(dir, name)
		build := exec.CommandContext(ctx, "go", "build", "-o", *program, "./cmd/"+name)
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("build: %w", err)
		}
	}
	var tables []table
	for _, uses := range o.uses {
		for _, services := range o.services {
			if uses == 0 && services > o.whole {
				continue
			}
			for _, proxies := range o.proxies {
				t, err := one(ctx, o, filepath.Join(dir, fmt.Sprintf("%d-%d-%d", services, proxies, uses)), services, proxies, uses)
				if err != nil {
					return fmt.Errorf("%d services, %d proxies: %w", services, proxies, err)
				}
				fmt.Print(t)
				tables = append(tables, t)
			}
		}
	}
	if o.write == "" {
		return nil
	}
	return writeReport(o.write, o, tables)
}

// one measures a fresh server on a fresh mesh.
func one(ctx context.Context, o options, dir string, services, proxies, uses int) (table, error) {
	m := &mesh{dir: filepath.Join(dir, "config"), services: services, endpoints: o.endpoints}
	if err := os.MkdirAll(m.dir, 0o755); err != nil {
		return table{}, err
	}
	if err := m.write(); err != nil {
		return table{}, err
	}
	begin := time.Now()
	s, err := startServer(ctx, o.program, m.dir, dir)
	if err != nil {
		return table{}, err
	}
	defer s.stop()
	t := table{services: services, proxies: proxies, uses: uses, loaded: time.Since(begin), empty: s.resident()}
	if t.results, err = run(ctx, o, m, s, proxies, uses); err != nil {
		return t, errors.Join(err, s.ended())
	}
	if uses == 0 {
		return t, nil
	}
	t.sidecar, err = sidecarMemory(ctx, o, s, services, filepath.Join(dir, "sidecar"))
	return t, err
}
