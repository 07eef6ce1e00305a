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
	samples map[string][]sample
}

func (r *row) add(peer string, s sample) { r.samples[peer] = append(r.samples[peer], s) }

// measure runs the load once and charges the processor time to its requests.
func (r *row) measure(ctx context.Context, p *process, dir string) (sample, error) {
	before := p.cpu()
	n, s, err := r.load(ctx, p, dir)
	if err != nil {
		return s, err
	}
	s.cpu = float64((p.cpu() - before).Nanoseconds()) / 1000 / n
	s.rss = p.rss()
	return s, nil
}

func allRows(o options) []*row {
	saturate := func(url func(*process) string) func(context.Context, *process, string) (float64, sample, error) {
		return func(ctx context.Context, p *process, _ string) (float64, sample, error) {
			return wrk(ctx, url(p), o.length)
		}
	}
	plain := func(p *process) string { return "http://" + p.plain + "/items" }
	secure := func(p *process) string { return "https://" + p.tls + "/items" }
	rows := []*row{
		{name: "plain", title: "HTTP/1.1 plaintext, 64 connections, saturated", load: saturate(plain)},
		{name: "tls", title: "HTTP/1.1 over TLS, 64 connections, saturated", load: saturate(secure)},
		{name: "fixed", title: fmt.Sprintf("HTTP/1.1 plaintext, 16 connections, %d requests/s", o.rate),
			load: func(ctx context.Context, p *process, dir string) (float64, sample, error) {
				return fixedRate(ctx, plain(p), dir, o.rate, o.length)
			}},
	}
	for _, r := range rows {
		r.samples = map[string][]sample{}
	}
	return rows
}

var (
	wrkTotal  = regexp.MustCompile(`(\d+) requests in`)
	wrkRate   = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	wrkErrors = regexp.MustCompile(`(Socket errors|Non-2xx).*`)
)

// wrk loads the URL with 64 connections as fast as it goes.
func wrk(ctx context.Context, url string, length time.Duration) (float64, sample, error) {
	secs := max(1, int(length.Seconds()+0.5))
	out, err := exec.CommandContext(ctx, "wrk", "-t1", "-c64", "-d"+strconv.Itoa(secs)+"s", "-H", "x-cohort: internal", url).CombinedOutput()
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

// fixedRate loads the URL over 16 connections with a fixed number of requests a second.
func fixedRate(ctx context.Context, url, dir string, rate int, length time.Duration) (float64, sample, error) {
	const connections = 16
	log := filepath.Join(dir, "h2load.log")
	os.Remove(log)
	out, err := exec.CommandContext(ctx, "h2load", "--h1", "-t1", "-c", strconv.Itoa(connections),
		"--rps", strconv.Itoa(rate/connections), "-D", strconv.Itoa(max(1, int(length.Seconds()+0.5))),
		"--log-file", log, "-H", "x-cohort: internal", url).CombinedOutput()
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
