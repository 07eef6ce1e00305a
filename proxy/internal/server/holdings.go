package server

import "github.com/lateen-mesh/lateen/proxy/internal/stats"

// holdings are what the parts of a filter chain have of the process: their statistics, and what must be
// given back when no connection of the chain is left.
type holdings struct {
	stats *stats.Store
	ends  []func()
}

func (s *Server) newHoldings() *holdings { return &holdings{stats: s.stats.Owned()} }

// add has end called when the chain goes.
func (h *holdings) add(end func()) { h.ends = append(h.ends, end) }

// release gives everything back.
func (h *holdings) release() {
	for _, end := range h.ends {
		end()
	}
	h.ends = nil
	h.stats.Close()
}
