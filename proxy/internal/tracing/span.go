package tracing

import "time"

// Span is what is reported of a finished call.
type Span struct {
	Context
	// Server is true for the span of a request that was served, false for that of a call.
	Server bool
	// Remote: it was begun by the context of a caller's.
	Remote   bool
	Name     string
	Start    time.Time
	Duration time.Duration
	Tags     []Tag
	// Attributes are what the sampler says, of spans that it decided on.
	Attributes []Attribute
	Events     []Event
	Error      bool
	State      string // tracestate
}

// Tag is a key with its value.
type Tag struct{ Key, Value string }

// Event is something that happened within a span.
type Event struct {
	At   time.Time
	Name string
}

// Reporter takes finished spans. Report is called on the worker of that number and must not block.
type Reporter interface {
	Report(worker int, s *Span)
}
