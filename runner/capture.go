package runner

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"github.com/lateen-mesh/lateen/agent/capture"
)

// capture redirects the command's connections to the proxy when the user asks for it. It returns who the command has to run as, nil for nobody else, and what takes
// the redirection away.
func (cfg Config) capture(m *membership) (who *syscall.Credential, remove func() error, err error) {
	if cfg.CaptureUser == "" {
		return nil, func() error { return nil }, nil
	}
	if cfg.Discovery == "" && len(cfg.Ports) > 0 {
		return nil, nil, errors.New("--capture-user and --port go together under a control plane elsewhere only: in the mesh of this machine what comes to a workload never " +
			"passes the network, so that it cannot be redirected; leave one of them out")
	}
	if who, err = credential(cfg.CaptureUser); err != nil {
		return nil, nil, err
	}
	if int(who.Uid) == os.Getuid() {
		return nil, nil, fmt.Errorf("--capture-user %s: want another than this program's own user, whose connections are the proxy's", cfg.CaptureUser)
	}
	rules := capture.Rules{Name: "lateen-" + strconv.Itoa(int(who.Uid)), UID: who.Uid}
	for _, p := range m.workload.Ports {
		if p.App.Port() != p.Number {
			return nil, nil, fmt.Errorf("--port %s: with --capture-user the command listens on the port itself: write --port %d", strings.Join(cfg.Ports, ","), p.Number)
		}
		rules.Inbound = append(rules.Inbound, p.Number)
	}
	remove, err = capture.Install(rules)
	return who, remove, err
}

// credential is a user by name or number.
func credential(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return nil, fmt.Errorf("--capture-user %s: there is no such user", name)
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("--capture-user %s: %w", name, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("--capture-user %s: %w", name, err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}
