// Package liveslot keeps a value that is replaced while others still use the one before: a filter whose configuration comes while the
// proxy runs. It counts the users of each value, and tells when the last one is gone.
//
// It knows nothing of what it keeps. Importers: the places of filters that come by discovery (httpfilter/discovered, networkfilter).
package liveslot

import "sync/atomic"

// Slot holds the current value, or none; the zero Slot holds none. Its methods may be called from any goroutine, Set from one at a time.
type Slot[T any] struct {
	current atomic.Pointer[Version[T]]
}

// Version is a value with its users: the slot itself, and whoever has taken it.
type Version[T any] struct {
	Value  T
	users  atomic.Int64
	unused func()
}

// Set makes v what is taken from now on. unused is called, from any goroutine, when v is no longer set and its last user has left; nil:
// nobody wants to know.
func (s *Slot[T]) Set(v T, unused func()) {
	next := &Version[T]{Value: v, unused: unused}
	next.users.Store(1)
	s.swap(next)
}

// Clear takes the value away.
func (s *Slot[T]) Clear() { s.swap(nil) }

func (s *Slot[T]) swap(next *Version[T]) {
	if old := s.current.Swap(next); old != nil {
		old.Leave()
	}
}

// Take returns the value for a user, who says Leave in the end; nil: there is none.
func (s *Slot[T]) Take() *Version[T] {
	for {
		v := s.current.Load()
		if v == nil {
			return nil
		}
		// One that has no user left has been replaced since it was read, and must not be used again.
		if n := v.users.Load(); n > 0 && v.users.CompareAndSwap(n, n+1) {
			return v
		}
	}
}

// Leave ends a use.
func (v *Version[T]) Leave() {
	if v.users.Add(-1) == 0 && v.unused != nil {
		v.unused()
	}
}
