// Package asyncclient sends requests of the proxy's own to its clusters, for filters that ask
// somebody before they decide: an authorizer, a rate limit service, a server of keys. It is what
// Envoy calls its async client, and counts as that does.
//
//	clients := asyncclient.New(...)            server makes one for all workers
//	client := clients.On(loop)                 a filter's NewFilter, or a network filter with c.Loop()
//	cancel := client.Send(Request, done)       HTTP
//	cancel := client.Unary(GRPCRequest, done)  gRPC, one message each way
//
// A call runs on the loop that it was started on and never blocks it. done is called on the same
// loop, exactly once, never from within Send or Unary, and not at all after cancel; cancel after
// done does nothing. What done is given belongs to the call and is gone when done returns: copy
// what is kept. A filter cancels in OnComplete what it has under way. When the loop ends, a call that
// waits for another attempt is told nothing any more.
//
// Whatever is not a whole answer of a host is an error (*Error), among it what Envoy's router would
// have answered with 503 or 504 itself; Error.Code is that status. An answer of any status is none.
// Unary has a status in any case.
//
// For code off the loops: loop.Post a function that calls Send.
//
// The files: client.go makes clients, exchange.go is one HTTP exchange from the choice of a host to
// its answer, retry.go tries again, result.go notes what came of it, grpc.go frames messages. Hosts are chosen by package cluster,
// connections are connpool's. It knows no protos: messages are bytes here. Importers: filters, and
// server, which makes it.
package asyncclient
