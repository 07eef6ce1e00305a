package localmesh

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"syscall"
)

// gatewayPort is one of the gateway's ports as a user chooses them.
type gatewayPort struct {
	flag   string // that chooses it
	chosen int    // 0: nobody did
	usual  int    // that is taken then, or the next free one
}

// free returns the port to listen on, which is none of used. One that was chosen and is taken is an error that names it and its flag. The usual one may be taken by
// something else of this machine: most people never need it, and the mesh's table says where it went.
func (g gatewayPort) free(used []int) (int, error) {
	if g.chosen != 0 {
		return g.chosen, g.taken(g.chosen)
	}
	for port := g.usual; port < g.usual+100; port++ {
		if !slices.Contains(used, port) && g.taken(port) == nil {
			return port, nil
		}
	}
	return 0, g.taken(g.usual)
}

// taken says why the gateway could not listen on the port, or nil.
func (g gatewayPort) taken(port int) error {
	ln, err := net.Listen("tcp", net.JoinHostPort(GatewayBind, strconv.Itoa(port)))
	if err == nil {
		return ln.Close()
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("port %d on %s is taken by another program: choose another for the gateway with --%s", port, GatewayBind, g.flag)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("port %d on %s needs root: choose one from 1024 on with --%s", port, GatewayBind, g.flag)
	}
	return fmt.Errorf("port %d on %s: %w; choose another for the gateway with --%s", port, GatewayBind, err, g.flag)
}
