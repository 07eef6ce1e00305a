// Package connpool keeps HTTP/1.1 connections to one upstream host on one worker: an idle
// list used last-in first-out, connections being made, and requests that wait for one.
//
//	Pool.Start -> idle Client, or dial and wait -> Handler.OnReady -> request written by the
//	caller -> Handler.OnResponse, OnData... -> Client back to the idle list, or closed
//
// It reads responses (http1) and hands them over as events; it does not retry, time out
// requests, choose hosts or change headers: the router does. A connection whose exchange did
// not end in order on both sides is closed, never used again. Importers: router.
package connpool
