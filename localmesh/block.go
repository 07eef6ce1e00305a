package localmesh

import (
	"fmt"
	"hash/fnv"
	"net"
	"path/filepath"
	"strconv"
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
func chooseBlock(preferred int, free func(block string) bool, command string) (string, error) {
	count := lastBlock - firstBlock + 1
	for i := range count {
		block := "127." + strconv.Itoa(firstBlock+(preferred-firstBlock+i)%count)
		if free(block) {
			return block, nil
		}
	}
	return "", fmt.Errorf("no free loopback block from 127.%d to 127.%d: end the meshes that you no longer need with `lateen %s stop`", firstBlock, lastBlock, command)
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
