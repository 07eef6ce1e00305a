package nameserver

import (
	"net/netip"

	"github.com/miekg/dns"
)

const (
	// ttl is how many seconds an answer may be kept, as Istio's.
	ttl = 30
	// largestUDP is the size of messages over UDP, in bytes, that is offered and taken (RFC 6891, section 6.2.5).
	largestUDP = 4096
)

// answer returns the response to a query with one question, nil when somebody else has to give it. shuffle changes the order of addresses.
func (t *table) answer(q *dns.Msg, search string, shuffle func([]netip.Addr)) *dns.Msg {
	question := q.Question[0]
	if question.Qclass != dns.ClassINET {
		return nil
	}
	if !t.ready() { // whether the name is the mesh's is not known: the client will ask again
		return failure(q, dns.RcodeServerFailure)
	}
	found, target := t.find(question.Name, search)
	if found == nil {
		return nil
	}
	var list []netip.Addr
	switch question.Qtype {
	case dns.TypeA:
		list = found.v4
	case dns.TypeAAAA:
		list = found.v6
	case dns.TypeHTTPS, dns.TypeSVCB:
		// They may give addresses that lead around the mesh (RFC 9460, section 7.3). There are none.
	default:
		return nil
	}
	m := reply(q)
	m.Authoritative = true
	// A name without an address of the family is there all the same: NXDOMAIN would be taken for the other family too (RFC 2308, section 2.2).
	list = append([]netip.Addr(nil), list...)
	shuffle(list)
	owner := question.Name
	if target != "" && len(list) > 0 {
		owner = dns.Fqdn(target)
		m.Answer = append(m.Answer, &dns.CNAME{Hdr: header(question.Name, dns.TypeCNAME), Target: owner})
	}
	for _, a := range list {
		if a.Is4() {
			m.Answer = append(m.Answer, &dns.A{Hdr: header(owner, dns.TypeA), A: a.AsSlice()})
		} else {
			m.Answer = append(m.Answer, &dns.AAAA{Hdr: header(owner, dns.TypeAAAA), AAAA: a.AsSlice()})
		}
	}
	return m
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}

// reply begins a response of this server's own.
func reply(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	if o := q.IsEdns0(); o != nil {
		m.SetEdns0(largestUDP, o.Do()) // RFC 6891, section 6.1.1
	}
	return m
}

func failure(q *dns.Msg, code int) *dns.Msg {
	m := reply(q)
	m.Rcode = code
	return m
}

// fit makes the response as large as the client takes it: what is too large for UDP is cut, and says so.
func fit(m, q *dns.Msg, udp bool) {
	size := dns.MaxMsgSize
	if udp {
		size = dns.MinMsgSize
		if o := q.IsEdns0(); o != nil {
			size = min(max(int(o.UDPSize()), dns.MinMsgSize), largestUDP)
		}
	}
	m.Truncate(size)
}
