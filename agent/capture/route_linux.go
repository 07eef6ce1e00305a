package capture

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The addresses that the mesh gives hosts that have none, for workloads whose queries are captured. They lead to the proxy alone.
const meshAddresses4, meshAddresses6 = "240.240.0.0/16", "2001:2::f0f0:0/112"

// addRoutes sees to it that a connection to an address of the mesh's may set out: where no route leads, as on a machine without a default one, the kernel refuses it
// before any rule could redirect it. It returns what takes away what it has added.
func (r *Rules) addRoutes() (remove func() error, err error) {
	var added []*netlink.Route
	remove = func() error {
		var errs []error
		for _, route := range added {
			if err := netlink.RouteDel(route); err != nil && !errors.Is(err, unix.ESRCH) {
				errs = append(errs, fmt.Errorf("end the capture: route to %s: %w", route.Dst, err))
			}
		}
		return errors.Join(errs...)
	}
	if !r.DNS {
		return remove, nil
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, fmt.Errorf("capture: lo: %w", err)
	}
	networks := []string{meshAddresses4}
	if r.IPv6 {
		networks = append(networks, meshAddresses6)
	}
	for _, text := range networks {
		_, network, err := net.ParseCIDR(text)
		if err != nil {
			return nil, err
		}
		if leads(network.IP) {
			continue
		}
		route := &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: network}
		if err := netlink.RouteAdd(route); err != nil {
			return nil, errors.Join(fmt.Errorf("capture: route to %s: %w", text, err), remove())
		}
		added = append(added, route)
	}
	return remove, nil
}

// leads reports whether there is a route to an address.
func leads(ip net.IP) bool {
	routes, err := netlink.RouteGet(ip)
	return err == nil && len(routes) > 0
}
