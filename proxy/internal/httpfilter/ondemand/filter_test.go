package ondemand

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	ondemandv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/on_demand/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lateen-mesh/lateen/proxy/internal/eventloop"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/route"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// clusters knows "here" and writes down what it is asked for.
type clusters struct {
	asked     []string
	source    xdsresource.ConfigSource
	done      func(bool)
	cancelled int
}

func (c *clusters) Known(_ *eventloop.Loop, name string) bool { return name == "here" }

func (c *clusters) Want(src xdsresource.ConfigSource, name string, _ *eventloop.Loop, done func(bool)) func() {
	c.asked, c.source, c.done = append(c.asked, name), src, done
	return func() { c.cancelled++ }
}

// stream is as much of a stream as the filter uses.
type stream struct {
	httpfilter.Stream
	table     *route.Table
	target    *route.Target
	head      *header.Map
	renewed   int
	lacks     string // a route configuration
	own       any
	continued int
}

func (s *stream) Routes() *route.Table { return s.table }
func (s *stream) LacksRoutes() (*xdsresource.ScopedRoutes, string) {
	if s.renewed > 0 {
		return nil, ""
	}
	return nil, s.lacks
}
func (s *stream) RenewRoutes()                { s.renewed++ }
func (s *stream) RequestHeaders() *header.Map { return s.head }
func (s *stream) Target() *route.Target       { return s.target }
func (s *stream) FilterConfig() any           { return s.own }
func (s *stream) ContinueRequest()            { s.continued++ }

var (
	ads  = xdsresource.ConfigSource{}
	grpc = xdsresource.ConfigSource{Cluster: "xds", Delta: true}
	on   = &Config{Enabled: true, Source: ads, Timeout: time.Second}
)

// hosts writes down what it is asked for.
type hosts struct {
	asked     []string
	done      func(bool)
	cancelled int
}

func (h *hosts) WantHost(rc *xdsresource.RouteConfig, host string, _ *eventloop.Loop, done func(bool)) func() {
	h.asked, h.done = append(h.asked, rc.Name+"/"+host), done
	return func() { h.cancelled++ }
}

func (h *hosts) WantRoutes(_ *xdsresource.ScopedRoutes, name string, _ *eventloop.Loop, done func(bool)) func() {
	h.asked, h.done = append(h.asked, name), done
	return func() { h.cancelled++ }
}

type fixture struct {
	h *hosts

	*filter
	loop *eventloop.Loop
	now  time.Time
	c    *clusters
}

func newFixture(t *testing.T, cfg *Config) *fixture {
	t.Helper()
	l, err := eventloop.New(0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	x := &fixture{loop: l, now: time.Unix(1, 0), c: &clusters{}, h: &hosts{}}
	l.SetClock(func() time.Time { return x.now })
	l.UpdateNow()
	x.filter = New(cfg, x.c, x.h, x.h).NewFilter(l).(*filter)
	return x
}

// pass lets time pass and runs what is due.
func (x *fixture) pass(t *testing.T, d time.Duration) {
	t.Helper()
	x.now = x.now.Add(d)
	if err := x.loop.Poll(); err != nil {
		t.Fatal(err)
	}
}

func TestWhoWaits(t *testing.T) {
	byHeader := &route.Target{ClusterHeader: header.KeyOf("x-to")}
	for name, test := range map[string]struct {
		cfg    *Config
		own    any
		target *route.Target
		to     string // x-to
		want   string // what is asked for
		source xdsresource.ConfigSource
	}{
		"known":                    {on, nil, &route.Target{Cluster: "here"}, "", "", ads},
		"unknown":                  {on, nil, &route.Target{Cluster: "far"}, "", "far", ads},
		"no route to a cluster":    {on, nil, nil, "", "", ads},
		"by header":                {on, nil, byHeader, "far", "far", ads},
		"by header, known":         {on, nil, byHeader, "here", "", ads},
		"by a header that is none": {on, nil, byHeader, "", "", ads},
		"off":                      {&Config{}, nil, &route.Target{Cluster: "far"}, "", "", ads},
		"off by the route":         {on, &Config{}, &route.Target{Cluster: "far"}, "", "", ads},
		"on by the route":          {&Config{}, &Config{Enabled: true, Source: grpc}, &route.Target{Cluster: "far"}, "", "far", grpc},
	} {
		t.Run(name, func(t *testing.T) {
			x := newFixture(t, test.cfg)
			h := &header.Map{}
			if test.to != "" {
				h.AddName("x-to", []byte(test.to))
			}
			status := x.OnRequestHeaders(&stream{target: test.target, own: test.own, head: h}, h, true)
			if got := strings.Join(x.c.asked, ","); got != test.want || x.c.source != test.source {
				t.Errorf("asked %+v for %q, want %+v for %q", x.c.source, got, test.source, test.want)
			}
			if stopped := status == httpfilter.Stop; stopped != (test.want != "") {
				t.Errorf("status %d", status)
			}
		})
	}
}

// TestGoesOn: a request goes on once, by what comes first, and the filter serves the next one.
func TestGoesOn(t *testing.T) {
	x := newFixture(t, on)
	for name, test := range map[string]struct {
		happens              func(*stream)
		continued, cancelled int
	}{
		"found":    {func(*stream) { x.c.done(true) }, 1, 0},
		"none":     {func(*stream) { x.c.done(false) }, 1, 0},
		"time-out": {func(*stream) { x.pass(t, time.Second+time.Millisecond) }, 1, 1},
		"early":    {func(*stream) { x.pass(t, 900*time.Millisecond) }, 0, 1}, // cancelled by the end
		"ends":     {func(*stream) {}, 0, 1},
	} {
		s := &stream{target: &route.Target{Cluster: "far"}, head: &header.Map{}}
		x.c.cancelled = 0
		if x.OnRequestHeaders(s, &header.Map{}, true) != httpfilter.Stop {
			t.Fatalf("%s: not stopped", name)
		}
		test.happens(s)
		x.OnComplete(s)
		x.pass(t, 2*time.Second)
		if s.continued != test.continued || x.c.cancelled != test.cancelled {
			t.Errorf("%s: continued %d times, cancelled %d times, want %d and %d", name, s.continued, x.c.cancelled, test.continued, test.cancelled)
		}
		if x.timer.Armed() || x.s != nil {
			t.Errorf("%s: the filter keeps something of the stream", name)
		}
	}
}

// TestHosts: a request waits for its virtual host where the routes are asked for hosts, and then for the cluster that it leads to.
func TestHosts(t *testing.T) {
	table, err := route.Compile(&xdsresource.RouteConfig{
		Name: "rc", VHDS: &xdsresource.ConfigSource{}, VirtualHosts: []*xdsresource.VirtualHost{{Name: "here", Domains: []string{"here"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		host, asked string
		happens     func(*fixture, *stream)
		want        string
	}{
		"there":             {"here", "", func(*fixture, *stream) {}, "renewed 0, continued 0, cancelled 0 and 0"},
		"found, no cluster": {"A:80", "rc/a:80", func(x *fixture, _ *stream) { x.h.done(true) }, "renewed 1, continued 1, cancelled 0 and 0"},
		"none":              {"a", "rc/a", func(x *fixture, _ *stream) { x.h.done(false) }, "renewed 0, continued 1, cancelled 0 and 0"},
		"time-out":          {"a", "rc/a", func(x *fixture, _ *stream) { x.pass(t, 6*time.Second) }, "renewed 0, continued 1, cancelled 1 and 0"},
		"ends":              {"a", "rc/a", func(*fixture, *stream) {}, "renewed 0, continued 0, cancelled 1 and 0"},
		"then the cluster":  {"a", "rc/a", func(x *fixture, s *stream) { s.target = &route.Target{Cluster: "far"}; x.h.done(true); x.c.done(true) }, "renewed 1, continued 1, cancelled 0 and 0"},
		"the cluster late": {"a", "rc/a", func(x *fixture, s *stream) {
			s.target = &route.Target{Cluster: "far"}
			x.h.done(true)
			x.pass(t, 2*time.Second)
		}, "renewed 1, continued 1, cancelled 0 and 1"},
		"of something else":  {"x/a", "", func(*fixture, *stream) {}, "renewed 0, continued 0, cancelled 0 and 0"},
		"too long to be one": {strings.Repeat("a", 300), "", func(*fixture, *stream) {}, "renewed 0, continued 0, cancelled 0 and 0"},
	} {
		x := newFixture(t, on)
		h := &header.Map{}
		h.Set(header.Authority, []byte(test.host))
		s := &stream{table: table, head: h}
		status := x.OnRequestHeaders(s, h, true)
		if got := strings.Join(x.h.asked, ","); got != test.asked || (status == httpfilter.Stop) != (test.asked != "") {
			t.Errorf("%s: asked for %q, status %d", name, got, status)
		}
		test.happens(x, s)
		x.OnComplete(s)
		x.pass(t, 10*time.Second)
		if got := fmt.Sprintf("renewed %d, continued %d, cancelled %d and %d", s.renewed, s.continued, x.h.cancelled, x.c.cancelled); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

// TestRoutes: a request waits for the routes of its scope, and then for the cluster that they lead to.
func TestRoutes(t *testing.T) {
	x := newFixture(t, on)
	s := &stream{lacks: "rc", head: &header.Map{}, target: &route.Target{Cluster: "far"}}
	if x.OnRequestHeaders(s, s.head, true) != httpfilter.Stop || fmt.Sprint(x.h.asked) != "[rc]" || x.c.asked != nil {
		t.Fatalf("asked for %v and %v", x.h.asked, x.c.asked)
	}
	x.h.done(true)
	if s.renewed != 1 || s.continued != 0 || fmt.Sprint(x.c.asked) != "[far]" {
		t.Errorf("renewed %d, continued %d, asked for %v", s.renewed, s.continued, x.c.asked)
	}
	x.c.done(true)
	if s.continued != 1 {
		t.Errorf("continued %d times", s.continued)
	}
}

func TestConfig(t *testing.T) {
	source := func(s *corev3.ConfigSource) *ondemandv3.OnDemandCds { return &ondemandv3.OnDemandCds{Source: s} }
	overADS := &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}
	overGRPC := &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
		ApiType: corev3.ApiConfigSource_DELTA_GRPC,
		GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
			EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "xds"},
		}}},
	}}}
	file := &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_PathConfigSource{PathConfigSource: &corev3.PathConfigSource{Path: "/dev/null"}}}
	for name, test := range map[string]struct {
		odcds *ondemandv3.OnDemandCds
		want  Config
		err   string
	}{
		"none":             {nil, Config{Timeout: 5 * time.Second}, ""},
		"ads":              {source(overADS), Config{true, ads, 5 * time.Second}, ""},
		"grpc":             {&ondemandv3.OnDemandCds{Source: overGRPC, Timeout: durationpb.New(time.Minute)}, Config{true, grpc, time.Minute}, ""},
		"no source":        {source(nil), Config{}, "odcds.source: is required"},
		"file":             {source(file), Config{}, "odcds.source: a file cannot be asked"},
		"resource locator": {&ondemandv3.OnDemandCds{Source: overADS, ResourcesLocator: "xdstp://a/b"}, Config{}, "odcds.resources_locator: this field is not supported"},
	} {
		for kind, read := range map[string]func() (any, error){
			"filter": func() (any, error) { return ParseConfig(nil, pack(t, &ondemandv3.OnDemand{Odcds: test.odcds})) },
			"route": func() (any, error) {
				return ParseRouteConfig(nil, pack(t, &ondemandv3.PerRouteConfig{Odcds: test.odcds}))
			},
		} {
			got, err := read()
			switch {
			case test.err != "":
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("%s, %s: error %v, want %q", name, kind, err, test.err)
				}
			case err != nil:
				t.Errorf("%s, %s: %v", name, kind, err)
			case *got.(*Config) != test.want:
				t.Errorf("%s, %s: %+v, want %+v", name, kind, got, test.want)
			}
		}
	}
}

func pack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
