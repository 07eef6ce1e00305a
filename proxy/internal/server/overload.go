package server

import "github.com/lateen-mesh/lateen/proxy/internal/overload"

func (s *Server) acceptingStopped() bool {
	return s.load.Value(overload.StopAcceptingConnections) >= 1
}

// overloadChanged takes what the overload manager has decided to the listeners; connections and
// requests ask for the rest themselves.
func (s *Server) overloadChanged(accepting, timeouts bool) {
	s.control.post(func() {
		if accepting {
			s.pauseListeners()
		}
		if timeouts {
			for _, v := range s.listeners.active {
				v.l.Rescale()
			}
		}
	})
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
