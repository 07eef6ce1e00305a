package differential

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestNamesOfStatistics sends one set of requests through both programs and holds the names of the statistics that
// have been used against each other. What only one of them has stands in docs/envoy-statistics.md, with the reason; a row
// there that is true no longer fails.
func TestNamesOfStatistics(t *testing.T) {
	t.Parallel()
	bins := needPrograms(t)
	table, err := readAllowed("../../docs/envoy-statistics.md")
	if err != nil {
		t.Fatal(err)
	}
	certs, err := newCertificates(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s, err := readSubject("testdata/names/all.txtar")
	if err != nil {
		t.Fatal(err)
	}
	envoy := startSide(t, "envoy", bins[0], s.config, certs)
	ours := startSide(t, "lateen", bins[1], s.config, certs)
	nothing := &allowed{}
	for _, c := range s.cases {
		// What the answers are is TestCases' affair.
		if _, err := runCase(c, c.name, envoy, ours, nothing); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
	}
	// Histograms show when the interval of statistics is over.
	var diffs []difference
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(3 * time.Second); ; <-look.C {
		diffs = compareNames(envoy.statNames(t), ours.statNames(t))
		if table.covers(diffs) || time.Now().After(deadline) {
			break
		}
	}
	for _, d := range diffs {
		if _, ok := table.reason(d); !ok {
			t.Errorf("only %s has %s", d.where, d.field)
		}
	}
	for _, u := range table.unused() {
		t.Errorf("docs/envoy-statistics.md: %s: no such name is missing any more; take it out", u)
	}
}

// statNames are the names of all statistics that have been used, with words for ports.
func (s *side) statNames(t *testing.T) []string {
	t.Helper()
	_, body, err := s.ask("GET", "/stats?usedonly")
	if err != nil {
		t.Fatalf("%s: %v", s.name, err)
	}
	n := s.normaliser()
	var out []string
	for line := range strings.Lines(body) {
		if name, _, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			out = append(out, n.text(name))
		}
	}
	slices.Sort(out)
	return out
}

// compareNames lists the names that one side has alone.
func compareNames(envoy, ours []string) (out []difference) {
	for _, n := range envoy {
		if _, has := slices.BinarySearch(ours, n); !has {
			out = append(out, difference{where: "Envoy", field: n, envoy: n})
		}
	}
	for _, n := range ours {
		if _, has := slices.BinarySearch(envoy, n); !has {
			out = append(out, difference{where: "Lateen", field: n, ours: n})
		}
	}
	return out
}
