package kube

import (
	"errors"
	"maps"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Health is how the followed resources are doing. Its methods may be called by several goroutines.
type Health struct {
	mu          sync.Mutex
	failing     map[string]string // resource to why it cannot be read
	lastContact time.Time
	lastError   string
	lastErrorAt time.Time
	observe     func(connected bool, failed time.Time)
}

// State is what is known at one moment.
type State struct {
	// Failing are the resources that cannot be read now, with the reason.
	Failing map[string]string
	// LastContact is when something was last told; zero for never.
	LastContact time.Time
	// LastError and LastErrorAt stay after things are well again.
	LastError   string
	LastErrorAt time.Time
}

func newHealth() *Health { return &Health{failing: map[string]string{}} }

// State returns what is known now.
func (h *Health) State() State {
	h.mu.Lock()
	defer h.mu.Unlock()
	return State{maps.Clone(h.failing), h.lastContact, h.lastError, h.lastErrorAt}
}

// Observe has f called whenever a resource was answered or failed: with whether all are read now, and when it failed, if it did. It is for the beginning.
func (h *Health) Observe(f func(connected bool, failed time.Time)) { h.observe = f }

// tell is called with the lock held.
func (h *Health) tell(failed time.Time) {
	if h.observe != nil {
		h.observe(len(h.failing) == 0, failed)
	}
}

// unread is a resource that has not been answered yet.
const unread = "it was not answered yet"

func (h *Health) begin(resource string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failing[resource] = unread
}

func (h *Health) end(resource string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.failing, resource)
}

// failed notes a failure and reports whether it says something new: a server that is away fails every resource, in the same words.
func (h *Health) failed(resource string, err error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	why := plain(err)
	news := !slices.Contains(slices.Collect(maps.Values(h.failing)), why)
	h.failing[resource], h.lastError, h.lastErrorAt = why, why, time.Now()
	h.tell(h.lastErrorAt)
	return news
}

// answered notes an answer and reports whether the resource was the last of those that had failed.
func (h *Health) answered(resource string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	why, was := h.failing[resource]
	delete(h.failing, resource)
	h.lastContact = time.Now()
	h.tell(time.Time{})
	if !was || why == unread {
		return false
	}
	for _, why := range h.failing {
		if why != unread {
			return false
		}
	}
	return true
}

// plain is an error without the request that it is about, which differs from one attempt to the next.
func plain(err error) string {
	var of *url.Error
	if errors.As(err, &of) {
		return of.Err.Error()
	}
	return err.Error()
}

func (h *Health) contact(at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lastContact = at
}
