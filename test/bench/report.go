package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// render writes the Markdown report: a table a row of the bench, a line a peer.
func render(o options, rows []*row, running []*process) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured %s on %s: %d interleaved rounds of %s, one worker each.\n",
		time.Now().UTC().Format("2006-01-02 15:04 MST"), machine(), o.rounds, o.length)
	var versions []string
	for _, p := range running {
		versions = append(versions, strings.TrimSpace(p.name+" "+p.version))
	}
	fmt.Fprintf(&b, "Programs: %s.\n", strings.Join(versions, ", "))
	for _, r := range rows {
		fmt.Fprintf(&b, "\n### %s\n\n", r.title)
		fmt.Fprintln(&b, "| proxy | CPU us/request, min | median | against haproxy | against envoy | requests/s, median | p50 us | p99 us | resident MB |")
		fmt.Fprintln(&b, "|---|---|---|---|---|---|---|---|---|")
		base := map[string]float64{}
		peers := running
		if r.only != nil {
			peers = r.only
		}
		for _, p := range peers {
			base[p.name] = least(r.samples[p.name], func(s sample) float64 { return s.cpu })
		}
		for _, p := range peers {
			s := r.samples[p.name]
			if err := r.failed[p.name]; err != nil {
				fmt.Fprintf(&b, "| %s | failed: %.80s | | | | | | | |\n", p.name, err)
				continue
			}
			if len(s) == 0 {
				continue
			}
			cpu := func(s sample) float64 { return s.cpu }
			fmt.Fprintf(&b, "| %s | %.1f | %.1f | %s | %s | %.0f | %s | %s | %.1f |\n", p.name,
				least(s, cpu), median(s, cpu), ratio(base[p.name], base["haproxy"]), ratio(base[p.name], base["envoy"]),
				median(s, func(s sample) float64 { return s.rate }),
				blank(least(s, func(s sample) float64 { return s.p50 })), blank(least(s, func(s sample) float64 { return s.p99 })),
				median(s, func(s sample) float64 { return float64(s.rss) / (1 << 20) }))
		}
		b.WriteString(r.judged(peers))
	}
	return b.String()
}

// judged says what the row costs more than the one that it is judged by, as its CPU per request in multiples of that one's.
func (r *row) judged(peers []*process) string {
	if r.over == nil {
		return ""
	}
	cpu := func(s sample) float64 { return s.cpu }
	var each []string
	for _, p := range peers {
		if less, more := r.over.samples[p.name], r.samples[p.name]; len(less) > 0 && len(more) > 0 {
			each = append(each, fmt.Sprintf("%s %s (median %s)", p.name, ratio(least(more, cpu), least(less, cpu)), ratio(median(more, cpu), median(less, cpu))))
		}
	}
	if len(each) == 0 {
		return ""
	}
	return "\nOver the table before it: " + strings.Join(each, ", ") + ".\n"
}

func ratio(a, b float64) string {
	if b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", a/b)
}

func blank(v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f", v)
}

func values(s []sample, f func(sample) float64) []float64 {
	v := make([]float64, len(s))
	for i := range s {
		v[i] = f(s[i])
	}
	slices.Sort(v)
	return v
}

func least(s []sample, f func(sample) float64) float64 {
	if len(s) == 0 {
		return 0
	}
	return values(s, f)[0]
}

func median(s []sample, f func(sample) float64) float64 {
	if len(s) == 0 {
		return 0
	}
	return values(s, f)[len(s)/2]
}

// machine describes the processor and kernel that the figures hold for.
func machine() string {
	model := "unknown processor"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for _, line := range strings.Split(string(b), "\n") {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				model = strings.TrimSpace(v)
				break
			}
		}
	}
	kernel, _ := exec.Command("uname", "-r").Output()
	return fmt.Sprintf("%s, %d cores, Linux %s, %s", model, runtime.NumCPU(), bytes.TrimSpace(kernel), runtime.Version())
}

const (
	begin = "<!-- bench: begin (written by make bench) -->"
	end   = "<!-- bench: end -->"
)

// writeReport replaces the part of the file between the markers.
func writeReport(path, report string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text := string(b)
	i, j := strings.Index(text, begin), strings.Index(text, end)
	if i < 0 || j < i {
		return fmt.Errorf("%s has no place for the result: it needs the lines %q and %q", path, begin, end)
	}
	return os.WriteFile(path, []byte(text[:i+len(begin)]+"\n"+report+text[j:]), 0o644)
}
