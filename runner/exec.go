package runner

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/pkg/runfile"
)

// Exec runs a command beside the application of one of the mesh's workloads: in its folder and with its environment, so that the command's requests go out through the
// workload's proxy and carry its identity. It is `kubectl exec` for a mesh of processes. The error is an ExitError when the command ended badly.
func Exec(ctx context.Context, run *runfile.Run, proxy runfile.Proxy, argv []string) error {
	if proxy.Type != "sidecar" {
		return fmt.Errorf("%s is a gateway: it has no application whose place a command could take", proxy.Name)
	}
	i := slices.IndexFunc(run.Processes, func(p runfile.Process) bool { return p.Name == proxy.Name })
	if i < 0 {
		return fmt.Errorf("%s has no application that the mesh runs", proxy.Name)
	}
	pid := run.Processes[i].PID
	if pid == 0 {
		return fmt.Errorf("the application %s does not run at the moment; its log is %s", proxy.Name, run.Processes[i].Log)
	}
	env, dir, err := surroundings(pid)
	if err != nil {
		return fmt.Errorf("the application %s: %w", proxy.Name, err)
	}
	c, err := startCommand(argv, env, dir, nil)
	if err != nil {
		return err
	}
	select {
	case <-c.done:
		return c.result()
	case <-ctx.Done():
		c.end(grace)
		return ctx.Err()
	}
}

// surroundings reads a process's environment, as it was started, and the folder that it is in (proc(5)).
func surroundings(pid int) (env []string, dir string, err error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return nil, "", err
	}
	dir, err = os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	return strings.FieldsFunc(string(raw), func(r rune) bool { return r == 0 }), dir, err
}
