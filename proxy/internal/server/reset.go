package server

// ResetCounters sets what counts up back to zero, as POST /reset_counters asks.
func (s *Server) ResetCounters() { s.stats.ResetCounters() }
