package hcm

import (
	"bytes"
	"net/netip"
	"unsafe"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
)

// detected is what original_ip_detection_extensions have found.
type detected struct {
	client  netip.Addr // invalid: nobody
	trusted bool       // the client may be internal
	appends bool       // x-forwarded-for gets the connection's address
	refuse  int        // the status to refuse the request with; 0: it goes on
}

// detect finds the client, by the first way that does.
func (s *stream) detect(xff []byte) (found detected) {
	ways := s.w.m.cfg.Detection
	for i := range ways {
		d := &ways[i]
		switch {
		case d.Header != "":
			v, _ := s.req.GetName(d.Header)
			found = detected{client: parseAddr(v), trusted: d.Trusted}
			if !found.client.IsValid() && d.RejectStatus != 0 {
				return detected{refuse: d.RejectStatus}
			}
		case d.TrustedProxies == nil:
			found = detected{appends: d.AppendXFF}
			found.client, found.trusted = lastOfXFF(xff, int(d.TrustedHops))
		case contains(d.TrustedProxies, s.info.Downstream.RemoteAddr.Addr()):
			found = detected{client: untrusted(xff, d.TrustedProxies), appends: d.AppendXFF}
		default: // a stranger, whose address the next hop is to know whatever skip_xff_append says, as in Envoy
			found = detected{appends: true}
		}
		if found.client.IsValid() {
			break
		}
	}
	return found
}

func contains(proxies []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap()
	for _, p := range proxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// untrusted is the first address from the right of x-forwarded-for that is none of the proxies', or the leftmost. It is invalid where
// something else comes first.
func untrusted(xff []byte, proxies []netip.Prefix) (a netip.Addr) {
	for end := len(xff); end >= 0; {
		start := bytes.LastIndexByte(xff[:end], ',') + 1
		if a = parseAddr(xff[start:end]); !a.IsValid() || !contains(proxies, a) {
			return a
		}
		end = start - 1
	}
	return a
}

// parseAddr reads an address, invalid for what is none.
func parseAddr(v []byte) netip.Addr {
	v = bytes.Trim(v, " ")
	a, err := netip.ParseAddr(unsafe.String(unsafe.SliceData(v), len(v)))
	if err != nil || a.Zone() != "" {
		return netip.Addr{}
	}
	return a
}

// refuseUnknown answers a request whose client must be known and is not.
func (s *stream) refuseUnknown(status int) {
	s.w.inc(rqUnknownClient)
	s.Reply(httpfilter.Reply{Code: status, Details: "rejecting_because_detection_failed"})
}

// addUserAgent names our node to the next hop, as add_user_agent has it.
func (s *stream) addUserAgent() {
	d := &s.w.m.deps
	s.req.SetString(header.XEnvoyDownstreamServiceCluster, d.NodeCluster)
	if len(s.req.Value(header.UserAgent)) == 0 {
		s.req.SetString(header.UserAgent, d.NodeCluster)
	}
	if d.NodeID != "" {
		s.req.SetString(header.XEnvoyDownstreamServiceNode, d.NodeID)
	}
}

var localOverloadedKey = header.KeyOf("x-envoy-local-overloaded")
