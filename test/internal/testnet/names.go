package testnet

import (
	"errors"
	"net"
	"sync"

	"github.com/miekg/dns"
)

// ServeNames makes names resolve to addresses, for this process and those that it starts, and none but these, until stop is called. They
// come from a name server: what is read from /etc/hosts is remembered for seconds.
func ServeNames(addresses map[string][]string) (stop func(), err error) {
	if why := Missing(); why != "" {
		return nil, errors.New(why)
	}
	return Names(addresses)
}

// Names is ServeNames for a process that has called OwnNames itself.
func Names(addresses map[string][]string) (stop func(), err error) {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:53")
	if err != nil {
		return nil, err
	}
	srv := &dns.Server{PacketConn: conn, Handler: names(addresses)}
	var wg sync.WaitGroup
	wg.Go(func() {
		// It ends when conn is closed, with an error that says so.
		_ = srv.ActivateAndServe()
	})
	return func() {
		conn.Close()
		wg.Wait()
	}, nil
}

// names answers from a table: addresses with a time to live of a second.
type names map[string][]string

func (n names) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	for _, question := range q.Question {
		name := question.Name
		list, known := n[name[:len(name)-1]]
		if !known {
			m.Rcode = dns.RcodeNameError
		}
		for _, a := range list {
			ip, header := net.ParseIP(a), dns.RR_Header{Name: name, Rrtype: question.Qtype, Class: dns.ClassINET, Ttl: 1}
			switch v4 := ip.To4(); {
			case question.Qtype == dns.TypeA && v4 != nil:
				m.Answer = append(m.Answer, &dns.A{Hdr: header, A: v4})
			case question.Qtype == dns.TypeAAAA && v4 == nil:
				m.Answer = append(m.Answer, &dns.AAAA{Hdr: header, AAAA: ip})
			}
		}
	}
	_ = w.WriteMsg(m) // who does not get it asks again
}
