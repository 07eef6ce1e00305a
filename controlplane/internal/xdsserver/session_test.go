package xdsserver

import (
	"fmt"
	"strings"
	"testing"
	"time"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/goleak"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdscache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeView holds resources by type and name.
type fakeView struct {
	version uint64
	types   map[string]*xdscache.Set
}

func (v *fakeView) Version() uint64 { return v.version }

func (v *fakeView) Resources(_ *xdscache.Proxy, typeURL string, sub xdscache.Subscription) *xdscache.Set {
	if sub.All {
		return v.types[typeURL]
	}
	return v.types[typeURL].Select(sub.Names)
}

var short = map[string]string{"cds": TypeCluster, "eds": TypeEndpoint, "lds": TypeListener, "rds": TypeRoute, "vhds": TypeHost}

// view reads "cds:a=1,b=1 lds:l=1": types with resources and their content. A cluster whose content is "eds" needs endpoints of its name.
func view(version uint64, text string) *fakeView {
	v := &fakeView{version: version, types: map[string]*xdscache.Set{}}
	for _, part := range strings.Fields(text) {
		name, list, _ := strings.Cut(part, ":")
		var res []*xdscache.Resource
		for _, item := range strings.Split(list, ",") {
			if n, content, ok := strings.Cut(item, "="); ok {
				r := xdscache.FromValue(n, short[name], []byte(content))
				if name == "cds" && content == "eds" {
					r.Endpoints = n
				}
				res = append(res, r)
			}
		}
		v.types[short[name]] = xdscache.NewSet(res)
	}
	return v
}

// harness plays one session and prints what it sends.
type harness struct {
	t    *testing.T
	s    *session
	now  time.Time
	last map[string]string // nonces by type
}

func newHarness(t *testing.T, sotw bool, v View) *harness {
	now := time.Unix(1000, 0)
	return &harness{t: t, s: newSession(xdscache.NewProxy(&model.Proxy{}), v, sotw, &xdscache.NameTable{}, 5*time.Second, now), now: now, last: map[string]string{}}
}

// out returns everything that the session sends now, as "cds[a b -c]" words.
func (h *harness) out() string {
	var words []string
	for {
		r := h.s.send(h.now)
		if r == nil {
			return strings.Join(words, " ")
		}
		var items []string
		for _, res := range r.res {
			items = append(items, res.Name)
		}
		for _, name := range r.removed {
			items = append(items, "-"+name)
		}
		name := shortType(r.watch.typeURL)
		h.last[name] = r.nonce
		words = append(words, name+"["+strings.Join(items, " ")+"]")
	}
}

func (h *harness) req(name string, change func(*request)) {
	h.t.Helper()
	r := request{typeURL: short[name]}
	change(&r)
	if err := h.s.request(r); err != nil {
		h.t.Fatal(err)
	}
}

// do runs one command of a script and returns what was sent in answer.
//
//	sub TYPE [NAME...]      delta: subscribe (the first without names is the wildcard); "-NAME" unsubscribes; "NAME@VERSION" states what it has
//	want TYPE [NAME...]     SotW: the whole subscription, acknowledging the last response
//	ack TYPE / nack TYPE    answer the last response
//	view VERSION RESOURCES  offer a view
//	wait SECONDS            let time pass
func (h *harness) do(line string) string {
	h.t.Helper()
	f := strings.Fields(line)
	switch f[0] {
	case "sub":
		h.req(f[1], func(r *request) {
			for _, n := range f[2:] {
				if name, version, ok := strings.Cut(n, "@"); ok {
					r.initial = append(r.initial, xdscache.Stated{Name: name, Version: version})
				} else if name, ok := strings.CutPrefix(n, "-"); ok {
					r.unsubscribe = append(r.unsubscribe, name)
				} else {
					r.subscribe = append(r.subscribe, n)
				}
			}
		})
	case "want":
		h.req(f[1], func(r *request) { r.nonce = h.last[f[1]]; r.names = f[2:] })
	case "ack", "nack":
		h.req(f[1], func(r *request) {
			r.nonce = h.last[f[1]]
			if f[0] == "nack" {
				r.refusal = "bad"
			}
			if w := h.s.watch(r.typeURL); w.sotw {
				r.names = w.names.All()
			}
		})
	case "view":
		var n uint64
		fmt.Sscan(f[1], &n)
		h.s.offer(view(n, strings.Join(f[2:], " ")))
	case "wait":
		var n int
		fmt.Sscan(f[1], &n)
		h.now = h.now.Add(time.Duration(n) * time.Second)
	default:
		h.t.Fatalf("unknown command %q", line)
	}
	return h.out()
}

// scripts are "command => what is sent", one a line.
func TestSessionScripts(t *testing.T) {
	version := func(typ, content string) string { return xdscache.FromValue("x", short[typ], []byte(content)).Version }
	tests := []struct {
		name, start string
		sotw        bool
		script      string
	}{
		{name: "delta first contact in Envoy's order", start: "cds:a=1,b=1 eds:a=1,b=1 lds:l=1 rds:80=1,81=1", script: `
			sub cds => cds[a b]
			sub eds a b => eds[a b]
			sub lds =>
			ack cds =>
			ack eds => lds[l]
			sub rds 80 => rds[80]
			ack lds =>
			ack rds =>`},
		{name: "delta: a route waits for its cluster and endpoints, a cluster goes when its route is gone", start: "cds:a=1 eds:a=1,b=1 lds:l=1 rds:80=a", script: `
			sub cds => cds[a]
			ack cds =>
			sub eds a => eds[a]
			ack eds =>
			sub lds => lds[l]
			ack lds =>
			sub rds 80 => rds[80]
			ack rds =>
			view 2 cds:b=1 eds:b=1 lds:l=1 rds:80=b => cds[b]
			sub eds b => eds[b]
			ack eds =>
			ack cds => rds[80]
			ack rds => cds[-a]
			sub eds -a =>
			ack cds =>`},
		{name: "delta: a route waits until the endpoints of a new cluster are asked for", start: "cds:a=eds eds:a=1,b=1,c=1 lds:l=1 rds:80=a", script: `
			sub cds => cds[a]
			ack cds =>
			sub lds =>
			sub eds a => eds[a]
			ack eds => lds[l]
			ack lds =>
			sub rds 80 => rds[80]
			ack rds =>
			view 2 cds:a=eds,b=eds eds:a=1,b=1,c=1 lds:l=1 rds:80=b => cds[b]
			ack cds =>
			sub eds b => eds[b]
			ack eds => rds[80]
			ack rds =>
			view 3 cds:a=eds,b=eds,c=eds eds:a=1,b=1,c=1 lds:l=1 rds:80=c => cds[c]
			ack cds =>
			wait 2 => rds[80]
			ack rds =>`},
		{name: "delta: a cluster that comes back under a subscription that was not taken back in time", start: "cds:a=eds,b=eds eds:a=1,b=1 lds:l=1 rds:80=b", script: `
			sub cds => cds[a b]
			sub eds a b => eds[a b]
			ack cds =>
			ack eds =>
			sub lds => lds[l]
			ack lds =>
			sub rds 80 => rds[80]
			ack rds =>
			view 2 cds:a=eds eds:a=1 lds:l=1 rds:80=a => rds[80]
			ack rds => cds[-b]
			view 3 cds:a=eds,b=eds eds:a=1,b=1 lds:l=1 rds:80=b => eds[b]
			ack cds =>
			sub eds -b =>
			ack eds => cds[b]
			ack cds =>
			sub eds b => eds[b]
			ack eds => rds[80]
			ack rds =>`},
		{name: "delta: endpoints that are gone are removed after their cluster", start: "cds:a=1 eds:a=1 lds:l=1 rds:80=a", script: `
			sub cds => cds[a]
			ack cds =>
			sub eds a => eds[a]
			ack eds =>
			sub lds => lds[l]
			ack lds =>
			sub rds 80 => rds[80]
			ack rds =>
			view 2 lds:l=1 rds:80=b => rds[80]
			ack rds => cds[-a]
			ack cds => eds[-a]
			ack eds =>`},
		{name: "delta: endpoints of a cluster that goes stay until routes have left it", start: "cds:a=1 eds:a=1,b=1 lds:l=1 rds:80=a", script: `
			sub cds => cds[a]
			ack cds =>
			sub eds a => eds[a]
			ack eds =>
			sub lds => lds[l]
			ack lds =>
			sub rds 80 => rds[80]
			ack rds =>
			view 2 cds:b=1 eds:a=none,b=1 lds:l=1 rds:80=b => cds[b]
			sub eds b => eds[b]
			ack eds =>
			ack cds => rds[80]
			ack rds => cds[-a]
			ack cds => eds[a]
			ack eds =>
			view 3 cds:b=1 eds:a=none,b=2 lds:l=1 rds:80=b => eds[b]`},
		{name: "delta: views that come in between wait, and only the last counts", start: "cds:a=1 lds:l=1 rds:80=1", script: `
			sub cds => cds[a]
			ack cds =>
			sub lds => lds[l]
			ack lds =>
			sub rds 80 => rds[80]
			ack rds =>
			view 2 cds:a=2 lds:l=1 rds:80=2 => cds[a]
			view 3 cds:a=3 lds:l=1 rds:80=3 =>
			view 4 cds:a=4 lds:l=1 rds:80=4 =>
			ack cds => rds[80]
			ack rds => cds[a]
			ack cds => rds[80]
			ack rds =>`},
		{name: "delta: endpoints do not wait for a proxy that is slow elsewhere", start: "cds:a=1 eds:a=1 lds:l=1 rds:80=1", script: `
			sub cds => cds[a]
			ack cds =>
			sub eds a => eds[a]
			ack eds =>
			view 2 cds:a=1,b=1 eds:a=1 lds:l=1 => cds[b]
			view 3 cds:a=1,b=1 eds:a=2 lds:l=1 => eds[a]`},
		{name: "delta: what is asked for and does not exist is answered", start: "cds:a=1 rds:80=1", script: `
			sub rds nope => rds[-nope]
			ack rds =>
			sub rds 80 => rds[80]
			ack rds =>
			view 2 rds:80=1,nope=1 => rds[nope]
			ack rds =>
			view 3 rds:80=1 => rds[-nope]`},
		{name: "delta: subscribing again sends again", start: "eds:a=1,b=1", script: `
			sub eds a => eds[a]
			ack eds =>
			sub eds a b => eds[a b]
			ack eds =>
			sub eds -a =>
			view 2 eds:a=2,b=1 =>
			sub eds a => eds[a]`},
		{name: "delta: a refusal is not answered with the same again", start: "cds:a=1 lds:l=1", script: `
			sub cds => cds[a]
			sub lds =>
			nack cds => lds[l]
			ack lds =>
			view 2 cds:a=1 lds:l=1 =>
			view 3 cds:a=2 lds:l=1 => cds[a]`},
		{name: "delta: a client that comes back is sent what changed", start: "cds:a=1,b=2,c=1 lds:l=1 rds:80=1", script: `
			sub cds a@` + version("cds", "1") + ` b@` + version("cds", "1") + ` gone@x => cds[b c]
			sub lds l@` + version("lds", "1") + ` =>
			sub rds 80 80@` + version("rds", "1") + ` =>
			ack cds => cds[-gone]
			ack cds =>`},
		{name: "delta: a client that comes back and is up to date is sent nothing", start: "cds:a=1 lds:l=1", script: `
			sub cds a@` + version("cds", "1") + ` =>
			sub lds l@` + version("lds", "1") + ` =>
			wait 6 =>
			view 2 cds:a=2 lds:l=1 => cds[a]`},
		{name: "delta: what a client has and no longer wants is its own business", start: "eds:a=1,b=1", script: `
			sub eds a a@` + version("eds", "1") + ` b@` + version("eds", "1") + ` old@x =>
			view 2 eds:a=2 => eds[a]
			ack eds =>`},
		{name: "delta: removals wait for what a client may yet come with, not for ever", start: "cds:a=1", script: `
			sub cds a@` + version("cds", "1") + ` gone@x =>
			wait 4 =>
			wait 2 => cds[-gone]`},
		{name: "delta: a proxy that does not answer is not waited for", start: "cds:a=1 lds:l=1", script: `
			sub cds => cds[a]
			sub lds =>
			wait 4 =>
			wait 2 => lds[l]
			ack lds =>
			view 2 cds:a=2 lds:l=1 => cds[a]`},
		{name: "delta: endpoints follow a cluster that changed", start: "cds:a=1,b=1 eds:a=1,b=1", script: `
			sub cds => cds[a b]
			ack cds =>
			sub eds a b => eds[a b]
			ack eds =>
			view 2 cds:a=2,b=1 eds:a=1,b=1 => cds[a] eds[a]`},
		{name: "delta: an empty wildcard is answered once", start: "lds:l=1", script: `
			sub cds => cds[]
			ack cds =>
			view 2 lds:l=2 =>`},
		{name: "delta: giving up the wildcard", start: "cds:a=1,b=1", script: `
			sub cds * a => cds[a b]
			ack cds =>
			sub cds -* =>
			view 2 cds:a=2,b=2 => cds[a]`},
		{name: "delta: a type that nobody knows is answered with nothing", start: "cds:a=1", script: `
			sub xyz => other[]`},
		{name: "sotw first contact", sotw: true, start: "cds:a=1,b=1 eds:a=1,b=1 lds:l=1 rds:80=1", script: `
			want cds => cds[a b]
			want eds a b => eds[a b]
			ack cds =>
			ack eds =>
			want lds => lds[l]
			ack lds =>
			want rds 80 => rds[80]
			ack rds =>
			view 2 cds:a=1,b=1 eds:a=2,b=1 lds:l=1 rds:80=1 => eds[a]`},
		{name: "sotw: old clusters stay until routes have left them", sotw: true, start: "cds:a=1 lds:l=1 rds:80=a", script: `
			want cds => cds[a]
			ack cds =>
			want lds => lds[l]
			ack lds =>
			want rds 80 => rds[80]
			ack rds =>
			view 2 cds:b=1 lds:l=1 rds:80=b => cds[a b]
			ack cds => rds[80]
			ack rds => cds[b]
			ack cds =>`},
		{name: "sotw: names", sotw: true, start: "eds:a=1,b=1", script: `
			want eds a => eds[a]
			want eds a b => eds[b]
			want eds b =>
			want eds a b => eds[a]`},
		{name: "sotw: endpoints that do not exist are an empty assignment", sotw: true, start: "eds:a=1", script: `
			want eds a nope => eds[a nope]
			ack eds =>
			view 2 eds:nope=1 => eds[a nope]`},
		{name: "sotw: all listeners each time, removals too", sotw: true, start: "lds:a=1,b=1", script: `
			want lds => lds[a b]
			ack lds =>
			view 2 lds:a=2,b=1 => lds[a b]
			ack lds =>
			view 3 lds:a=2 => lds[a]`},
		{name: "sotw: explicit listeners, as gRPC asks", sotw: true, start: "lds:a=1,b=1", script: `
			want lds a => lds[a]
			want lds a b => lds[a b]
			want lds b =>`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			short["xyz"] = "type.googleapis.com/a.type.that.nobody.Knows"
			newHarness(t, tt.sotw, view(1, tt.start)).play(tt.script)
		})
	}
}

// TestExpiredNonces: what answers a response that is no longer the last is counted, and does not pass for an answer to the last.
func TestExpiredNonces(t *testing.T) {
	for _, sotw := range []bool{false, true} {
		h := newHarness(t, sotw, view(1, "eds:a=1"))
		if sotw {
			h.do("want eds a")
		} else {
			h.do("sub eds a")
		}
		late := h.last["eds"]
		h.do("ack eds")
		if got := h.do("view 2 eds:a=2"); got != "eds[a]" || h.s.expired != 0 {
			t.Fatalf("sotw %v: sent %q, %d expired", sotw, got, h.s.expired)
		}
		h.req("eds", func(r *request) { r.nonce, r.names = late, []string{"a"} })
		if w := h.s.watch(TypeEndpoint); h.s.expired != 1 || !w.inFlight {
			t.Errorf("sotw %v: %d expired; the last response is waited for: %v", sotw, h.s.expired, w.inFlight)
		}
	}
}

// play runs a script.
func (h *harness) play(script string) {
	h.t.Helper()
	for _, line := range strings.Split(strings.TrimSpace(script), "\n") {
		command, want, ok := strings.Cut(line, "=>")
		if !ok {
			h.t.Fatalf("no => in %q", line)
		}
		if got := h.do(strings.TrimSpace(command)); got != strings.TrimSpace(want) {
			h.t.Fatalf("%s: sent %q, want %q", strings.TrimSpace(command), got, strings.TrimSpace(want))
		}
	}
}

// hostView is a mesh in which virtual hosts "80/a" lead to clusters of the host's name, as a View answers a proxy that asks on demand.
type hostView struct{ *fakeView }

func (v hostView) Resources(p *xdscache.Proxy, typeURL string, sub xdscache.Subscription) *xdscache.Set {
	switch typeURL {
	case TypeHost:
		return v.types[TypeHost].Select(sub.Names)
	case TypeCluster:
		var names []string
		for _, name := range p.Asked().All() {
			names = append(names, strings.TrimPrefix(name, "80/"))
		}
		return v.types[TypeCluster].Select(xdscache.NewNames(names))
	}
	return v.fakeView.Resources(p, typeURL, sub)
}

// TestOnDemandScripts: what a virtual host leads to comes before it and goes after it.
// A cluster that has come and is about to go again: routes of the view that has it lead there for a moment, so its endpoints are that view's, not the
// empty assignment of the newer one.
func TestEndpointsOfClusterThatComesAndGoes(t *testing.T) {
	for name, was := range map[string]string{
		"new":     "cds:a=eds eds:a=1,b=none lds:l=1 rds:80=a",
		"changed": "cds:a=eds,b=old eds:a=1,b=1 lds:l=1 rds:80=a",
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, false, view(1, was))
			for _, line := range []string{
				"sub cds", "sub eds a", "ack cds", "ack eds", "sub lds", "ack lds", "sub rds 80", "ack rds",
				"view 2 cds:a=eds,b=eds eds:a=1,b=1 lds:l=1 rds:80=b",
				"view 3 cds:a=eds eds:a=1,b=none lds:l=1 rds:80=a",
				"ack cds", "sub eds b",
			} {
				h.do(line)
			}
			got, want := h.s.watch(TypeEndpoint).have.Get("b"), xdscache.FromValue("b", TypeEndpoint, []byte("1"))
			if got == nil || got.Version != want.Version {
				t.Fatal("b was not given its endpoints of view 2")
			}
		})
	}
}

func TestOnDemandScripts(t *testing.T) {
	version := func(typ, content string) string { return xdscache.FromValue("x", short[typ], []byte(content)).Version }
	for _, tt := range []struct{ name, script string }{
		{"clusters and endpoints come first", `
			sub cds => cds[]
			ack cds =>
			sub lds => lds[l]
			ack lds =>
			sub rds 80 => rds[80]
			ack rds =>
			sub vhds => vhds[]
			ack vhds =>
			sub vhds 80/a => cds[a]
			ack cds =>
			sub eds a => eds[a]
			ack eds => vhds[80/a]
			ack vhds =>
			sub vhds 80/none => vhds[-80/none]
			ack vhds =>
			sub vhds -80/a => vhds[-80/a]
			ack vhds => cds[-a] eds[a]`},
		{"what comes back is up to date, in whichever order it says so", `
			sub cds a@` + version("cds", "eds") + ` =>
			sub eds a a@` + version("eds", "1") + ` =>
			sub lds l@` + version("lds", "1") + ` =>
			sub rds 80 80@` + version("rds", "1") + ` =>
			wait 1 =>
			sub vhds * 80/a 80/a@` + version("vhds", "1") + ` =>
			wait 9 =>`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHarness(t, false, hostView{view(1, "cds:a=eds,b=eds eds:a=1,b=1 lds:l=1 rds:80=1 vhds:80/a=1,80/b=1")})
			h.s.proxy.OnDemand = true
			h.play(tt.script)
		})
	}
}

// TestBounds: a client cannot make a stream grow without end.
func TestBounds(t *testing.T) {
	s := newSession(xdscache.NewProxy(&model.Proxy{}), view(1, ""), false, nil, time.Second, time.Unix(0, 0))
	for i := range maxTypes {
		if err := s.request(request{typeURL: fmt.Sprint("type", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.request(request{typeURL: "one more"}); err == nil {
		t.Error("there is no bound on types")
	}
	names := make([]string, maxNames)
	for i := range names {
		names[i] = fmt.Sprint(i)
	}
	if err := s.request(request{typeURL: "type0", subscribe: names}); err != nil {
		t.Error(err)
	}
	if err := s.request(request{typeURL: "type0", subscribe: []string{"one more"}}); err == nil {
		t.Error("there is no bound on names")
	}
	for what, r := range map[string]*discoverypb.DeltaDiscoveryRequest{
		"a long name": {ResourceNamesSubscribe: []string{strings.Repeat("x", maxNameBytes+1)}},
		"many names":  {ResourceNamesUnsubscribe: append(names, "one more")},
	} {
		if _, err := fromDelta(t, r); err == nil {
			t.Errorf("%s was taken", what)
		}
	}
	long, err := fromDelta(t, &discoverypb.DeltaDiscoveryRequest{ErrorDetail: &statuspb.Status{Message: strings.Repeat("x", 1<<20)}})
	if err != nil || len(long.refusal) > maxErrorText+10 {
		t.Errorf("%d bytes of a refusal are kept, %v", len(long.refusal), err)
	}
}
