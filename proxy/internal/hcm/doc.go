// Package hcm is the HTTP connection manager: the life of HTTP requests on one downstream
// connection, from bytes to a routed request and back.
//
//	connection.OnData -> http1 -> stream -> headers.go (who is the client, what may be
//	believed) -> route -> filters -> Terminal (router) -> filters -> response.go -> http1
//
// It owns what is true of a request whatever its route: identity and forwarding headers, path
// and host normalisation, time-outs of connection and stream, limits, local replies, access
// logs, downstream statistics. It chooses no host and retries nothing. Importers: server;
// filters see it through httpfilter's interfaces only.
//
// Streams, with their header blocks and filter instances, are pooled by worker: a request on
// a connection that is kept alive allocates nothing.
package hcm
