package health

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	meshpb "istio.io/api/mesh/v1alpha1"
	networkingpb "istio.io/api/networking/v1alpha3"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What Istio's own encoder writes is read, every field of it.
func TestFromProxyConfig(t *testing.T) {
	probe := func(method any) *networkingpb.ReadinessProbe {
		p := &networkingpb.ReadinessProbe{InitialDelaySeconds: 1, TimeoutSeconds: 2, PeriodSeconds: 3, SuccessThreshold: 4, FailureThreshold: 5}
		switch m := method.(type) {
		case *networkingpb.HTTPHealthCheckConfig:
			p.HealthCheckMethod = &networkingpb.ReadinessProbe_HttpGet{HttpGet: m}
		case *networkingpb.TCPHealthCheckConfig:
			p.HealthCheckMethod = &networkingpb.ReadinessProbe_TcpSocket{TcpSocket: m}
		case *networkingpb.ExecHealthCheckConfig:
			p.HealthCheckMethod = &networkingpb.ReadinessProbe_Exec{Exec: m}
		case *networkingpb.GrpcHealthCheckConfig:
			p.HealthCheckMethod = &networkingpb.ReadinessProbe_Grpc{Grpc: m}
		}
		return p
	}
	times := Probe{InitialDelaySeconds: 1, TimeoutSeconds: 2, PeriodSeconds: 3, SuccessThreshold: 4, FailureThreshold: 5}
	want := func(set func(*Probe)) *Probe { p := times; set(&p); return &p }
	for name, c := range map[string]struct {
		in   *networkingpb.ReadinessProbe
		want *Probe
	}{
		"none": {nil, nil},
		"httpGet": {probe(&networkingpb.HTTPHealthCheckConfig{
			Path: "/h", Port: 80, Host: "h", Scheme: "HTTPS", HttpHeaders: []*networkingpb.HTTPHeader{{Name: "a", Value: "b"}, {Name: "c"}},
		}), want(func(p *Probe) {
			p.HTTPGet = &HTTPGet{Path: "/h", Port: 80, Host: "h", Scheme: "HTTPS", HTTPHeaders: []Header{{"a", "b"}, {"c", ""}}}
		})},
		"tcpSocket": {probe(&networkingpb.TCPHealthCheckConfig{Host: "h", Port: 81}), want(func(p *Probe) { p.TCPSocket = &TCPSocket{"h", 81} })},
		"exec":      {probe(&networkingpb.ExecHealthCheckConfig{Command: []string{"a", "", "b"}}), want(func(p *Probe) { p.Exec = &Exec{[]string{"a", "", "b"}} })},
		"grpc":      {probe(&networkingpb.GrpcHealthCheckConfig{Port: 82, Service: "s"}), want(func(p *Probe) { p.GRPC = &GRPC{82, "s"} })},
	} {
		raw, err := proto.Marshal(&meshpb.ProxyConfig{ConfigPath: "before", StatusPort: 1, Tracing: &meshpb.Tracing{Sampling: 1.5}, ReadinessProbe: c.in, MeshId: "m"})
		if err != nil {
			t.Fatal(err)
		}
		got, err := FromProxyConfig(raw)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
	raw, _ := proto.Marshal(&meshpb.ProxyConfig{ReadinessProbe: &networkingpb.ReadinessProbe{PeriodSeconds: -1}})
	for _, bad := range [][]byte{raw, {0xfa, 0x01, 0x05, 0x01}, {0xff}} {
		if p, err := FromProxyConfig(bad); err == nil {
			t.Errorf("%x is read as %+v", bad, p)
		}
	}
}

func FuzzFromProxyConfig(f *testing.F) {
	raw, err := proto.Marshal(&meshpb.ProxyConfig{ReadinessProbe: &networkingpb.ReadinessProbe{HealthCheckMethod: &networkingpb.ReadinessProbe_HttpGet{
		HttpGet: &networkingpb.HTTPHealthCheckConfig{Port: 80, HttpHeaders: []*networkingpb.HTTPHeader{{Name: "a", Value: "b"}}}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := FromProxyConfig(b)
		if proto.Unmarshal(b, &meshpb.ProxyConfig{}) == nil && err == nil && p != nil && p.Validate() != nil {
			t.Errorf("%x gives a probe that is not valid: %v", b, p.Validate())
		}
	})
}

func TestValidate(t *testing.T) {
	for want, p := range map[string]*Probe{
		"0 ways to probe":             {},
		"2 ways to probe":             {TCPSocket: &TCPSocket{Port: 1}, GRPC: &GRPC{Port: 1}},
		"periodSeconds: -1":           {PeriodSeconds: -1, TCPSocket: &TCPSocket{Port: 1}},
		"httpGet.port: 0 is no port":  {HTTPGet: &HTTPGet{}},
		"httpGet.scheme: \"ftp\" is":  {HTTPGet: &HTTPGet{Port: 1, Scheme: "ftp"}},
		"tcpSocket.port: 70000 is no": {TCPSocket: &TCPSocket{Port: 70000}},
		"grpc.port: 0":                {GRPC: &GRPC{}},
		"exec.command: missing":       {Exec: &Exec{}},
	} {
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s, got %v", want, err)
		}
	}
}

func portOf(t *testing.T, address string) uint32 {
	t.Helper()
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

func TestAsk(t *testing.T) {
	seen := make(chan string, 10)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- fmt.Sprint(r.Host, r.URL, r.UserAgent(), r.Header["X"])
		code, _ := strconv.Atoi(r.URL.Query().Get("code"))
		if code == 302 {
			w.Header().Set("location", "/?code=200")
		}
		w.WriteHeader(code)
	})
	plain, secure := httptest.NewServer(handler), httptest.NewUnstartedServer(handler)
	secure.TLS = &tls.Config{}
	secure.StartTLS()
	defer plain.Close()
	defer secure.Close()
	port := portOf(t, plain.Listener.Addr().String())
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	nobody := portOf(t, closed.Addr().String())

	g := grpc.NewServer()
	state := grpchealth.NewServer()
	state.SetServingStatus("down", healthpb.HealthCheckResponse_NOT_SERVING)
	healthpb.RegisterHealthServer(g, state)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	defer func() { g.Stop(); <-done }()

	at := netip.MustParseAddrPort(plain.Listener.Addr().String())
	http := func(path string, change func(*HTTPGet)) *Probe {
		get := &HTTPGet{Path: path, Port: port, Host: "127.0.0.1"}
		if change != nil {
			change(get)
		}
		return &Probe{HTTPGet: get}
	}
	for name, c := range map[string]struct {
		probe *Probe
		err   string // "" for well
		seen  string
	}{
		"200":  {probe: http("/a?code=200", nil), seen: fmt.Sprintf("127.0.0.1:%d/a?code=200istio-probe/1.0[]", port)},
		"no /": {probe: http("a?code=200", nil), seen: "/a?code=200"},
		"302":  {probe: http("/?code=302", nil)},
		"399":  {probe: http("/?code=399", nil)},
		"400":  {probe: http("/?code=400", nil), err: "answers 400"},
		"500":  {probe: http("/?code=500", nil), err: "answers 500"},
		"header": {probe: http("/?code=200", func(g *HTTPGet) {
			g.HTTPHeaders = []Header{{"host", "other"}, {"user-agent", "me"}, {"x", "1"}, {"X", "2"}}
		}), seen: "other/?code=200me[1 2]"},
		"https": {probe: http("/?code=204", func(g *HTTPGet) {
			g.Scheme, g.Port = "HTTPS", portOf(t, secure.Listener.Addr().String())
		})},
		"where the application is":  {probe: http("/?code=200", func(g *HTTPGet) { g.Host, g.Port = "", 8080 }), seen: plain.Listener.Addr().String()},
		"nobody":                    {probe: http("/", func(g *HTTPGet) { g.Port = nobody }), err: "refused"},
		"tcp":                       {probe: &Probe{TCPSocket: &TCPSocket{Host: "127.0.0.1", Port: port}}},
		"tcp, localhost":            {probe: &Probe{TCPSocket: &TCPSocket{Port: 8080}}},
		"tcp, nobody":               {probe: &Probe{TCPSocket: &TCPSocket{Host: "127.0.0.1", Port: nobody}}, err: "refused"},
		"command":                   {probe: &Probe{Exec: &Exec{[]string{"true"}}}},
		"command that fails":        {probe: &Probe{Exec: &Exec{[]string{"sh", "-c", "exit 3"}}}, err: "exit status 3"},
		"command that is not there": {probe: &Probe{Exec: &Exec{[]string{"/no/such/program"}}}, err: "no such file"},
		"grpc":                      {probe: &Probe{GRPC: &GRPC{Port: portOf(t, l.Addr().String())}}},
		"grpc, down":                {probe: &Probe{GRPC: &GRPC{Port: portOf(t, l.Addr().String()), Service: "down"}}, err: "NOT_SERVING"},
		"grpc, unknown":             {probe: &Probe{GRPC: &GRPC{Port: portOf(t, l.Addr().String()), Service: "other"}}, err: "NotFound"},
	} {
		t.Run(name, func(t *testing.T) {
			for len(seen) > 0 {
				<-seen
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			err := c.probe.Ask(ctx, Targets{8080: at})
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if c.seen != "" {
				if got, err := url.QueryUnescape(<-seen); err != nil || !strings.Contains(got, c.seen) {
					t.Errorf("seen %q, want %q", got, c.seen)
				}
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := (&Probe{Exec: &Exec{[]string{"sleep", "60"}}}).Ask(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a command without an end: %v", err)
	}
}

// When a question is asked and what is made of the answers, on a clock that stands still while anybody works. The application listens at a
// connection of bytes of its own: answers are a script, "+" and "-", by the second in which it was asked.
func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		probe  *Probe
		proxy  map[int]string // from this second on: what is wrong with the proxy; "" for nothing
		app    map[int]string // the same of the application
		want   string         // SECOND+ or SECOND-WHY
		within time.Duration
	}{
		"without a probe":             {within: 3 * time.Second},
		"without a probe, told to go": {within: 6 * time.Second, proxy: map[int]string{2: "going", 4: ""}, want: "2-the proxy does not serve: going 4+"},
		"well at once":                {probe: &Probe{}, within: 30 * time.Second, want: "0+"},
		"after a while":               {probe: &Probe{InitialDelaySeconds: 7}, within: 30 * time.Second, want: "7+"},
		"never":                       {probe: &Probe{PeriodSeconds: 1}, app: map[int]string{0: "no"}, within: 30 * time.Second},
		"thresholds": {probe: &Probe{PeriodSeconds: 2, SuccessThreshold: 3, FailureThreshold: 2}, within: 40 * time.Second,
			app: map[int]string{9: "no", 11: "", 19: "worse", 25: ""}, want: "4+ 22-worse 30+"},
		"both": {probe: &Probe{PeriodSeconds: 5}, within: 30 * time.Second, app: map[int]string{9: "no", 19: ""}, proxy: map[int]string{12: "going", 24: ""},
			want: "0+ 10-no 24+"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				second := func() int { return int(time.Since(begin).Seconds()) }
				at := func(script map[int]string) error {
					why := ""
					for s := 0; s <= second(); s++ {
						if w, ok := script[s]; ok {
							why = w
						}
					}
					if why == "" {
						return nil
					}
					return errors.New(why)
				}
				var got []string
				ctx, cancel := context.WithTimeout(t.Context(), c.within)
				defer cancel()
				check(ctx, c.probe, func(context.Context) error { return at(c.app) }, func(context.Context) error { return at(c.proxy) },
					func(healthy bool, why string) {
						sign := "-"
						if healthy {
							sign = "+"
						}
						got = append(got, fmt.Sprint(second(), sign, why))
					})
				if text := strings.ReplaceAll(strings.Join(got, " "), " - ", "-"); text != c.want {
					t.Errorf("got %q, want %q", text, c.want)
				}
			})
		})
	}
}

// A question is over after the probe's time-out, and counts as answered badly.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		asked := 0
		ask := func(ctx context.Context) error {
			if asked++; asked == 1 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}
		check(ctx, &Probe{TimeoutSeconds: 3, PeriodSeconds: 4}, ask, func(context.Context) error { return nil }, func(healthy bool, why string) {
			if healthy {
				return
			}
			if took := time.Since(begin); took != 7*time.Second || !strings.Contains(why, "deadline") {
				t.Errorf("after %s: %s", took, why)
			}
			cancel()
		})
	})
}
