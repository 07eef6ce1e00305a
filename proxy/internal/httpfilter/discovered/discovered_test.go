package discovered

import (
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
)

// maker makes filters that write down what they are called with.
type maker struct {
	name string
	log  *[]string
	made int
	// of says which kind; nil: one that implements everything.
	of func(*whole) httpfilter.Filter
}

func (m *maker) NewFilter(*eventloop.Loop) httpfilter.Filter {
	m.made++
	w := &whole{m}
	if m.of != nil {
		return m.of(w)
	}
	return w
}

type whole struct{ *maker }

func (w *whole) note(what string) httpfilter.Status {
	*w.log = append(*w.log, w.name+" "+what)
	return httpfilter.Continue
}

func (w *whole) OnRequestHeaders(httpfilter.Stream, *header.Map, bool) httpfilter.Status {
	return w.note("request")
}
func (w *whole) OnRequestData(httpfilter.Stream, *httpfilter.Data, bool) httpfilter.Status {
	return w.note("request data")
}
func (w *whole) OnRequestTrailers(httpfilter.Stream, *header.Map) httpfilter.Status {
	return w.note("request trailers")
}
func (w *whole) OnResponseHeaders(httpfilter.Stream, *header.Map, bool) httpfilter.Status {
	return w.note("response")
}
func (w *whole) OnResponseData(httpfilter.Stream, *httpfilter.Data, bool) httpfilter.Status {
	return w.note("response data")
}
func (w *whole) OnResponseTrailers(httpfilter.Stream, *header.Map) httpfilter.Status {
	return w.note("response trailers")
}
func (w *whole) OnComplete(httpfilter.Stream) { w.note("complete") }

// holder wants the body whole, and has no method to see it.
type holder struct{}

func (holder) OnRequestHeaders(httpfilter.Stream, *header.Map, bool) httpfilter.Status {
	return httpfilter.Buffer
}

// replies is a stream that keeps its answer.
type replies struct {
	httpfilter.Stream
	got httpfilter.Reply
}

func (r *replies) Reply(p httpfilter.Reply) { r.got = p }

func through(f *filter, s httpfilter.Stream) {
	f.OnRequestHeaders(s, nil, false)
	f.OnRequestData(s, nil, false)
	f.OnRequestTrailers(s, nil)
	f.OnResponseHeaders(s, nil, false)
	f.OnResponseData(s, nil, false)
	f.OnResponseTrailers(s, nil)
	f.OnComplete(s)
}

// TestVersions: a stream keeps the filter that it began with, and a version is given back when the last stream that has it is over.
func TestVersions(t *testing.T) {
	var log []string
	var gone []string
	slot := &Slot{}
	set := func(name string) *maker {
		m := &maker{name: name, log: &log}
		slot.Set(m, func() { gone = append(gone, name) })
		return m
	}
	first := set("one")
	f, other := slot.NewFilter(nil).(*filter), slot.NewFilter(nil).(*filter)
	through(f, nil)
	through(f, nil)
	want := "one request, one request data, one request trailers, one response, one response data, one response trailers, one complete"
	if got := strings.Join(log, ", "); got != want+", "+want || first.made != 1 {
		t.Errorf("made %d, called %s", first.made, got)
	}
	log = nil
	f.OnRequestHeaders(nil, nil, false)
	other.OnRequestHeaders(nil, nil, false)
	set("two")
	f.OnResponseHeaders(nil, nil, false)
	f.OnComplete(nil)
	if len(gone) != 0 {
		t.Errorf("%v are given back while a stream has them", gone)
	}
	other.OnComplete(nil)
	if !slices.Equal(gone, []string{"one"}) {
		t.Errorf("%v are given back, want one", gone)
	}
	f.OnRequestHeaders(nil, nil, false)
	f.OnComplete(nil)
	if got := strings.Join(log, ", "); got != "one request, one request, one response, one complete, one complete, two request, two complete" {
		t.Errorf("called %s", got)
	}
	slot.Clear()
	if !slices.Equal(gone, []string{"one", "two"}) {
		t.Errorf("%v are given back", gone)
	}
}

// TestMissing: without a configuration a request is refused and its response passes; one that comes is for the next stream.
func TestMissing(t *testing.T) {
	var log []string
	slot := &Slot{}
	f := slot.NewFilter(nil).(*filter)
	s := &replies{}
	if st := f.OnRequestHeaders(s, nil, false); st != httpfilter.Stop || s.got.Code != 500 || s.got.Flags != streaminfo.NoFilterConfigFound {
		t.Errorf("status %v, reply %+v", st, s.got)
	}
	slot.Set(&maker{name: "late", log: &log}, nil)
	if f.OnRequestData(s, nil, true) != httpfilter.Continue || f.OnResponseHeaders(s, nil, true) != httpfilter.Continue || f.OnResponseData(s, nil, true) != httpfilter.Continue {
		t.Error("a refused stream is held up")
	}
	f.OnComplete(s)
	if len(log) != 0 {
		t.Errorf("%v were called", log)
	}
	through(f, s)
	if len(log) != 7 {
		t.Errorf("%v were called", log)
	}
}

// TestFiltersOfFewMethods: what a filter does not implement passes, and one that buffers without looking gets what it wants.
func TestFiltersOfFewMethods(t *testing.T) {
	var log []string
	slot := &Slot{}
	slot.Set(&maker{name: "few", log: &log, of: func(w *whole) httpfilter.Filter { return struct{ httpfilter.ResponseHeaders }{w} }}, nil)
	f := slot.NewFilter(nil).(*filter)
	through(f, nil)
	if strings.Join(log, ", ") != "few response" {
		t.Errorf("%v were called", log)
	}
	slot.Set(&maker{log: &log, of: func(*whole) httpfilter.Filter { return holder{} }}, nil)
	if f.OnRequestHeaders(nil, nil, false) != httpfilter.Buffer || f.OnRequestData(nil, nil, false) != httpfilter.Buffer || f.OnRequestData(nil, nil, true) != httpfilter.Continue {
		t.Error("the body does not wait until it is whole")
	}
	f.OnComplete(nil)
}

func TestAllocations(t *testing.T) {
	slot := &Slot{}
	slot.Set(&maker{of: func(*whole) httpfilter.Filter { return holder{} }}, nil)
	f := slot.NewFilter(nil).(*filter)
	through(f, nil)
	if n := testing.AllocsPerRun(100, func() { through(f, nil) }); n != 0 {
		t.Errorf("%v allocations for a stream", n)
	}
}
