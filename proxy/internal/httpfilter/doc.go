// Package httpfilter is the contract between the HTTP connection manager and its filters.
//
// A filter is a value that implements those of the small interfaces below that it needs: it
// is called for nothing else, and which those are is found out once per stream object, not
// per request. Filters of a stream run in the order of the configuration for the request and
// in the reverse order for the response. The last filter is a Terminal (the router), which
// answers.
//
// Filter packages live below this one, one each, with ParseConfig, ParseRouteConfig and New;
// server lists them in one map. This package knows no filter and does no work.
package httpfilter
