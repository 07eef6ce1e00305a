package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"github.com/lateen-mesh/lateen/agent/capture"
	"github.com/lateen-mesh/lateen/workload"
)

// interception is what is redirected to the proxy, and who the command has to run as for that.
type interception struct {
	who   *syscall.Credential
	rules capture.Rules
}

// interception returns nil when nothing is to be redirected.
func (cfg Config) interception(w workload.Workload) (*interception, error) {
	if cfg.CaptureUser == "" {
		if cfg.IncludeRanges != "" && cfg.IncludeRanges != "*" || cfg.ExcludeRanges+cfg.IncludePorts+cfg.ExcludePorts+cfg.IncludeInbound+cfg.ExcludeInbound+cfg.CaptureDNS != "" {
			return nil, errors.New("what is captured is said, and not of whom: give --capture-user too")
		}
		return nil, nil
	}
	if cfg.Discovery == "" && cfg.IncludeInbound+cfg.ExcludeInbound != "" {
		return nil, errors.New("--include-inbound-ports and --exclude-inbound-ports are for a control plane elsewhere: in the mesh of this machine what comes to a workload never " +
			"passes the network; its proxy is at the workload's address itself")
	}
	who, err := credential(cfg.CaptureUser)
	if err != nil {
		return nil, err
	}
	if int(who.Uid) == os.Getuid() {
		return nil, fmt.Errorf("--capture-user %s: want another than this program's own user, whose connections are the proxy's", cfg.CaptureUser)
	}
	if err := alone(); err != nil {
		return nil, err
	}
	rules := capture.Rules{Name: "lateen-" + strconv.Itoa(int(who.Uid)), User: &who.Uid}
	if rules.Outbound, err = cfg.outbound(); err != nil {
		return nil, err
	}
	for _, p := range w.Ports {
		if cfg.Discovery == "" {
			break // the proxy is there
		}
		if p.App.Port() != p.Number {
			return nil, fmt.Errorf("--port %s: with --capture-user the command listens on the port itself: write --port %d", strings.Join(cfg.Ports, ","), p.Number)
		}
		rules.Inbound.Ports = append(rules.Inbound.Ports, p.Number)
	}
	if cfg.IncludeInbound != "" {
		if rules.Inbound, err = capture.ParseInbound(cfg.IncludeInbound); err != nil {
			return nil, fmt.Errorf("--include-inbound-ports: %w", err)
		}
	}
	if rules.Inbound.ExceptPorts, err = capture.ParsePorts(cfg.ExcludeInbound); err != nil {
		return nil, fmt.Errorf("--exclude-inbound-ports: %w", err)
	}
	if rules.Inbound.All { // the proxy's own, as in Istio
		rules.Inbound.ExceptPorts = append(rules.Inbound.ExceptPorts, healthPort, statsPort, statusPort)
	}
	return &interception{who, rules}, nil
}

// alone says whether there is a workload already whose connections are redirected here: there is one such port in a network namespace.
func alone() error {
	l, err := net.Listen("tcp", ":"+strconv.Itoa(capture.OutboundPort))
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("--capture-user: port %d is taken: one workload of a network namespace can have its connections redirected; run this one in another "+
			"(ip netns exec), or without --capture-user", capture.OutboundPort)
	}
	if err != nil {
		return fmt.Errorf("--capture-user: %w", err)
	}
	return l.Close()
}

// flags and environment are for the proxy.
func (i *interception) flags() []string {
	if i == nil {
		return nil
	}
	return []string{"--default-dns-capture"} // where no host and no mesh says otherwise: without Kubernetes nobody else knows the names of services
}

func (i *interception) environment(cfg Config) []string {
	if i == nil {
		return nil
	}
	env := []string{"ISTIO_META_INTERCEPTION_MODE=REDIRECT"}
	if cfg.Discovery == "" {
		env = append(env, "ISTIO_META_LATEEN_INBOUND_MODE=NONE")
	}
	if cfg.CaptureDNS != "" {
		env = append(env, "ISTIO_META_DNS_CAPTURE="+cfg.CaptureDNS)
	}
	return env
}

// credential is who the command runs as; nil: this program's own user.
func (i *interception) credential() *syscall.Credential {
	if i == nil {
		return nil
	}
	return i.who
}

// install begins the redirection to a proxy that serves, and returns what ends it. Whether queries are, and IPv6, and to which ports, the proxy says: the mesh may have its
// word in that.
func (i *interception) install(ctx context.Context, w workload.Workload) (remove func() error, err error) {
	if i == nil {
		return func() error { return nil }, nil
	}
	info, err := askProxy(ctx, w)
	if err != nil {
		return nil, err
	}
	i.rules.DNS, i.rules.IPv6 = info.dns(), strings.Contains(info.Node.Metadata.IPs, ":")
	if i.rules.OutboundPort, i.rules.InboundPort, err = capture.ParseCapturePorts(info.Node.Metadata.Ports); err != nil {
		return nil, fmt.Errorf("where the proxy takes connections: %w", err)
	}
	return capture.Install(i.rules)
}

// serverInfo is what is read of the proxy's /server_info.
type serverInfo struct {
	Node struct {
		Metadata struct {
			DNSCapture any    `json:"DNS_CAPTURE"`
			IPs        string `json:"INSTANCE_IPS"`
			Ports      string `json:"LATEEN_CAPTURE_PORTS"`
		} `json:"metadata"`
	} `json:"node"`
}

// dns says whether the agent answers queries.
func (i *serverInfo) dns() bool {
	said, _ := i.Node.Metadata.DNSCapture.(string)
	return i.Node.Metadata.DNSCapture == true || strings.EqualFold(said, "true")
}

func askProxy(ctx context.Context, w workload.Workload) (*serverInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.Admin()+"/server_info", nil)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("ask the proxy: %w", err)
	}
	defer resp.Body.Close()
	info := &serverInfo{}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxServerInfo)).Decode(info); err != nil {
		return nil, fmt.Errorf("ask the proxy: /server_info: %w", err)
	}
	return info, nil
}

// maxServerInfo bounds what is read of the proxy's answer, in bytes.
const maxServerInfo = 1 << 20

// Ports of every proxy, which others call without the mesh.
const (
	healthPort = 15021
	statsPort  = 15090
	statusPort = 15020
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
