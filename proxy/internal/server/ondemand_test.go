package server

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/bootstrap"
	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// newTestOnDemand returns an onDemand without a control plane, and what its control loop and its one
// event loop do next.
func newTestOnDemand(t *testing.T) (o *onDemand, l *eventloop.Loop, run func()) {
	t.Helper()
	l, err := eventloop.New(0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	s := &Server{boot: &bootstrap.Bootstrap{ADS: &bootstrap.GRPCSource{}}, control: newControl()}
	s.sources, s.clusterSet = &sources{s: s}, newClusterSet(s)
	s.onDemand = newOnDemand(s)
	return s.onDemand, l, func() {
		work := s.control.work
		s.control.work = nil
		for _, f := range work {
			f()
		}
		if err := l.Poll(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOnDemandBound: clusters beyond the bound are answered at once, until others are given up.
func TestOnDemandBound(t *testing.T) {
	o, l, run := newTestOnDemand(t)
	ads, answers := xdsresource.ConfigSource{}, 0
	done := func(found bool) {
		answers++
		if found {
			t.Error("found")
		}
	}
	var cancel func()
	for i := range maxWaited {
		cancel = o.Want(ads, fmt.Sprint(i), l, done)
	}
	o.Want(ads, "0", l, done) // shares
	if run(); answers != 0 || len(o.waited) != maxWaited {
		t.Fatalf("%d answers, %d are waited for", answers, len(o.waited))
	}
	o.Want(ads, "more", l, done)
	if run(); answers != 1 {
		t.Errorf("%d answers beyond the bound, want 1", answers)
	}
	cancel()
	o.Want(ads, "more", l, done)
	if run(); answers != 1 || o.waited["more"] == nil {
		t.Errorf("%d answers, want 1: there is room again", answers)
	}
	o.gone("0")
	if run(); answers != 3 {
		t.Errorf("%d answers, want 3: two have waited for the cluster that is gone", answers)
	}
}

// TestOnDemandCancelled: a request that ends while its answer is on the way is not told.
func TestOnDemandCancelled(t *testing.T) {
	o, l, run := newTestOnDemand(t)
	cancel := o.Want(xdsresource.ConfigSource{}, "c", l, func(bool) { t.Error("told") })
	run()
	o.gone("c")
	cancel()
	if run(); len(o.waited) != 0 {
		t.Error("still waited for")
	}
}

// TestOnDemandTakes: what comes for a name that was given back is not kept, nor what another source brings.
func TestOnDemandTakes(t *testing.T) {
	o, l, run := newTestOnDemand(t)
	ads, other := xdsresource.ConfigSource{}, xdsresource.ConfigSource{Cluster: "other"}
	if o.takes(ads, "c") {
		t.Error("takes what nobody asked for")
	}
	cancel := o.Want(ads, "c", l, func(bool) {})
	if run(); !o.takes(ads, "c") || o.takes(other, "c") {
		t.Error("takes from where it was not asked, or not from where it was")
	}
	cancel()
	if run(); o.takes(ads, "c") {
		t.Error("takes what was given back")
	}
	o.s.boot.CDS = &other
	if !o.takes(other, "d") {
		t.Error("does not take from the source of all clusters")
	}
}
