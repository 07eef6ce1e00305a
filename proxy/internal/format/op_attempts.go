package format

import (
	"strconv"

	"github.com/lateen-mesh/lateen/proxy/internal/cluster"
)

// attempted prints the hosts of all attempts in order.
func attempted(f func(*cluster.Host) string) *valueOp {
	return &valueOp{f: func(dst []byte, c *Context) ([]byte, bool) {
		if c.Info == nil || len(c.Info.Attempted) == 0 {
			return dst, false
		}
		for i, h := range c.Info.Attempted {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, f(h)...)
		}
		return dst, true
	}}
}

func hostAddress(h *cluster.Host) string { return h.Name }

func hostIP(h *cluster.Host) string {
	if h.Address.IP.IsValid() {
		return h.Address.IP.String()
	}
	return h.Name
}

func hostName(h *cluster.Host) string {
	if h.Hostname != "" {
		return h.Hostname
	}
	return h.Name
}

// withoutPort is a host's name less ":PORT".
func withoutPort(f func(*cluster.Host) string) func(*cluster.Host) string {
	return func(h *cluster.Host) string {
		s := f(h)
		for i := len(s) - 1; i > 0; i-- {
			if s[i] < '0' || s[i] > '9' {
				if s[i] == ':' && i < len(s)-1 {
					return s[:i]
				}
				break
			}
		}
		return s
	}
}

func upstreamConnectionID(dst []byte, c *Context) ([]byte, bool) {
	if c.Info == nil || c.Info.UpstreamConnectionID == 0 {
		return dst, false
	}
	return strconv.AppendUint(dst, c.Info.UpstreamConnectionID, 10), true
}
