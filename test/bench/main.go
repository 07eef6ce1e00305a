// Command bench measures the proxy side by side with nginx, HAProxy and Envoy.
//
// All proxies run at once, one worker each, in front of one origin, with the same work to
// do: route by a header, add two request headers, keep statistics. Rounds are interleaved,
// because the speed of a shared machine drifts: only figures of one run may be compared, and
// the minimum is the steadiest. It asserts nothing; `make bench` prints the table and writes
// docs/performance.md.
//
// Needs wrk and h2load for the load; peers that are missing and can't be installed are named.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 9, "interleaved rounds")
	flag.DurationVar(&o.length, "length", 2*time.Second, "length of one measurement")
	flag.IntVar(&o.rate, "rate", 2000, "requests per second of the fixed-rate row")
	flag.StringVar(&o.write, "write", "", "write the result into this Markdown file")
	flag.StringVar(&o.only, "only", "", "comma-separated peers to run (default all)")
	flag.StringVar(&o.rows, "rows", "plain,token,policies,tls,h2,grpc,handshake,tcp,body,fixed,half,hop,fresh,idle,large", "comma-separated rows to run")
	flag.BoolVar(&o.install, "install", true, "install missing peers where that is possible")
	flag.StringVar(&o.proxy, "proxy", "", "our proxy's program (default: built from cmd/lateen-proxy)")
	flag.Func("peer", "another `proxy` to measure, NAME=KIND:COMMAND, such as before=lateen:/tmp/lateen-proxy -c {config}; may be repeated", func(text string) error {
		p, err := extraPeer(o, text)
		o.extra = append(o.extra, p)
		return err
	})
	flag.StringVar(&o.profile, "profile", "", "write a profile of our proxy's CPU time over all rows into this file (pprof); `make profile` feeds it to the compiler")
	flag.StringVar(&o.grpcOrigin, "grpc-origin", "", "serve as the gRPC origin at this address (what bench starts for itself)")
	flag.StringVar(&o.keep, "dir", "", "folder for configurations and logs (default a temporary one)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	work := run
	if o.grpcOrigin != "" {
		work = func(ctx context.Context, o options) error { return serveGRPC(ctx, o.grpcOrigin) }
	}
	if err := work(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	rounds  int
	length  time.Duration
	rate    int
	write   string
	only    string
	rows    string
	install bool
	proxy   string
	keep    string
	profile string
	extra   []peer

	grpcOrigin string
}

func run(ctx context.Context, o options) error {
	dir := o.keep
	if dir == "" {
		d, err := os.MkdirTemp("", "lateen-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(d)
		dir = d
		// nginx's worker, which may run as another user, serves a file from it.
		if err := os.Chmod(dir, 0o755); err != nil {
			return err
		}
	} else if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if o.install {
		installPackages(ctx)
	}
	for _, tool := range []string{"wrk", "h2load", "nginx"} {
		if err := lookPath(tool); err != nil {
			return fmt.Errorf("%s makes the load or is the origin and is missing: apt-get install wrk nghttp2-client nginx-light", tool)
		}
	}
	cert, err := writeCertificate(dir)
	if err != nil {
		return err
	}
	servers, err := startOrigins(ctx, dir)
	if err != nil {
		return err
	}
	defer servers.stop()

	running, hops := startPeers(ctx, o, dir, servers, cert)
	for _, p := range append(running, hops...) {
		defer p.stop()
	}
	if len(running) == 0 {
		return fmt.Errorf("no proxy to measure")
	}
	endProfile := func() error { return nil }
	if o.profile != "" {
		if running[0].admin == "" {
			return fmt.Errorf("-profile is about our proxy, which does not run: add lateen to -only")
		}
		if endProfile, err = profiling(ctx, running[0].admin); err != nil {
			return fmt.Errorf("profile of %s: %w", running[0].name, err)
		}
	}
	var rows []*row
	for _, r := range allRows(o) {
		if r.name == "hop" || r.name == "fresh" {
			r.only = hops
		}
		if contains(strings.Split(o.rows, ","), r.name) {
			rows = append(rows, r)
		}
	}
	for round := range o.rounds {
		for _, r := range rows {
			if err := r.round(ctx, round, running, dir); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "round %d of %d, %s done\n", round+1, o.rounds, r.name)
		}
	}
	if err := endProfile(); err != nil {
		return err
	}
	report := render(o, rows, running) + memoryReport(ctx, o, running, dir)
	fmt.Print(report)
	if o.write != "" {
		return writeReport(o.write, report)
	}
	return nil
}

// startPeers starts what the flags ask for; what is missing is named and left out.
func startPeers(ctx context.Context, o options, dir string, servers origins, cert certificate) (running, hops []*process) {
	for _, p := range peers(o) {
		if !o.wanted(p) {
			continue
		}
		proc, err := p.start(ctx, dir, servers, cert)
		if err != nil {
			fmt.Fprintf(os.Stderr, "left out: %s: %v\n", p.name, err)
			continue
		}
		running = append(running, proc)
	}
	if rows := strings.Split(o.rows, ","); !contains(rows, "hop") && !contains(rows, "fresh") {
		return running, nil
	}
	for _, p := range envoyLike(o) {
		proc, err := startHop(ctx, p, dir, servers, cert)
		if err != nil {
			fmt.Fprintf(os.Stderr, "left out: two sidecars of %s: %v\n", p.name, err)
			continue
		}
		hops = append(hops, proc)
	}
	return running, hops
}

// round measures every peer once. Each round begins with another, so that none always runs after the same one.
func (r *row) round(ctx context.Context, round int, running []*process, dir string) error {
	if r.only != nil {
		running = r.only
	}
	for i := range running {
		p := running[(i+round)%len(running)]
		if r.address(p) == "" || r.failed[p.name] != nil {
			continue
		}
		s, err := r.measure(ctx, p, dir)
		switch {
		case err != nil && (p.name == "lateen" || ctx.Err() != nil):
			return fmt.Errorf("%s, %s: %w", r.name, p.name, err)
		case err != nil:
			// A peer that fails under a load is out of its row, and the report says so.
			r.failed[p.name] = err
			delete(r.samples, p.name)
			continue
		}
		r.add(p.name, s)
	}
	return nil
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}
