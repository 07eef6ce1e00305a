// Package xdsresource turns Envoy's xDS protos into validated plain Go.
//
// It is the only place where a resource is judged: every reason for a NACK is born here. The
// types carry defaults already applied and no protos, so that what follows (route, cluster,
// listener, hcm) reads configuration and never parses it. Three shapes, never one: the proto
// on the wire, the types of this package, and the live objects built from them.
//
// It opens no socket and keeps no state. Any package of the proxy may import it; it imports
// none of them.
package xdsresource
