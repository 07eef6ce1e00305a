// Package stats counts. A Store knows the names; a Shard holds the numbers.
//
// A statistic is resolved once, when configuration is built, to a handle: Counter, Gauge or
// Histogram, an index. Each worker owns one Shard of plain memory and adds to it by index,
// without locks, atomics or hashing. Everything that is no worker goes through Store.Main,
// a shard behind a mutex. Readers post to the workers and sum what they copy (Snapshot).
//
// Memory follows use: a shard's pages are allocated when the first statistic on them is
// touched, and objects with many statistics (a cluster has about a hundred) register a Set
// under a prefix, one small record, instead of a hundred names. Names are composed when read.
//
// Names are Envoy's ("cluster.web.upstream_rq_total"). Scopes carry the tags that Envoy would
// extract from the name by regular expression, so that a cluster's name may hold dots; names
// registered without a scope are taken apart as Envoy's default extractors do (tags.go).
// Text, JSON and Prometheus renderings are those of Envoy's admin interface.
//
// It knows nothing of what it counts, and serves no HTTP. Any package of the proxy may
// import it; it imports none of them.
package stats
