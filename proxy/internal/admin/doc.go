// Package admin serves Envoy's admin API: what the proxy was told, what it made of it, what it counts, and a few switches.
//
// It runs on net/http, off the event loops: a slow reader of a dump costs no request. Paths, parameters, methods and the shapes of the
// answers are Envoy's, since dashboards, runbooks and istioctl read them. It owns no state; server does. Only proxy imports it.
package admin
