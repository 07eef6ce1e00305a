// Package rls asks a rate limit service (Envoy's service.ratelimit.v3) whether something is over its
// limit, for the rate limit filters, HTTP and network.
//
// An answer comes from outside of the proxy: it is bounded, and of its headers those are dropped that
// are none, or would change how a message is framed. What an answer leads to is the filters' to
// decide. Only those two import it; it speaks through package asyncclient.
package rls
