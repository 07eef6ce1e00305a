package dnscache

import (
	"errors"
	"net"
	"net/netip"

	"github.com/miekg/dns"
)

// errLate is a query that took longer than it may.
var errLate = errors.New("no answer in time")

// misformatted is what is said of a name that nobody can have.
const misformatted = "cares_failure:Misformatted_domain_name"

// outcome is what a query came to: why there are no addresses, in Envoy's words, whose resolver is c-ares, and whether that is a failure.
// That a name does not exist is an answer.
func outcome(e *entry, as []netip.Addr, err error) (details string, failed bool) {
	var answer interface{ Rcode() int }
	var late net.Error
	switch {
	case err == errLate:
		return "resolve_timeout", true
	case err == nil && len(as) > 0:
		return "", false
	case err == nil && e.ip.IsValid():
		return misformatted, true
	case err == nil:
		return "cares_norecords:DNS_server_returned_answer_with_no_data", false
	case errors.As(err, &answer):
		switch answer.Rcode() {
		case dns.RcodeNameError:
			return "cares_norecords:Domain_name_not_found", false
		case dns.RcodeRefused:
			return "cares_failure:DNS_server_refused_query", true
		case dns.RcodeNotImplemented:
			return "cares_failure:DNS_server_does_not_implement_requested_operation", true
		case dns.RcodeFormatError:
			return "cares_failure:DNS_server_claims_query_was_misformatted", true
		}
		return "cares_failure:DNS_server_returned_general_failure", true
	case errors.As(err, &late) && late.Timeout():
		return "cares_failure:Timeout_while_contacting_DNS_servers", true
	}
	return "cares_failure:Could_not_contact_DNS_servers", true
}
