package cluster

import (
	"strings"
	"testing"
	"time"
)

// degraded feeds a response with x-envoy-degraded.
func (b *bench) degraded(host, code int) {
	b.locals[host].OnResult(Result{Code: code, Degraded: true})
}

func newDegradeBench(events *strings.Builder) *bench {
	c := defaults()
	c.DetectDegraded, c.MaxEjectionTime = true, 70*time.Second
	b := newBench(2, c)
	b.notify = func(h *Host, why cause) {
		b.notified = append(b.notified, why)
		b.degrade(h, b.now)
	}
	b.event = func(e *outlierEvent) { events.Write(e.line("c")) }
	return b
}

// lasts is how many intervals of 10 s a host stays degraded.
func (b *bench) lasts(host int) int {
	n := 0
	for ; b.hosts[host].state() == stateDegraded; n++ {
		b.tick(1)
	}
	return n
}

// TestDegradedHosts: times grow with each finding and shrink with each quiet interval, apart from those of ejections.
func TestDegradedHosts(t *testing.T) {
	var events strings.Builder
	b := newDegradeBench(&events)
	b.degraded(0, 200)
	b.degraded(0, 200)
	if h := b.hosts[0]; h.state() != stateDegraded || h.Ejected() || strings.Join(h.HealthFlags(), "") != "degraded_outlier_detection" {
		t.Fatalf("flags %v", h.HealthFlags())
	}
	if len(b.notified) != 1 || b.counts[EjectionsDetectedDegradation] != 1 || b.counts[EjectionsTotal] != 0 || b.hosts[0].ejections != 0 {
		t.Errorf("notified %v, counts %v", b.notified, b.counts)
	}
	for i, want := range []int{3, 6, 7, 7} { // 30 s, 60 s, and 70 s at most
		if i > 0 {
			b.degraded(0, 200)
		}
		if got := b.lasts(0); got != want {
			t.Errorf("time %d: %d intervals, want %d", i, got, want)
		}
	}
	b.tick(4)
	b.degraded(0, 200)
	if got := b.lasts(0); got != 3 {
		t.Errorf("after quiet intervals it lasts %d", got)
	}
	for _, want := range []string{`"type":"DEGRADED"`, `"action":"EJECT"`, `"action":"UNEJECT"`, `"enforced":true`, `"num_ejections":0`} {
		if !strings.Contains(events.String(), want) {
			t.Errorf("no %s in %s", want, events.String())
		}
	}
}

// TestDegradedOnlyWhereAsked: an answer that is an error is no sign, and without the field none is.
func TestDegradedOnlyWhereAsked(t *testing.T) {
	b := newDegradeBench(&strings.Builder{})
	b.degraded(0, 503)
	b.cfg.DetectDegraded = false
	b.degraded(1, 200)
	if len(b.notified) != 0 {
		t.Errorf("notified %v", b.notified)
	}
}
