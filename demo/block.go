package demo

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// Blocks are 127.B.0.0/16 with B from firstBlock to lastBlock: low ones are taken by people (127.0.0.1, 127.0.1.1), 255 ends in the
// broadcast address.
const (
	firstBlock = 64
	lastBlock  = 254
)

// controlPlanePorts are Istio's: plaintext xDS, mutual-TLS xDS and CA, debug and metrics.
var controlPlanePorts = []int{15010, 15012, 15014}

// preferredBlock spreads state folders over the blocks, so that one folder gets the same block each time.
func preferredBlock(stateDir string) int {
	if abs, err := filepath.Abs(stateDir); err == nil {
		stateDir = abs
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(stateDir)) // never fails
	return firstBlock + int(h.Sum32()%uint32(lastBlock-firstBlock+1))
}

// chooseBlock returns the first block from preferred on, around, that is free, as "127.B".
func chooseBlock(preferred int, free func(block string) bool) (string, error) {
	count := lastBlock - firstBlock + 1
	for i := range count {
		block := "127." + strconv.Itoa(firstBlock+(preferred-firstBlock+i)%count)
		if free(block) {
			return block, nil
		}
	}
	return "", fmt.Errorf("no free loopback block from 127.%d to 127.%d: end the meshes that you no longer need with `lateen demo stop`", firstBlock, lastBlock)
}

// blockIsFree tries to listen where the block's control plane would.
func blockIsFree(block string) bool {
	for _, port := range controlPlanePorts {
		ln, err := net.Listen("tcp", net.JoinHostPort(block+".0.1", strconv.Itoa(port)))
		if err != nil {
			return false
		}
		ln.Close()
	}
	return true
}

// gatewayPort is one of the gateway's ports as a user chooses them.
type gatewayPort struct {
	flag   string // that chooses it
	chosen int    // 0: nobody did
	usual  int    // that is taken then, or the next free one
}

// free returns the port to listen on, which is none of used. One that was chosen and is taken is an error that names it and its flag. The usual one may be taken by
// something else of this machine: most people never need it, and the demo's table says where it went.
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
	ln, err := net.Listen("tcp", net.JoinHostPort(gatewayBind, strconv.Itoa(port)))
	if err == nil {
		return ln.Close()
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("port %d on %s is taken by another program: choose another for the gateway with --%s", port, gatewayBind, g.flag)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("port %d on %s needs root: choose one from 1024 on with --%s", port, gatewayBind, g.flag)
	}
	return fmt.Errorf("port %d on %s: %w; choose another for the gateway with --%s", port, gatewayBind, err, g.flag)
}
