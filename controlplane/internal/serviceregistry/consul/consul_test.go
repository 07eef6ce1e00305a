package consul

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/lateen-mesh/lateen/controlplane/internal/serviceregistry/watch"
	"github.com/lateen-mesh/lateen/test/standin/consul"
)

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		opts Options
		want string
	}{
		{Options{}, "needs the address of an agent"},
		{Options{Address: "ftp://x"}, "address ftp://x"},
		{Options{Address: "x:1", TokenFile: "/no/such/file"}, "--consul-token-file names the file"},
		{Options{Address: "https://x:1", CAFile: "/no/such/file"}, "TLS"},
		{Options{Address: "https://x:1", CertFile: "consul.go", KeyFile: "consul.go"}, "TLS"},
	} {
		if _, err := New(tt.opts, nil, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: err %v, want %q", tt.opts, err, tt.want)
		}
	}
}

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		opts Options
		want string
	}{
		{Options{Address: "127.0.0.1:8500"}, "consul 127.0.0.1:8500"},
		{Options{Address: "https://user:secret@x:8501", Datacenter: "dc2", Namespace: "team", Partition: "p"}, "consul https://x:8501 dc=dc2 partition=p namespace=team"},
	} {
		w, err := New(tt.opts, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if w.Name() != tt.want {
			t.Errorf("name %q, want %q", w.Name(), tt.want)
		}
	}
}

// TestList: names that make no host, or the host of another, are told and left out.
func TestList(t *testing.T) {
	agent := consul.New()
	defer agent.Close()
	for _, name := range []string{"web", "WEB", "a b", "../x", "ok"} {
		agent.Put(&api.ServiceEntry{Node: &api.Node{Node: "n"}, Service: &api.AgentService{ID: name, Service: name}})
	}
	opts := Options{Address: agent.Addr(), Domain: "consul", MaxWatches: 1}
	c, err := newClient(opts)
	if err != nil {
		t.Fatal(err)
	}
	l, err := c.List(t.Context(), watch.Query{})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(l.Names, " "); got != "WEB ok" || len(l.Problems) != 3 || !strings.Contains(l.Problems["web"], `the host of the service "WEB"`) {
		t.Errorf("names %q, problems %v", got, l.Problems)
	}
	if l.Index == 0 {
		t.Error("no index")
	}
	// The query waits for news, and no longer than it was told to.
	begin := time.Now()
	again, err := c.List(t.Context(), watch.Query{Index: l.Index, Wait: 50 * time.Millisecond})
	if err != nil || again.Index != l.Index {
		t.Errorf("index %d, err %v", again.Index, err)
	}
	if took := time.Since(begin); took < 50*time.Millisecond {
		t.Errorf("it waited %v", took)
	}
}
