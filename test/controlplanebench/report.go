package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// table is the results of one size.
type table struct {
	services, proxies int
	uses              int           // services that each proxy asks for on demand; 0: it is sent everything
	loaded            time.Duration // until the server was ready
	empty             int64         // its memory before the first proxy
	results           []result
	sidecar           int64 // memory of a real sidecar whose workload calls sidecarUses services; 0: not measured
}

func (t table) String() string {
	var b strings.Builder
	how := "that are sent everything"
	if t.uses > 0 {
		how = fmt.Sprintf("of Lateen's that use %d services each", t.uses)
	}
	fmt.Fprintf(&b, "\n### %d services, %d proxies %s\n\nThe control plane was ready after %.1f s, with %d MB.\n\n", t.services, t.proxies, how, t.loaded.Seconds(), t.empty>>20)
	b.WriteString("| change | proxies | first ms | median ms | last ms | at rest ms | CPU s | sent MB | messages | resident MB |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range t.results {
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %s | %.3f | %.2f | %d | %d |\n", r.name, r.proxies, ms(r.first), ms(r.median), ms(r.last), ms(r.busy),
			r.cpu.Seconds(), float64(r.bytes)/1e6, r.messages, r.resident>>20)
	}
	if t.sidecar > 0 {
		fmt.Fprintf(&b, "\nA sidecar, the program lateen-proxy, whose workload calls %d of them: %.1f MB resident.\n", sidecarUses, float64(t.sidecar)/(1<<20))
	}
	return b.String()
}

func ms(d time.Duration) string { return fmt.Sprintf("%.0f", float64(d)/float64(time.Millisecond)) }

// Marks between which the report stands in the file.
const (
	beginMark = "<!-- bench-controlplane: begin (written by make bench-controlplane) -->\n"
	endMark   = "<!-- bench-controlplane: end -->"
)

// writeReport puts the tables between the marks of a file.
func writeReport(file string, o options, tables []table) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(raw), beginMark)
	_, after, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no place for the report: it wants the lines %q and %q", file, strings.TrimSpace(beginMark), endMark)
	}
	variant := "delta"
	if o.sotw {
		variant = "state of the world"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Measured %s, %d cores, %s, %s streams; proxies and control plane share the machine.\n",
		time.Now().UTC().Format("2006-01-02 15:04 UTC"), runtime.NumCPU(), runtime.Version(), variant)
	for _, t := range tables {
		b.WriteString(t.String())
	}
	return os.WriteFile(file, []byte(before+beginMark+b.String()+endMark+after), 0o644)
}
