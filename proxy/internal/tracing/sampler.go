package tracing

import "github.com/lateen-mesh/lateen/proxy/internal/header"

// Sampler decides which spans are recorded, of those that the connection manager's shares let pass, where a provider has one of its own:
// the flag of a caller does not count then.
type Sampler interface {
	// Sample decides on the span of a request that c names; had: a caller's context came with it. It returns c with its decision. It is
	// called on the worker of that number and must not block.
	Sample(worker int, h *header.Map, c Context, had bool) Context
	// Attributes are what a span tells of a decision, by the Note of its context.
	Attributes(note uint32) []Attribute
}

// Attribute is a name with a number, or with a list of texts where that is not nil.
type Attribute struct {
	Key   string
	Int   int64
	Texts []string
}
