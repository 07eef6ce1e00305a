package export

import "sync"

// Queue gathers records of all workers.
type Queue[T any] struct {
	shards []shard[T]
	max    int // records of a shard
	most   int // bytes of a shard
	enough int // bytes of a shard from which on the reader is woken
	wake   chan struct{}
}

// shard is what one worker has put in. Its lock is taken by the worker and, once an interval, by
// the reader.
type shard[T any] struct {
	mu      sync.Mutex
	items   []T
	bytes   int
	dropped uint64
	_       [64]byte // a cache line between the workers
}

// maxBytes bounds what a queue holds, however large a client makes its records. A batch stays below
// the 4 MiB that gRPC servers take in one message unless they are told otherwise.
const maxBytes = 3 << 20

// NewQueue returns a queue for some workers that holds at most that many records, and wakes its
// reader when a worker has put in enough bytes.
func NewQueue[T any](workers, maxRecords, enough int) *Queue[T] {
	q := &Queue[T]{shards: make([]shard[T], workers), max: max(maxRecords/max(workers, 1), 1), most: maxBytes / max(workers, 1), wake: make(chan struct{}, 1)}
	q.enough = min(enough, q.most/2)
	return q
}

// Add puts a record in, or drops it when there are too many or too large ones. size is its approximate length on the
// wire.
func (q *Queue[T]) Add(worker int, item T, size int) {
	s := &q.shards[worker]
	s.mu.Lock()
	if n := len(s.items); n >= q.max || n > 0 && s.bytes+size > q.most {
		s.dropped++
		s.mu.Unlock()
		return
	}
	s.items = append(s.items, item)
	before := s.bytes
	s.bytes += size
	full := before < q.enough && s.bytes >= q.enough
	s.mu.Unlock()
	if full {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

// Full receives when there is enough to send.
func (q *Queue[T]) Full() <-chan struct{} { return q.wake }

// Take returns what has gathered, and how much was dropped since the last call.
func (q *Queue[T]) Take() (items []T, dropped uint64) {
	for i := range q.shards {
		s := &q.shards[i]
		s.mu.Lock()
		items = append(items, s.items...)
		dropped += s.dropped
		clear(s.items)
		if cap(s.items) > 1024 { // what a burst needed is not kept
			s.items = nil
		}
		s.items, s.bytes, s.dropped = s.items[:0], 0, 0
		s.mu.Unlock()
	}
	return items, dropped
}
