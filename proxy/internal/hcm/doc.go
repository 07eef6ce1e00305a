// Package hcm is the HTTP connection manager: the life of HTTP requests on one downstream
// connection, from bytes to a routed request and back.
//
//	http1Conn.OnData -> http1 | http2Conn.OnData -> http2 -> stream -> headers.go (who is the client, what may be
//	believed) -> route -> filters -> Terminal (router) -> filters -> response.go -> http1 | http2
//
// choose.go says which version of HTTP a connection speaks. What each makes of connection and
// stream stands in files of its own, http1_*.go and http2_*.go; the rest knows no version.
//
// It owns what is true of a request whatever its route: identity and forwarding headers, path
// and host normalisation, time-outs of connection and stream, limits, local replies, access
// logs, downstream statistics. It chooses no host and retries nothing. Importers: server;
// filters see it through httpfilter's interfaces only.
//
// Streams, with their header blocks and filter instances, are pooled by worker: a request on
// a connection that is kept alive allocates nothing.
package hcm
