package nameserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/pkg/nametable"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// anyPort opens sockets at a port that is free for UDP and for TCP: the kernel chooses one that is for UDP.
func anyPort[T any](t *testing.T, open func() (T, error)) T {
	t.Helper()
	for try := 0; ; try++ {
		out, err := open()
		if err == nil {
			return out
		}
		if !errors.Is(err, unix.EADDRINUSE) || try == 20 {
			t.Fatal(err)
		}
	}
}

// resolver is a name server of the system's, on a port of its own.
func resolver(t *testing.T, handle dns.HandlerFunc) netip.AddrPort {
	t.Helper()
	b := anyPort(t, func() (bound, error) { return bind(netip.MustParseAddrPort("127.0.0.1:0")) })
	udp, tcp := b.udp, b.tcp
	at := udp.LocalAddr().(*net.UDPAddr).AddrPort()
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait) // once they are told to end
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: handle}, {Listener: tcp, Handler: handle}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		wg.Go(func() { _ = s.ActivateAndServe() }) // it ends with its sockets
		<-started
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return at
}

// start runs a server whose system has the resolver that is at an address.
func start(t *testing.T, at netip.AddrPort) *Server {
	t.Helper()
	s := anyPort(t, func() (*Server, error) {
		return Listen(Config{Namespace: "shop", Domain: "shop.svc.cluster.local", Addresses: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, ResolvConf: "-", Logger: quiet()})
	})
	s.upstream.conf = &dns.ClientConfig{Servers: []string{at.Addr().String()}, Port: fmt.Sprint(at.Port()), Search: []string{"corp.test"}, Timeout: 1, Attempts: 1}
	s.upstream.read = time.Now()
	s.upstream.now = func() time.Time { return s.upstream.read }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func ask(t *testing.T, s *Server, network string, q *dns.Msg) *dns.Msg {
	t.Helper()
	m, _, err := (&dns.Client{Net: network, Timeout: 20 * time.Second}).Exchange(q, s.Addresses()[0].String())
	if err != nil {
		t.Fatalf("%s over %s: %v", q.Question[0].Name, network, err)
	}
	return m
}

// outside answers with an address, and fails the test for a name of the mesh.
func outside(t *testing.T) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		if strings.HasSuffix(q.Question[0].Name, "cluster.local.") {
			t.Errorf("%s went out", q.Question[0].Name)
		}
		m := new(dns.Msg).SetReply(q)
		m.Answer = append(m.Answer, &dns.A{Hdr: header(q.Question[0].Name, dns.TypeA), A: net.IPv4(192, 0, 2, 1)})
		_ = w.WriteMsg(m)
	}
}

// Names of the mesh are answered here, all others by the system's name server, over the network that the query came by.
func TestServes(t *testing.T) {
	s := start(t, resolver(t, outside(t)))
	for _, network := range []string{"udp", "tcp"} {
		if m := ask(t, s, network, query("catalog.shop.", dns.TypeA)); m.Rcode != dns.RcodeServerFailure {
			t.Errorf("before the names are known: %s", text(m))
		}
	}
	s.Set(map[string]*nametable.Table{"catalog.shop.svc.cluster.local": {Own: service("catalog", "shop", "10.0.0.1")}}, nil)
	for _, network := range []string{"udp", "tcp"} {
		for name, want := range map[string]string{"catalog.shop.svc.cluster.local.": "A 10.0.0.1", "catalog.corp.test.": "CNAME catalog. A 10.0.0.1", "www.example.com.": "A 192.0.2.1"} {
			if got := text(ask(t, s, network, query(name, dns.TypeA))); got != want {
				t.Errorf("%s over %s: %s, want %s", name, network, got, want)
			}
		}
	}
}

// What is not for this server is refused, by the code that says so.
func TestRefuses(t *testing.T) {
	s := start(t, resolver(t, outside(t)))
	s.Set(nil, nil)
	for want, change := range map[string]func(*dns.Msg){
		"NOTIMP":  func(q *dns.Msg) { q.Opcode = dns.OpcodeUpdate },
		"FORMERR": func(q *dns.Msg) { q.Question = append(q.Question, q.Question[0]) },
		"REFUSED": func(q *dns.Msg) { q.Question[0].Qtype = dns.TypeAXFR },
		"BADVERS": func(q *dns.Msg) { q.SetEdns0(1232, false).IsEdns0().SetVersion(1) },
	} {
		q := query("www.example.com.", dns.TypeA)
		change(q)
		if got := ask(t, s, "tcp", q); dns.RcodeToString[got.Rcode] != want && !(want == "BADVERS" && got.Rcode == dns.RcodeBadVers) {
			t.Errorf("%s, want %s", dns.RcodeToString[got.Rcode], want)
		}
	}
	// It is for this machine alone.
	if _, err := Listen(Config{Addresses: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:0")}, Logger: quiet()}); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("for everybody: %v", err)
	}
}

// A client learns that there is more than fits, and gets it over TCP; one that takes more gets more.
func TestLargeAnswers(t *testing.T) {
	s := start(t, resolver(t, outside(t)))
	var many []string
	for i := range 60 {
		many = append(many, fmt.Sprintf("10.0.1.%d", i))
	}
	s.Set(map[string]*nametable.Table{"queue.shop.svc.cluster.local": {Own: service("queue", "shop", many...)}}, nil)
	plain, large := query("queue.", dns.TypeA), query("queue.", dns.TypeA)
	large.SetEdns0(8192, false)
	for name, tc := range map[string]struct {
		network string
		q       *dns.Msg
		cut     bool
	}{
		"512 bytes over UDP": {"udp", plain, true}, "over TCP": {"tcp", plain, false}, "larger ones over UDP": {"udp", large, false},
	} {
		m := ask(t, s, tc.network, tc.q)
		if m.Truncated != tc.cut || !tc.cut && len(m.Answer) != len(many) {
			t.Errorf("%s: %d addresses, cut %v", name, len(m.Answer), m.Truncated)
		}
		if (m.IsEdns0() != nil) != (tc.q == large) {
			t.Errorf("%s: OPT %v", name, m.IsEdns0())
		}
	}
}

// Only what answers the very question is taken; where no server answers, the client hears so.
func TestUpstream(t *testing.T) {
	answer := func(change func(m *dns.Msg)) dns.HandlerFunc {
		return func(w dns.ResponseWriter, q *dns.Msg) {
			m := new(dns.Msg).SetReply(q)
			m.Answer = append(m.Answer, &dns.A{Hdr: header(q.Question[0].Name, dns.TypeA), A: net.IPv4(192, 0, 2, 66)})
			forged := m.Copy()
			change(forged)
			_ = w.WriteMsg(forged)
			m.Answer[0].(*dns.A).A = net.IPv4(192, 0, 2, 1)
			_ = w.WriteMsg(m)
		}
	}
	for name, tc := range map[string]struct {
		handle dns.HandlerFunc
		want   string
	}{
		"another number":      {answer(func(m *dns.Msg) { m.Id++ }), "A 192.0.2.1"},
		"another name":        {answer(func(m *dns.Msg) { m.Question[0].Name = "www.example.org." }), "A 192.0.2.1"},
		"another type":        {answer(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA }), "A 192.0.2.1"},
		"a query":             {answer(func(m *dns.Msg) { m.Response = false }), "A 192.0.2.1"},
		"rubbish":             {func(w dns.ResponseWriter, q *dns.Msg) { _, _ = w.Write([]byte("rubbish")); outside(t)(w, q) }, "A 192.0.2.1"},
		"no such name":        {func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeNameError)) }, "NXDOMAIN"},
		"a server that fails": {func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeRefused)) }, "REFUSED"},
		"silence":             {func(dns.ResponseWriter, *dns.Msg) {}, "SERVFAIL"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, resolver(t, tc.handle))
			s.Set(nil, nil)
			q := query("www.example.com.", dns.TypeA)
			m := ask(t, s, "udp", q)
			if got := text(m); got != tc.want || m.Id != q.Id {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

// A server that says that it cannot is passed over for one that can.
func TestNextServer(t *testing.T) {
	can := resolver(t, outside(t))
	s := start(t, can)
	s.Set(nil, nil)
	s.upstream.conf.Servers = []string{"127.0.0.9", "127.0.0.1"} // nobody is at the first
	if got := text(ask(t, s, "tcp", query("www.example.com.", dns.TypeA))); got != "A 192.0.2.1" {
		t.Error(got)
	}
}

// While as many queries as there may be wait for their answers, one more is told so at once; names of the mesh are answered all the same. What waits ends with the server.
func TestBusy(t *testing.T) {
	arrived := make(chan struct{}, maxForwarded)
	s := start(t, resolver(t, func(dns.ResponseWriter, *dns.Msg) { arrived <- struct{}{} }))
	s.upstream.conf.Timeout = 60
	s.Set(map[string]*nametable.Table{"catalog.shop.svc.cluster.local": {Own: service("catalog", "shop", "10.0.0.1")}}, nil)
	c, err := dns.Dial("udp", s.Addresses()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range maxForwarded {
		if err := c.WriteMsg(query(fmt.Sprintf("n%d.example.com.", i), dns.TypeA)); err != nil {
			t.Fatal(err)
		}
		<-arrived
	}
	if got := text(ask(t, s, "udp", query("one-more.example.com.", dns.TypeA))); got != "SERVFAIL" {
		t.Errorf("one more: %s", got)
	}
	if got := text(ask(t, s, "udp", query("catalog.", dns.TypeA))); got != "A 10.0.0.1" {
		t.Errorf("of the mesh: %s", got)
	}
}

// resolv.conf is read again when the machine has changed networks; one that cannot be read counts as it was.
func TestResolvConfIsFollowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	now := time.Unix(1000, 0)
	u := newUpstream(path, func() time.Time { return now })
	if _, err := u.config(); err == nil {
		t.Error("no file, and no error")
	}
	for _, step := range []struct{ text, want string }{
		{"nameserver 192.0.2.1\nsearch corp.test other.test\n", "192.0.2.1 corp.test"},
		{"nameserver 192.0.2.2\n", "192.0.2.2 "},
		{"", "192.0.2.2 "}, // it is gone
	} {
		if step.text == "" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(path, []byte(step.text), 0o644); err != nil {
			t.Fatal(err)
		}
		now = now.Add(rereadAfter)
		conf, err := u.config()
		if err != nil {
			t.Fatal(err)
		}
		if got := conf.Servers[0] + " " + u.search(); got != step.want {
			t.Errorf("%q, want %q", got, step.want)
		}
	}
}

// Whatever comes in, what goes out is a response to it that can be written.
func FuzzRespond(f *testing.F) {
	for _, q := range []*dns.Msg{query("catalog.", dns.TypeA), query("a.example.com.corp.test.", dns.TypeAAAA), query(".", dns.TypeANY)} {
		b, err := q.SetEdns0(1232, true).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	s := &Server{cfg: Config{Logger: quiet()}, table: mesh(), upstream: newUpstream("-", time.Now), busy: make(chan struct{}, 1)}
	s.upstream.conf, s.upstream.read = &dns.ClientConfig{Search: []string{"corp.test"}}, time.Now().Add(time.Hour)
	f.Fuzz(func(t *testing.T, b []byte) {
		q := new(dns.Msg)
		if q.Unpack(b) != nil || q.Response {
			return // the library answers for it
		}
		m := s.respond(t.Context(), "udp", q)
		fit(m, q, true)
		out, err := m.Pack()
		if err != nil {
			t.Fatalf("%v: %v", q, err)
		}
		if !m.Response || m.Id != q.Id || len(out) > largestUDP {
			t.Errorf("%d bytes: %v", len(out), m)
		}
	})
}
