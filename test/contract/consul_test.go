package contract

import (
	"testing"

	"github.com/lateen-mesh/lateen/test/internal/consulmesh"
	"github.com/lateen-mesh/lateen/test/standin/consul"
)

// TestConsul runs on a stand-in what test/registries runs on a real Consul.
func TestConsul(t *testing.T) {
	a := &consulAgent{t: t, server: consul.New()}
	t.Cleanup(func() { a.server.Close() })
	a.addr = a.server.Addr()
	consulmesh.Run(t, a)
}

type consulAgent struct {
	t      *testing.T
	server *consul.Server
	addr   string
}

func (a *consulAgent) Addr() string { return a.addr }
func (a *consulAgent) Kill()        { a.server.Close() }
func (a *consulAgent) Restart() {
	s, err := consul.NewAt(a.addr)
	if err != nil {
		a.t.Fatal(err)
	}
	a.server = s
}
