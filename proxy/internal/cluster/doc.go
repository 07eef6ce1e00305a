// Package cluster keeps the upstream clusters: their hosts, which of them may be used, and
// which one takes the next request.
//
// Two halves. The Manager runs off the event loops: it takes clusters and endpoints from
// xDS, resolves names, judges hosts (EDS health, active checks, outlier detection), and
// publishes for each cluster an immutable hostSet. A worker's LocalManager holds a Local for each cluster that
// the worker really uses: balancers, and a LocalHost for each host with its own connection
// pool and plain-memory statistics. New host sets reach the workers by Post; a host keeps
// its LocalHost, and so its pool and statistics, over every update that keeps its address
// and transport.
//
//	xDS -> Manager.Update / UpdateEndpoints -> hostSet -> post -> Local.apply -> Local.Pick
//	results: LocalHost.OnResult -> outlier counters (shared, atomics only on failure)
//	         -> Manager -> ejection -> hostSet -> ...
//
// It opens no connection (connpool does, and hangs its pool on the LocalHost) and parses no
// protos. Importers: server builds it; router, asyncclient, connpool, tcpproxy and admin use it.
package cluster
