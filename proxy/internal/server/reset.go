package server

// ResetCounters sets what counts up back to zero, as POST /reset_counters asks.
func (s *Server) ResetCounters() { s.stats.ResetCounters() }

// ReopenLogs opens all access logs anew, after a rotation moved them away.
func (s *Server) ReopenLogs() error { return s.files.Reopen() }
