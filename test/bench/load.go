package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sample is one measurement of one peer.
type sample struct {
	cpu      float64 // microseconds of processor time a request
	rate     float64 // requests a second
	p50, p99 float64 // microseconds; 0 where the load is not at a fixed rate
	rss      int64   // bytes, at the end of the measurement
}

// row is one kind of load with the samples that every peer got under it.
type row struct {
	name    string
	title   string
	load    func(ctx context.Context, p *process, dir string) (requests float64, s sample, err error)
	address func(p *process) string // what the load needs of a peer; "" leaves the peer out
	only    []*process              // nil: all peers
	over    *row                    // the same with less to do, by whose figures these are judged; nil: none
	samples map[string][]sample
	failed  map[string]error // peers that are out
}

func (r *row) add(peer string, s sample) { r.samples[peer] = append(r.samples[peer], s) }

// measure runs the load once and charges the processor time to its requests.
func (r *row) measure(ctx context.Context, p *process, dir string) (sample, error) {
	before := p.cpu()
	n, s, err := r.load(ctx, p, dir)
	if err != nil {
		return s, err
	}
	if n == 0 {
		return s, fmt.Errorf("no request succeeded")
	}
	s.cpu = float64((p.cpu() - before).Nanoseconds()) / 1000 / n
	s.rss = p.rss()
	return s, nil
}

type loadFunc = func(context.Context, *process, string) (float64, sample, error)

func plainAddr(p *process) string   { return p.plain }
func policedAddr(p *process) string { return p.policed }
func tlsAddr(p *process) string     { return p.tls }
func tcpAddr(p *process) string     { return p.tcp }
func grpcAddr(p *process) string    { return p.grpc }

func allRows(o options) []*row {
	saturate := func(connections int, url func(*process) string, more ...string) loadFunc {
		return func(ctx context.Context, p *process, _ string) (float64, sample, error) {
			return wrk(ctx, url(p), connections, o.length, more...)
		}
	}
	at := func(scheme string, addr func(*process) string, path string) func(*process) string {
		return func(p *process) string { return scheme + "://" + addr(p) + path }
	}
	rows := []*row{
		{name: "plain", title: "HTTP/1.1 plaintext, 64 connections, saturated", address: plainAddr,
			load: saturate(64, at("http", plainAddr, "/items"))},
		{name: "tls", title: "HTTP/1.1 over TLS, 64 connections, saturated", address: tlsAddr,
			load: saturate(64, at("https", tlsAddr, "/items"))},
		{name: "h2", title: "HTTP/2 over TLS to HTTP/1.1, 16 connections of 8 streams, saturated", address: tlsAddr,
			load: func(ctx context.Context, p *process, _ string) (float64, sample, error) {
				return h2load(ctx, o.length, "-c16", "-m8", "-H", "x-cohort: internal", "https://"+p.tls+"/items")
			}},
		{name: "grpc", title: "gRPC over TLS, HTTP/2 on both sides, 16 connections of 8 streams, saturated", address: grpcAddr,
			load: func(ctx context.Context, p *process, dir string) (float64, sample, error) {
				msg := filepath.Join(dir, "grpc-message")
				if err := os.WriteFile(msg, grpcMessage, 0o644); err != nil {
					return 0, sample{}, err
				}
				return h2load(ctx, o.length, "-c16", "-m8", "-d", msg, "-H", "content-type: application/grpc", "-H", "te: trailers",
					"https://"+p.grpc+"/bench.Echo/Say")
			}},
		{name: "handshake", title: "a new TLS connection for each request, 32 at a time", address: tlsAddr,
			load: saturate(32, at("https", tlsAddr, "/items"), "-H", "Connection: close")},
		{name: "tcp", title: "TCP proxy, answers of 1 MB, 16 connections: CPU per MB", address: tcpAddr,
			load: saturate(16, at("http", tcpAddr, bigFile))},
		{name: "body", title: "HTTP/1.1 plaintext, bodies of 1 MB, 16 connections: CPU per MB", address: plainAddr,
			load: saturate(16, at("http", plainAddr, bigFile))},
		{name: "fixed", title: fmt.Sprintf("HTTP/1.1 plaintext, 16 connections, %d requests/s", o.rate), address: plainAddr,
			load: func(ctx context.Context, p *process, dir string) (float64, sample, error) {
				return fixedRate(ctx, "http://"+p.plain+"/items", dir, 16, o.rate, o.length)
			}},
	}
	withToken := func(addr func(*process) string) loadFunc {
		return func(ctx context.Context, p *process, _ string) (float64, sample, error) {
			return wrk(ctx, "http://"+addr(p)+"/items", 64, o.length, "-H", "Authorization: Bearer "+p.token)
		}
	}
	token := &row{name: "token", address: policedAddr, load: withToken(plainAddr),
		title: "HTTP/1.1 plaintext with a token that nobody looks at, 64 connections, saturated"}
	rows = append(rows, token, &row{name: "policies", address: policedAddr, load: withToken(policedAddr), over: token,
		title: fmt.Sprintf("the same with one JWT rule and %d AuthorizationPolicies", policies)})
	half := &row{name: "half", address: plainAddr,
		title: "HTTP/1.1 plaintext, 64 connections, at half of what the slowest peer can do"}
	plain := rows[0]
	half.load = func(ctx context.Context, p *process, dir string) (float64, sample, error) {
		rate := slowest(plain) / 2
		if rate == 0 {
			return 0, sample{}, fmt.Errorf("the row half needs the row plain, whose rates it goes by")
		}
		return fixedRate(ctx, "http://"+p.plain+"/items", dir, 64, int(rate), o.length)
	}
	rows = append(rows, half, &row{name: "hop", address: plainAddr,
		title: "from sidecar to sidecar over mutual TLS, bodies of 1 KB, 1000 requests/s: both proxies together",
		load: func(ctx context.Context, p *process, dir string) (float64, sample, error) {
			body := filepath.Join(dir, "1kb")
			if err := os.WriteFile(body, make([]byte, 1<<10), 0o644); err != nil {
				return 0, sample{}, err
			}
			return fixedRate(ctx, "http://"+p.plain+"/items", dir, 16, 1000, o.length, "-d", body)
		}}, &row{name: "fresh", address: func(p *process) string { return p.fresh },
		title: "from sidecar to sidecar, a new connection of mutual TLS with a whole handshake for each request, 32 at a time: both proxies together",
		load:  saturate(32, at("http", func(p *process) string { return p.fresh }, "/items"))})
	for _, r := range rows {
		r.samples, r.failed = map[string][]sample{}, map[string]error{}
	}
	return rows
}

// slowest is the least of the peers' median rates in a row, 0 when there is none.
func slowest(r *row) float64 {
	least := 0.0
	for _, s := range r.samples {
		if m := median(s, func(s sample) float64 { return s.rate }); least == 0 || m < least {
			least = m
		}
	}
	return least
}

var (
	wrkTotal  = regexp.MustCompile(`(\d+) requests in`)
	wrkRate   = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	wrkErrors = regexp.MustCompile(`(Socket errors|Non-2xx).*`)
)

// wrk loads the URL over HTTP/1.1 as fast as it goes.
func wrk(ctx context.Context, url string, connections int, length time.Duration, more ...string) (float64, sample, error) {
	args := append([]string{"-t1", "-c" + strconv.Itoa(connections), "-d" + seconds(length) + "s", "-H", "x-cohort: internal"}, more...)
	out, err := exec.CommandContext(ctx, "wrk", append(args, url)...).CombinedOutput()
	if err != nil {
		return 0, sample{}, fmt.Errorf("wrk: %v: %s", err, tail(out))
	}
	if m := wrkErrors.Find(out); m != nil {
		return 0, sample{}, fmt.Errorf("wrk saw failures: %s", m)
	}
	total, rate := wrkTotal.FindSubmatch(out), wrkRate.FindSubmatch(out)
	if total == nil || rate == nil {
		return 0, sample{}, fmt.Errorf("wrk printed no total: %s", tail(out))
	}
	n, _ := strconv.ParseFloat(string(total[1]), 64)
	r, _ := strconv.ParseFloat(string(rate[1]), 64)
	return n, sample{rate: r}, nil
}

func seconds(d time.Duration) string { return strconv.Itoa(max(1, int(d.Seconds()+0.5))) }

var (
	h2loadDone = regexp.MustCompile(`requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored`)
	h2loadRate = regexp.MustCompile(`finished in .*?, ([\d.]+) req/s`)
)

// h2load loads over HTTP/2 as fast as it goes.
func h2load(ctx context.Context, length time.Duration, args ...string) (float64, sample, error) {
	out, err := exec.CommandContext(ctx, "h2load", append([]string{"-t1", "-D" + seconds(length)}, args...)...).CombinedOutput()
	if err != nil {
		return 0, sample{}, fmt.Errorf("h2load: %v: %s", err, tail(out))
	}
	done, rate := h2loadDone.FindSubmatch(out), h2loadRate.FindSubmatch(out)
	if done == nil || rate == nil {
		return 0, sample{}, fmt.Errorf("h2load printed no total: %s", tail(out))
	}
	if string(done[2]) != "0" || string(done[3]) != "0" {
		return 0, sample{}, fmt.Errorf("h2load saw failures: %s", done[0])
	}
	n, _ := strconv.ParseFloat(string(done[1]), 64)
	r, _ := strconv.ParseFloat(string(rate[1]), 64)
	return n, sample{rate: r}, nil
}

// fixedRate loads the URL over HTTP/1.1 with a fixed number of requests a second.
func fixedRate(ctx context.Context, url, dir string, connections, rate int, length time.Duration, more ...string) (float64, sample, error) {
	log := filepath.Join(dir, "h2load.log")
	os.Remove(log)
	args := append([]string{"--h1", "-t1", "-c", strconv.Itoa(connections), "--rps", strconv.Itoa(rate / connections), "-D", seconds(length),
		"--log-file", log, "-H", "x-cohort: internal"}, more...)
	out, err := exec.CommandContext(ctx, "h2load", append(args, url)...).CombinedOutput()
	if err != nil {
		return 0, sample{}, fmt.Errorf("h2load: %v: %s", err, tail(out))
	}
	f, err := os.Open(log)
	if err != nil {
		return 0, sample{}, err
	}
	defer f.Close()
	var took []float64
	for sc := bufio.NewScanner(f); sc.Scan(); {
		// start in microseconds, status, duration in microseconds
		c := strings.Fields(sc.Text())
		if len(c) != 3 {
			continue
		}
		if c[1] != "200" {
			return 0, sample{}, fmt.Errorf("h2load got status %s", c[1])
		}
		us, err := strconv.ParseFloat(c[2], 64)
		if err != nil {
			return 0, sample{}, err
		}
		took = append(took, us)
	}
	if len(took) == 0 {
		return 0, sample{}, fmt.Errorf("h2load logged no request: %s", tail(out))
	}
	slices.Sort(took)
	at := func(q float64) float64 { return took[min(len(took)-1, int(q*float64(len(took))))] }
	return float64(len(took)), sample{rate: float64(len(took)) / length.Seconds(), p50: at(0.5), p99: at(0.99)}, nil
}
