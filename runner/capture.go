package runner

import (
	"errors"
	"fmt"
	"net/netip"
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
		if cfg.IncludeRanges != "" && cfg.IncludeRanges != "*" || cfg.ExcludeRanges+cfg.IncludePorts+cfg.ExcludePorts+cfg.IncludeInbound+cfg.ExcludeInbound != "" {
			return nil, nil, errors.New("what is captured is said, and not of whom: give --capture-user too")
		}
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
	rules := capture.Rules{Name: "lateen-" + strconv.Itoa(int(who.Uid)), User: &who.Uid}
	if rules.Outbound, err = cfg.outbound(); err != nil {
		return nil, nil, err
	}
	for _, p := range m.workload.Ports {
		if p.App.Port() != p.Number {
			return nil, nil, fmt.Errorf("--port %s: with --capture-user the command listens on the port itself: write --port %d", strings.Join(cfg.Ports, ","), p.Number)
		}
		rules.Inbound.Ports = append(rules.Inbound.Ports, p.Number)
	}
	if cfg.IncludeInbound != "" {
		if rules.Inbound, err = capture.ParseInbound(cfg.IncludeInbound); err != nil {
			return nil, nil, fmt.Errorf("--include-inbound-ports: %w", err)
		}
	}
	if rules.Inbound.ExceptPorts, err = capture.ParsePorts(cfg.ExcludeInbound); err != nil {
		return nil, nil, fmt.Errorf("--exclude-inbound-ports: %w", err)
	}
	if rules.Inbound.All { // the proxy's own, as in Istio
		rules.Inbound.ExceptPorts = append(rules.Inbound.ExceptPorts, healthPort, statsPort)
	}
	remove, err = capture.Install(rules)
	return who, remove, err
}

// Ports of every proxy, which others call without the mesh.
const (
	healthPort = 15021
	statsPort  = 15090
)

// outbound are the destinations whose connections are redirected.
func (cfg Config) outbound() (out capture.Outbound, err error) {
	ranges := func(flag, text string) (list []netip.Prefix) {
		if err == nil {
			if list, err = capture.ParseRanges(text); err != nil {
				err = fmt.Errorf("--%s: %w", flag, err)
			}
		}
		return list
	}
	ports := func(flag, text string) (list []uint16) {
		if err == nil {
			if list, err = capture.ParsePorts(text); err != nil {
				err = fmt.Errorf("--%s: %w", flag, err)
			}
		}
		return list
	}
	out = capture.Outbound{
		Ranges: ranges("include-outbound-ip-ranges", cfg.IncludeRanges), ExceptRanges: ranges("exclude-outbound-ip-ranges", cfg.ExcludeRanges),
		Ports: ports("include-outbound-ports", cfg.IncludePorts), ExceptPorts: ports("exclude-outbound-ports", cfg.ExcludePorts),
	}
	return out, err
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
