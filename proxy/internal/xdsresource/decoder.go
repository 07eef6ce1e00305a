package xdsresource

import (
	"os"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/proxy/internal/runtimekey"
)

// ParseFunc reads a filter's configuration, with Decoder.ReadFilter.
type ParseFunc func(*Decoder, *anypb.Any) (any, error)

// HTTPFilterType is what this package must know of an HTTP filter to judge its configuration.
type HTTPFilterType struct {
	// Parse reads the filter's own configuration. The Any is the filter's proto, or a
	// TypedStruct for types without one. It is nil when the configuration has no
	// typed_config and OptionalConfig is set.
	Parse ParseFunc
	// ParseRoute reads typed_per_filter_config; nil: the filter takes none.
	ParseRoute ParseFunc
	// RouteTypes are further message names that a typed_per_filter_config of this filter may have.
	RouteTypes []string
	// Terminal is true for the router.
	Terminal bool
	// Name is the filter's canonical name. A filter that is given by this name alone, with no
	// typed_config, is accepted when OptionalConfig is set: Envoy 1.19's own files have it so.
	Name           string
	OptionalConfig bool
}

// NetworkFilterType is the same for a network filter.
type NetworkFilterType struct {
	Parse ParseFunc
	// Terminal is true for filters that consume the connection. Fixed is true for those that others of their chain are made by, which so
	// cannot come by discovery.
	Terminal, Fixed bool
}

// Extensions are the filters that the proxy has, by the message name of their configuration.
// The HTTP connection manager and TCP proxy are known to this package itself.
type Extensions struct {
	HTTP    map[string]HTTPFilterType
	Network map[string]NetworkFilterType
}

// Decoder turns protos into the types of this package. It keeps no state and may be used
// from several goroutines.
type Decoder struct {
	ext           Extensions
	readFile      func(string) ([]byte, error)
	ignoreUnknown bool
	keys          *runtimekey.Registry
}

// NewDecoder returns a decoder that knows the given filters.
func NewDecoder(ext Extensions) *Decoder {
	return &Decoder{ext: ext, readFile: os.ReadFile}
}

// WithRuntime returns a decoder whose configurations follow the runtime keys that they name. Without,
// every key's default holds.
func (d *Decoder) WithRuntime(keys *runtimekey.Registry) *Decoder {
	c := *d
	c.keys = keys
	return &c
}

// IgnoringUnknown returns a decoder that leaves fields out which the protos of this program do
// not know, instead of refusing them.
func (d *Decoder) IgnoringUnknown() *Decoder {
	c := *d
	c.ignoreUnknown = true
	return &c
}

// ParseAddress reads a socket address or a Unix path outside of any resource.
func ParseAddress(a *corev3.Address) (Address, error) {
	p := &parser{}
	p.check("", a)
	out := p.address("", a, false)
	return out, p.finish("address", "")
}
