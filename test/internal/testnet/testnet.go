// Package testnet gives a test binary a network of its own: a network, mount and user namespace in which all of 10.0.0.0/8 is this
// machine, every port is free, connections can be captured as in a pod, and names are what the test says.
//
// It needs no privilege where the kernel lets a user make namespaces. Where it does not, the tests run in the network they were started in
// and Missing says why; a test that needs the namespace skips with that reason. It knows nothing of proxies. Only tests import it.
package testnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Where captured connections arrive, as in a pod of Istio's.
const (
	OutboundPort = 15001
	InboundPort  = 15006
)

// Mark is what a socket carries to be captured.
type Mark int

// Marks of what leaves an application, and of what comes to one.
const (
	Outbound Mark = 1
	Inbound  Mark = 2
)

const (
	variable  = "LATEEN_TESTNET" // "inside" in the namespaces, else why there are none
	inside    = "inside"
	exitSetup = 97 // of a child that could not set its network up
)

// Enter runs the test binary again in namespaces of its own, and ends with its exit code. It returns in that second run, and where no
// namespaces can be made. Call it first thing in TestMain.
func Enter() {
	if os.Getenv(variable) == inside {
		if err := setup(); err != nil {
			fmt.Fprintln(os.Stderr, "testnet:", err)
			os.Exit(exitSetup)
		}
		return
	}
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Stdin, c.Stdout = os.Stdin, os.Stdout
	stderr := &tail{}
	c.Stderr = stderr
	c.Env = append(os.Environ(), variable+"="+inside)
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	err := c.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		os.Exit(0)
	case errors.As(err, &exit) && exit.ExitCode() != exitSetup:
		os.Exit(max(exit.ExitCode(), 1))
	case errors.As(err, &exit):
		err = errors.New(strings.TrimSpace(string(stderr.last)))
	}
	os.Setenv(variable, "this needs a network namespace, which could not be had: "+err.Error())
}

// tail passes a child's errors on and keeps the last of them.
type tail struct{ last []byte }

func (t *tail) Write(b []byte) (int, error) {
	t.last = append(t.last[:0], b...)
	return os.Stderr.Write(b)
}

// Missing is empty inside the namespaces, and says why there are none elsewhere.
func Missing() string {
	switch v := os.Getenv(variable); v {
	case inside:
		return ""
	case "":
		return "TestMain does not call testnet.Enter"
	default:
		return v
	}
}

func setup() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("lo: %w", err)
	}
	// A network on the loopback device is local as a whole, like 127.0.0.0/8.
	ten, err := netlink.ParseAddr("10.0.0.1/8")
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(lo, ten); err != nil {
		return fmt.Errorf("10.0.0.0/8: %w", err)
	}
	if err := Local6(lo); err != nil {
		return fmt.Errorf("%s: %w", Network6, err)
	}
	if err := capture(); err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	return OwnNames()
}

// OwnNames makes a name server on 127.0.0.1 the only one, and no name known without one, for a process that has a mount namespace of its own.
func OwnNames() error {
	// What is mounted here nobody else sees.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	if err := replace("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"); err != nil {
		return err
	}
	return replace("/etc/hosts", "127.0.0.1 localhost\n")
}

// Network6 is IPv6's counterpart of 10.0.0.0/8: all of it is this machine. Address6 is the one of it that a socket can be bound to.
const (
	Network6 = "fd10::/16"
	Address6 = "fd10::1"
)

// Local6 makes it so, on the loopback device of the thread's namespace.
func Local6(lo netlink.Link) error {
	_, network, err := net.ParseCIDR(Network6)
	if err != nil {
		return err
	}
	own, err := netlink.ParseAddr(Address6 + "/128")
	if err != nil {
		return err
	}
	own.Flags = unix.IFA_F_NODAD // at once
	if err := netlink.AddrAdd(lo, own); err != nil {
		return err
	}
	// Other than with IPv4, an address brings no more than itself.
	return netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: network, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST})
}

// capture sends what carries a mark to a proxy's port, which learns from the kernel where it was going.
func capture() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "capture"})
	out := c.AddChain(&nftables.Chain{Name: "output", Table: t, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest})
	for mark, port := range map[Mark]uint16{Outbound: OutboundPort, Inbound: InboundPort} {
		c.AddRule(&nftables.Rule{Table: t, Chain: out, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, uint32(mark))},
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
			&expr.Immediate{Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
			&expr.Redir{RegisterProtoMin: 1},
		}})
	}
	return c.Flush()
}

// replace puts a file of the namespace's own in the place of one of the machine's.
func replace(path, text string) error {
	f, err := os.CreateTemp("", "testnet")
	if err != nil {
		return err
	}
	defer f.Close()
	defer os.Remove(f.Name()) // the mount keeps it
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	if err := unix.Mount(f.Name(), path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// Dialer makes connections that are captured.
func Dialer(m Mark) *net.Dialer {
	return &net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if cerr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(m)) }); cerr != nil {
			return cerr
		}
		return err
	}}
}
