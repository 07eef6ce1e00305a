// Package connpool keeps connections to one upstream host on one worker, and requests that wait
// for one. Connections of HTTP/1 carry one request at a time: idle ones are used last-in
// first-out. Those of HTTP/2 (mux*.go, http2_send.go) carry as many as both sides allow; version.go
// says which is spoken.
//
//	Pool.Start -> a connection with room, or dial and wait -> Handler.OnReady -> Request.SendHead,
//	SendData, SendTrailers (send.go) -> Handler.OnResponse, OnData... -> the connection is free
//	again, or closed
//
// It writes requests and reads responses (http1, http2), and hands them over as events; it does
// not retry, time out requests, choose hosts or change headers: the router does. A connection of
// HTTP/1 whose exchange did not end in order on both sides is closed, never used again; in HTTP/2
// the stream is reset. Importers: router, asyncclient.
package connpool
