package model

// IstioFilters is a set of filters that Istio's build of Envoy and our own proxy have, and Envoy's own build has not.
type IstioFilters uint8

// The filters.
const (
	PeerMetadata     IstioFilters = 1 << iota // who the peers of a request are, by headers
	IstioStats                                // Istio's metrics of requests and of connections
	MetadataExchange                          // who the peers of a connection are, at its head
)

// Has reports whether the set has a filter.
func (f IstioFilters) Has(filter IstioFilters) bool { return f&filter != 0 }
