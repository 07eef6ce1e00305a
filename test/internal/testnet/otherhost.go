package testnet

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Host is another machine: a network namespace that a pair of virtual devices joins to this one.
type Host struct {
	do    chan func()
	ended chan struct{}
	link  string
}

// NewHost makes one. Both ends get an address of a network of 24 bits, 64 of IPv6. It needs CAP_NET_ADMIN, and names that nobody has: device and its peer are NAME and NAME-p.
func NewHost(name string, here, there netip.Addr) (*Host, error) {
	h := &Host{do: make(chan func()), ended: make(chan struct{}), link: name}
	ready := make(chan error)
	var ns *os.File
	go func() {
		defer close(h.ended)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine, and the namespace with it
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			ns, err = os.Open("/proc/self/task/" + strconv.Itoa(unix.Gettid()) + "/ns/net")
		}
		ready <- err
		if err != nil {
			return
		}
		for f := range h.do {
			f()
		}
	}()
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("another network namespace: %w", err)
	}
	defer ns.Close()
	err := h.connect(ns, here, there)
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("devices between two network namespaces: %w", err)
	}
	return h, nil
}

func (h *Host) connect(ns *os.File, here, there netip.Addr) error {
	peer := h.link + "-p"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: h.link}, PeerName: peer}); err != nil {
		return err
	}
	l, err := netlink.LinkByName(peer)
	if err == nil {
		err = netlink.LinkSetNsFd(l, int(ns.Fd()))
	}
	if err == nil {
		err = bring(h.link, here)
	}
	if err != nil {
		return err
	}
	h.Do(func() {
		if err = bring("lo", netip.Addr{}); err == nil {
			err = bring(peer, there)
		}
	})
	return err
}

// bring gives a device of the thread's namespace an address and sets it to work.
func bring(name string, address netip.Addr) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if address.IsValid() {
		bits := 24
		if address.Is6() {
			bits = 64
		}
		a, err := netlink.ParseAddr(netip.PrefixFrom(address, bits).String())
		if err != nil {
			return err
		}
		if address.Is6() {
			a.Flags = unix.IFA_F_NODAD // at once: nobody else is on the wire
		}
		if err := netlink.AddrAdd(l, a); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(l)
}

// Do runs f on the machine. Sockets and processes that f itself makes are the machine's; f starts no goroutine that makes any.
func (h *Host) Do(f func()) {
	done := make(chan struct{})
	h.do <- func() {
		defer close(done)
		f()
	}
	<-done
}

// Close ends the machine, and with it the devices.
func (h *Host) Close() {
	close(h.do)
	<-h.ended
	if l, err := netlink.LinkByName(h.link); err == nil {
		_ = netlink.LinkDel(l) // else the kernel does it, a little later
	}
}
