// Package pathtemplate reads the path templates of Envoy's uri_template extensions: patterns such as
// "/shop/{item}/**.json" that paths are matched with, and rewrites such as "/{item}" that are filled
// with what a pattern has captured.
//
// A pattern is compiled to a regular expression, whose time is linear in the path's length. It
// decides nothing about routes and reads no protos. Package xdsresource compiles templates, and route
// uses them.
package pathtemplate
