package differential

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var reportFile = flag.String("report", "", "file that gets every difference, the allowed ones with their reasons")

// How long a busy machine may take. A case goes on as soon as it has what it waits for, so that only
// one that fails waits to the end.
const (
	settle     = 2 * time.Second        // after the client is gone, until the two sides agree: counters come a little later
	logsComeIn = 5 * time.Second        // log lines and requests
	leave      = 400 * time.Millisecond // a client's connection, which a case may leave open for good
	again      = 2                      // how often a case is played once more in which connections ended otherwise
	againLater = 5                      // or in which the machine had no time for a proxy
	stalled    = 10 * time.Millisecond  // so long: pauses and delays of cases are some ten times that
	letGo      = 20 * time.Second       // connections to origins that closed them
)

// report collects what all subjects found.
type report struct {
	mu    sync.Mutex
	text  strings.Builder
	cases int
	stays int
}

func (r *report) add(d difference, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(&r.text, "%v\n      %s\n", d, reason)
	if reason != "" {
		r.stays++
	}
}

func (r *report) count() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cases++
}

// TestCases runs every case of testdata against both proxies.
func TestCases(t *testing.T) {
	bins := needPrograms(t)
	table, err := readAllowed("../../docs/envoy-differences.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	certs, err := newCertificates(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var rep report
	var mu sync.Mutex
	ran := 0
	t.Run("subject", func(t *testing.T) {
		for _, f := range files {
			s, err := readSubject(f)
			if err != nil {
				t.Fatal(err)
			}
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				runSubject(t, s, bins, certs, table, &rep)
				mu.Lock()
				defer mu.Unlock()
				ran++
			})
		}
	})
	t.Logf("%d cases; %d differences that stay", rep.cases, rep.stays)
	if *reportFile != "" {
		if err := os.WriteFile(*reportFile, []byte(rep.text.String()), 0o644); err != nil {
			t.Error(err)
		}
	}
	if ran < len(files) || t.Failed() || testing.Short() {
		return // only a whole run tells what occurs no longer
	}
	for _, u := range table.unused() {
		t.Errorf("docs/envoy-differences.md: %s: this difference occurs no longer; take it out", u)
	}
}

func runSubject(t *testing.T, s *subject, bins [2]string, certs *certificates, table *allowed, rep *report) {
	envoy := startSide(t, "envoy", bins[0], s.config, certs)
	ours := startSide(t, "lateen", bins[1], s.config, certs)
	for _, c := range s.cases {
		t.Run(c.name, func(t *testing.T) {
			where := s.name + ": " + c.name
			rep.count()
			play := func() ([]difference, time.Duration, error) {
				before := [2]time.Duration{envoy.waited(), ours.waited()}
				diffs, err := runCase(c, where, envoy, ours, table)
				return diffs, max(envoy.waited()-before[0], ours.waited()-before[1]), err
			}
			diffs, waited, err := play()
			// Whether a client reads the end of a connection or a reset that overtakes it is a matter of time; and of two requests at once the other
			// comes first where a proxy had to wait for a processor. All else has to be the same at once.
			for n := range againLater {
				ends := n < again && table.coversBut(diffs, "connection")
				if err != nil || table.covers(diffs) || !ends && waited < stalled {
					break
				}
				t.Logf("%s: played again, a proxy waited %v for a processor: %v", c.name, waited, diffs)
				diffs, waited, err = play()
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range diffs {
				reason, ok := table.reason(d)
				rep.add(d, reason)
				if ok {
					t.Logf("stays: %v\n      %s", d, reason)
					continue
				}
				t.Errorf("%v", d)
			}
		})
	}
}

// runCase plays a case on both sides at once and compares when both have settled.
func runCase(c *testCase, where string, envoy, ours *side, table *allowed) ([]difference, error) {
	if c.publish != "" {
		list, ok := envoy.place.updates[c.publish]
		if !ok {
			return nil, fmt.Errorf("there is no update %q", c.publish)
		}
		if err := publishAll([2]*side{envoy, ours}, list); err != nil {
			return nil, err
		}
	}
	if c.admin != nil {
		e, err := envoy.observeAdmin(c.admin)
		if err != nil {
			return nil, fmt.Errorf("envoy: %w", err)
		}
		o, err := ours.observeAdmin(c.admin)
		if err != nil {
			return nil, fmt.Errorf("lateen: %w", err)
		}
		return compare(where, e, o), nil
	}
	sides := [2]*side{envoy, ours}
	var got [2]seen
	var errs [2]error
	var wg sync.WaitGroup
	for i, s := range sides {
		if s.place.ports[c.to] == 0 {
			return nil, fmt.Errorf("there is no listener %q", c.to)
		}
		if err := s.begin(c); err != nil {
			return nil, err
		}
		wg.Go(func() {
			got[i], errs[i] = c.play(fmt.Sprintf("127.0.0.1:%d", s.place.ports[c.to]), s.place.certs)
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("%s: %w", sides[i].name, err)
		}
	}
	begin, tick := time.Now(), time.Tick(10*time.Millisecond)
	complete := time.Time{}
	for {
		if complete.IsZero() && (hasSettled(c, envoy) && hasSettled(c, ours) || time.Since(begin) > logsComeIn) {
			complete = time.Now()
		}
		if !complete.IsZero() {
			e, err := envoy.observe(c, &got[0])
			if err != nil {
				return nil, err
			}
			o, err := ours.observe(c, &got[1])
			if err != nil {
				return nil, err
			}
			diffs := compare(where, e, o)
			if table.covers(diffs) || time.Since(complete) > settle {
				return diffs, nil
			}
		}
		<-tick
	}
}

// hasSettled reports whether a side has shown as many log lines and upstream requests as the case
// waits for.
func hasSettled(c *testCase, s *side) bool {
	logs := c.logs
	if s.name == "envoy" {
		logs = c.envoyLogs
	}
	if len(s.logLines()) < logs {
		return false
	}
	for n, want := range c.requests {
		if o := s.origins[n]; o == nil || len(o.seen()) < want {
			return false
		}
	}
	return true
}
