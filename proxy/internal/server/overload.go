package server

import "github.com/lateen-mesh/lateen/proxy/internal/overload"

// overloadState is what the path reads; nil without an overload manager.
func (s *Server) overloadState() *overload.State {
	if s.overload == nil {
		return nil
	}
	return s.overload.State()
}

func (s *Server) acceptingStopped() bool {
	return s.overloadState().Value(overload.StopAcceptingConnections) >= 1
}

// pauseListeners stops accepting, or goes on, as the overload manager has it now.
func (s *Server) pauseListeners() {
	stop := s.acceptingStopped()
	for _, v := range s.listeners.active {
		v.l.Pause(stop)
	}
	if stop {
		s.log.Warn("overload: no connections are accepted until it is over")
	}
}
