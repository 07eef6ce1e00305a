// Package hotrestart hands the listening sockets of a running proxy over to a new process of it, so
// that neither a connection attempt nor a request is lost.
//
// Each process of restart epoch N with a base id listens on a Unix socket of its own, in the
// abstract namespace, that only processes of the same user may use. A process of epoch N+1 connects to
// the one of epoch N before it binds anything, and then:
//
//  1. asks it to give up the admin API's address;
//  2. fetches, by SCM_RIGHTS, the socket of each worker for each address that it wants to bind. Both
//     processes now hold the same sockets: what waits in their queues is accepted by either;
//  3. when it serves, asks it to stop accepting and to drain;
//  4. fetches its counters again and again, and adds what they grew by to its own;
//  5. after the parent's time is over, asks it to end.
//
// A child that dies before step 3 changes nothing: the parent takes the admin API's address back and
// goes on. When one dies later, the parent ends with its last connection. The messages are JSON behind
// a length; the two processes may be of different versions, which the first message tells.
//
// The package moves descriptors and numbers; what they mean is known to proxy, who alone imports it.
package hotrestart
