// Package eventloop is the worker of the data plane: one goroutine with its own epoll
// instance, timer wheel, buffer pool and cached clock. Everything a worker owns is touched
// only from its loop, so nothing of it is locked.
//
// One iteration, in this order: run what was deferred (flushes, redeliveries), fire timers,
// wait, read the clock, call the handlers of ready descriptors, run what was posted. Handlers
// run to completion and must not block.
//
// Waiting. While traffic flows the loop waits in a raw epoll_wait that the Go scheduler does
// not see. That saves the scheduler's hand-over, some 20 us for each wake-up, and keeps
// the worker's P: so GOMAXPROCS should exceed the number of workers by one at least. Where it does
// not, the last worker waits as an idle one does, or nothing else in the process would run. The runtime still reaches its safe points: its preemption signal
// interrupts the wait, after which the loop yields. After rawIdle without an event the
// loop goes over to a wait that the scheduler knows of, so that an idle process costs nothing.
//
// The goroutine is not locked to its thread. It stays there anyway, because it never blocks
// where the scheduler sees it while traffic flows; and yielding, which the preemption signal
// makes it do a hundred times a second, hands a locked goroutine's P to another thread and back
// (measured at 2,000 requests/s: 29.0 us of CPU a request locked, 25.9 unlocked).
//
// A handler's panic is a bug of ours: it is logged and takes the process down.
//
// The package does no socket I/O. Any package of the data path may import it; of the
// proxy it imports only iobuf.
package eventloop
