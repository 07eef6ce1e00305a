package localmesh

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"runtime"

	"github.com/lateen-mesh/lateen/workload"
)

const isLinux = runtime.GOOS == "linux"

// Content is what runs in a mesh.
type Content interface {
	// Prepare is called before anything runs. It writes the configuration that the mesh starts with, the gateway's Service (Place.GatewayService)
	// included, and returns the workloads.
	Prepare(p Place) ([]workload.Workload, error)
	// Serves is nil when all of it answers; every proxy is ready by then.
	Serves(ctx context.Context, p Place) error
	// Table says what runs and where, once it serves.
	Table(out io.Writer, p Place) error
	// Keep works while the mesh runs, until ctx ends. It may change the workloads.
	Keep(ctx context.Context, m *Members) error
}

// Config of a mesh.
type Config struct {
	// Command is the command that the user gave, "demo" or "up": `lateen COMMAND stop` ends the mesh.
	Command string
	// Content is what runs.
	Content Content
	// StateDir is made when it is missing.
	StateDir string
	// StateFlag is what the user wrote as --state-dir, "" for nothing; the table repeats it.
	StateFlag string
	// GatewayPort is where the gateway listens for port 80 of the mesh, on 127.0.0.1.
	GatewayPort int
	// GatewayTLSPort and GatewayTCPPort are where it listens for 443 and 31400, once a Gateway asks for them. 0: 8443 and 31400, or the next
	// that are free.
	GatewayTLSPort, GatewayTCPPort int
	// Executable is the program whose commands are run: `lateen` itself.
	Executable string
	// Out gets the table, once the mesh serves.
	Out io.Writer
	// Logger tells of processes that end and come back; not shown to the user.
	Logger *slog.Logger
	// Ready, when set, is called once, after the table.
	Ready func()
}

// Mesh is one mesh with its content.
type Mesh struct {
	cfg   Config
	block func() (string, error)
}

// New returns a mesh that has started nothing and touched nothing.
func New(cfg Config) (*Mesh, error) {
	if cfg.GatewayPort < 1 || cfg.GatewayPort > 65535 {
		return nil, fmt.Errorf("--gateway-port %d: want 1 to 65535", cfg.GatewayPort)
	}
	for _, g := range cfg.gatewayPorts() {
		if g.chosen < 0 || g.chosen > 65535 {
			return nil, fmt.Errorf("--%s %d: want 1 to 65535", g.flag, g.chosen)
		}
		for _, other := range cfg.gatewayPorts() {
			if g.flag != other.flag && g.chosen != 0 && g.chosen == other.chosen {
				return nil, fmt.Errorf("--%s and --%s are both %d: choose two ports", g.flag, other.flag, g.chosen)
			}
		}
	}
	abs, err := filepath.Abs(cfg.StateDir)
	if err != nil {
		return nil, fmt.Errorf("state folder %s: %w", cfg.StateDir, err)
	}
	cfg.StateDir = abs
	m := &Mesh{cfg: cfg}
	m.block = func() (string, error) { return chooseBlock(preferredBlock(abs), blockIsFree, cfg.Command) }
	return m, nil
}

// gatewayPorts are those for 80, 443 and 31400 of the mesh.
func (c *Config) gatewayPorts() [3]gatewayPort {
	return [3]gatewayPort{{"gateway-port", c.GatewayPort, c.GatewayPort}, {"gateway-tls-port", c.GatewayTLSPort, 8443}, {"gateway-tcp-port", c.GatewayTCPPort, 31400}}
}
