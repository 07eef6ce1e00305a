package nameserver

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"github.com/lateen-mesh/lateen/pkg/nametable"
)

func service(name, ns string, ips ...string) *nametable.Info {
	return &nametable.Info{IPs: ips, Registry: nametable.Kubernetes, ShortName: name, Namespace: ns}
}

// mesh is a table as a control plane tells it to a workload of the namespace shop.
func mesh() *table {
	t := newTable("shop", "shop.svc.cluster.local")
	t.set(map[string]*nametable.Table{
		"catalog.shop.svc.cluster.local": {Own: service("catalog", "shop", "10.0.0.1")},
		"users.other.svc.cluster.local":  {Own: service("users", "other", "10.0.0.2", "fd00::2")},
		"queue.shop.svc.cluster.local": {
			Own:   service("queue", "shop", "10.1.0.1", "10.1.0.2"),
			Names: map[string]nametable.Info{"queue-0.queue.shop.svc.cluster.local": *service("queue-0.queue", "shop", "10.1.0.1")},
		},
		"far.shop.svc.clusterset.local": {Own: &nametable.Info{IPs: []string{"10.0.0.3"}, Registry: nametable.Kubernetes}},
		"six.example.com":               {Own: &nametable.Info{IPs: []string{"fd00::6"}, Registry: "External"}},
		"DB.example.com":                {Own: &nametable.Info{IPs: []string{"240.240.0.1"}, Registry: "External"}},
		"*.example.com":                 {Own: &nametable.Info{IPs: []string{"240.240.0.2"}, Registry: "External"}},
		"*.deep.example.com":            {Own: &nametable.Info{IPs: []string{"240.240.0.3"}, Registry: "External"}},
		"nothing.example.com":           {Own: &nametable.Info{IPs: []string{"10.0.0.0/8"}, Registry: "External"}},
	}, nil)
	return t
}

func asIs([]netip.Addr) {}

func query(name string, kind uint16) *dns.Msg { return new(dns.Msg).SetQuestion(name, kind) }

// text is a response in a line: "A 10.0.0.1", "CNAME db.example.com. A 240.240.0.1", "NOERROR" without an answer, "-" when somebody else is to answer.
func text(m *dns.Msg) string {
	if m == nil {
		return "-"
	}
	if m.Rcode != dns.RcodeSuccess || len(m.Answer) == 0 {
		return dns.RcodeToString[m.Rcode]
	}
	out := ""
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			out += fmt.Sprintf(" A %s", rr.A)
		case *dns.AAAA:
			out += fmt.Sprintf(" AAAA %s", rr.AAAA)
		case *dns.CNAME:
			out += fmt.Sprintf(" CNAME %s", rr.Target)
		default:
			out += " " + rr.String()
		}
	}
	return out[1:]
}

func TestAnswer(t *testing.T) {
	of := mesh()
	for _, tc := range []struct {
		name string
		kind uint16
		want string
	}{
		{"catalog.shop.svc.cluster.local.", dns.TypeA, "A 10.0.0.1"},
		{"CataLog.Shop.svc.cluster.local.", dns.TypeA, "A 10.0.0.1"},
		{"catalog.shop.svc.", dns.TypeA, "A 10.0.0.1"},
		{"catalog.shop.", dns.TypeA, "A 10.0.0.1"},
		{"catalog.", dns.TypeA, "A 10.0.0.1"},
		{"users.other.", dns.TypeA, "A 10.0.0.2"},
		{"users.other.", dns.TypeAAAA, "AAAA fd00::2"},
		{"users.", dns.TypeA, "-"}, // of another namespace
		{"catalog.shop.svc.cluster.", dns.TypeA, "-"},
		{"queue.", dns.TypeA, "A 10.1.0.1 A 10.1.0.2"},
		{"queue-0.queue.", dns.TypeA, "A 10.1.0.1"},
		{"queue-0.queue.shop.svc.cluster.local.", dns.TypeA, "A 10.1.0.1"},
		{"queue-1.queue.", dns.TypeA, "-"},
		{"far.shop.svc.clusterset.local.", dns.TypeA, "A 10.0.0.3"},
		// The name is there, and has no address of the family: another family's are not to be thought missing too.
		{"catalog.", dns.TypeAAAA, "NOERROR"},
		{"six.example.com.", dns.TypeA, "NOERROR"},
		// Nothing that leads around the mesh.
		{"catalog.", dns.TypeHTTPS, "NOERROR"},
		{"db.example.com.", dns.TypeSVCB, "NOERROR"},
		// What else there may be of a host outside of the mesh its own servers know.
		{"db.example.com.", dns.TypeMX, "-"},
		{"db.example.com.", dns.TypeA, "A 240.240.0.1"},
		// Wildcards: the longest.
		{"any.example.com.", dns.TypeA, "A 240.240.0.2"},
		{"a.b.example.com.", dns.TypeA, "A 240.240.0.2"},
		{"any.deep.example.com.", dns.TypeA, "A 240.240.0.3"},
		{"example.com.", dns.TypeA, "-"},
		{"nothing.example.com.", dns.TypeA, "A 240.240.0.2"}, // a subnet is no address
		// The first domain that resolvers append.
		{"db.example.com.corp.test.", dns.TypeA, "CNAME db.example.com. A 240.240.0.1"},
		{"catalog.corp.test.", dns.TypeA, "CNAME catalog. A 10.0.0.1"},
		{"any.example.com.corp.test.", dns.TypeA, "CNAME any.example.com. A 240.240.0.2"},
		{"catalog.corp.test.", dns.TypeAAAA, "NOERROR"},
		{"corp.test.", dns.TypeA, "-"},
		{"www.elsewhere.test.", dns.TypeA, "-"},
		{".", dns.TypeA, "-"},
	} {
		t.Run(tc.name+dns.TypeToString[tc.kind], func(t *testing.T) {
			q := query(tc.name, tc.kind)
			m := of.answer(q, "corp.test", asIs)
			if got := text(m); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
			if m == nil {
				return
			}
			if !m.Response || m.Id != q.Id || !m.Authoritative || !m.RecursionAvailable || m.Question[0] != q.Question[0] {
				t.Errorf("header %+v", m)
			}
			if len(m.Answer) > 0 && m.Answer[0].Header().Name != tc.name { // letters as they were asked for
				t.Errorf("answers for %s", m.Answer[0].Header().Name)
			}
		})
	}
	q := query("catalog.", dns.TypeA)
	q.Question[0].Qclass = dns.ClassCHAOS
	if m := of.answer(q, "", asIs); m != nil {
		t.Errorf("another class: %s", text(m))
	}
}

// The order of addresses is another each time: clients take the first.
func TestAddressesAreShuffled(t *testing.T) {
	got := text(mesh().answer(query("queue.", dns.TypeA), "", func(list []netip.Addr) { list[0], list[1] = list[1], list[0] }))
	if got != "A 10.1.0.2 A 10.1.0.1" {
		t.Error(got)
	}
	if again := text(mesh().answer(query("queue.", dns.TypeA), "", asIs)); again != "A 10.1.0.1 A 10.1.0.2" {
		t.Errorf("the table itself changed: %s", again)
	}
}

// What the control plane tells later takes the place of what it told before, name by name.
func TestTableFollows(t *testing.T) {
	of := newTable("shop", "shop.svc.cluster.local")
	ask := func(name string) string { return text(of.answer(query(name, dns.TypeA), "", asIs)) }
	if got := ask("catalog."); got != "SERVFAIL" {
		t.Errorf("before anything is known: %s", got)
	}
	for _, step := range []struct {
		changed map[string]*nametable.Table
		gone    []string
		want    map[string]string
	}{
		{nil, nil, map[string]string{"catalog.": "-"}},
		{
			map[string]*nametable.Table{"queue.shop.svc.cluster.local": {
				Own: service("queue", "shop", "10.0.0.1"), Names: map[string]nametable.Info{"q-0.queue.shop.svc.cluster.local": *service("q-0.queue", "shop", "10.0.0.1")},
			}}, nil,
			map[string]string{"queue.": "A 10.0.0.1", "q-0.queue.": "A 10.0.0.1"},
		},
		{
			map[string]*nametable.Table{"queue.shop.svc.cluster.local": {
				Own: service("queue", "shop", "10.0.0.2"), Names: map[string]nametable.Info{"q-1.queue.shop.svc.cluster.local": *service("q-1.queue", "shop", "10.0.0.2")},
			}}, nil,
			map[string]string{"queue.": "A 10.0.0.2", "q-0.queue.": "-", "q-1.queue.": "A 10.0.0.2"},
		},
		{nil, []string{"queue.shop.svc.cluster.local", "never.there"}, map[string]string{"queue.": "-", "q-1.queue.": "-"}},
		// All in one resource, as Istio's control plane sends it.
		{
			map[string]*nametable.Table{"": {Names: map[string]nametable.Info{"catalog.shop.svc.cluster.local": *service("catalog", "shop", "10.0.0.3")}}}, nil,
			map[string]string{"catalog.": "A 10.0.0.3"},
		},
		{
			map[string]*nametable.Table{"": {Names: map[string]nametable.Info{"users.shop.svc.cluster.local": *service("users", "shop", "10.0.0.4")}}}, nil,
			map[string]string{"catalog.": "-", "users.": "A 10.0.0.4"},
		},
	} {
		of.set(step.changed, step.gone)
		for name, want := range step.want {
			if got := ask(name); got != want {
				t.Errorf("after %v -%v: %s is %s, want %s", step.changed, step.gone, name, got, want)
			}
		}
	}
	if len(of.hosts)+len(of.named) != 1 || len(of.others) != 1 {
		t.Errorf("something is left of what is gone: %v %v %v", of.hosts, of.others, of.named)
	}
}
