package differential

import (
	"net"
	"strings"

	"github.com/miekg/dns"
)

// startNameServer serves names over UDP until stop is called.
func startNameServer(address string, names map[string]string) (stop func(), err error) {
	pc, err := net.ListenPacket("udp", address)
	if err != nil {
		return nil, err
	}
	srv := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		if m := answerName(q, names); m != nil {
			_ = w.WriteMsg(m)
		}
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.ActivateAndServe()
	}()
	return func() {
		pc.Close()
		<-done
	}, nil
}

// answerName answers a query: with the addresses that a name has in the list, in their order and good for 300 s; with no data where it
// says "empty"; with SERVFAIL or REFUSED where it says so; not at all where it says "mute" (nil). Other names do not exist.
func answerName(q *dns.Msg, names map[string]string) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	question := q.Question[0]
	what, ok := names[strings.ToLower(strings.TrimSuffix(question.Name, "."))]
	switch {
	case !ok:
		m.Rcode = dns.RcodeNameError
	case what == "mute":
		return nil
	case what == "servfail":
		m.Rcode = dns.RcodeServerFailure
	case what == "refused":
		m.Rcode = dns.RcodeRefused
	case what == "empty":
	default:
		for word := range strings.FieldsSeq(what) {
			ip := net.ParseIP(word)
			h := dns.RR_Header{Name: question.Name, Rrtype: question.Qtype, Class: dns.ClassINET, Ttl: 300}
			switch {
			case question.Qtype == dns.TypeA && ip.To4() != nil:
				m.Answer = append(m.Answer, &dns.A{Hdr: h, A: ip})
			case question.Qtype == dns.TypeAAAA && ip.To4() == nil:
				m.Answer = append(m.Answer, &dns.AAAA{Hdr: h, AAAA: ip})
			}
		}
	}
	return m
}
