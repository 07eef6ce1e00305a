package conn

import (
	"fmt"
	"net/netip"
	"syscall"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// What package syscall lacks.
const (
	ipBindAddressNoPort = 24
	ipFreebind          = 15
	ipv6Freebind        = 78
)

// bind sets a socket's options and the address that it connects from.
func bind(fd, family int, b *xdsresource.Bind) error {
	source := b.For(family == syscall.AF_INET6)
	if err := SetSocketOptions(fd, source.Options, xdsresource.BeforeBind); err != nil {
		return err
	}
	if ip := source.Address.IP; ip.IsValid() {
		if err := bindTo(fd, family, source, b.Freebind); err != nil {
			return fmt.Errorf("bind to source address %s: %w", ip, err)
		}
	}
	return SetSocketOptions(fd, source.Options, xdsresource.AfterBind)
}

func bindTo(fd, family int, source *xdsresource.Source, freebind bool) error {
	ip, port := source.Address.IP.Unmap(), source.Address.Port
	sa, f := Sockaddr(netip.AddrPortFrom(ip, port))
	if f != family {
		return fmt.Errorf("the destination is of another family")
	}
	if freebind {
		level, name := syscall.IPPROTO_IP, ipFreebind
		if family == syscall.AF_INET6 {
			level, name = syscall.IPPROTO_IPV6, ipv6Freebind
		}
		if err := syscall.SetsockoptInt(fd, level, name, 1); err != nil {
			return fmt.Errorf("freebind: %w", err)
		}
	}
	if port == 0 {
		// The port is chosen by connect, which knows the destination: else the source
		// address alone limits us to 28,000 connections. Older kernels lack it.
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, ipBindAddressNoPort, 1)
	}
	return syscall.Bind(fd, sa)
}

// SetSocketOptions sets the options of a moment.
func SetSocketOptions(fd int, options []xdsresource.SocketOption, when xdsresource.SocketState) error {
	for _, o := range options {
		if o.State != when {
			continue
		}
		if err := syscall.SetsockoptString(fd, o.Level, o.Name, string(o.Value)); err != nil {
			return fmt.Errorf("socket_options: level %d, name %d: %w", o.Level, o.Name, err)
		}
	}
	return nil
}
