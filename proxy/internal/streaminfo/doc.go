// Package streaminfo is the record of one stream (an HTTP request with its response, or a
// proxied TCP connection): when each step happened, how it ended and why, where it went.
// hcm, router and tcpproxy fill it; access logs, header formats, statistics filters and
// traces read it. It decides nothing and formats nothing but the names of the flags.
package streaminfo
