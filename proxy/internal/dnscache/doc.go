// Package dnscache resolves names that requests ask for, and keeps what they resolve to: the DNS cache of Envoy's dynamic forward proxy.
//
// A cache is shared by its name. Filters ask for a name, and wait until it is resolved; clusters have the names that have addresses as
// their hosts. Which names there are is what clients send, so all is bounded: the length of a name, how many there are, how many requests
// wait, how long an answer is waited for. A name that nobody asks for goes.
//
//	request -> Local.Load (a worker's view: a map, no lock) -> Cache.load -> Resolver -> Cache.finish
//	        -> publish: first the clusters, then each worker's view, which answers who waits there
//
// So when a request goes on, its worker's view of the cluster has the host. The package also says when any name is resolved again (Pace),
// for clusters that resolve names themselves.
//
// It opens no connection and knows no filter. Importers: server makes the Set; cluster, and the filters of dynamic forward proxies use it.
// https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/http/http_proxy
package dnscache
