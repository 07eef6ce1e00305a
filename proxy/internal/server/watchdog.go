package server

import (
	"fmt"
	"runtime/debug"

	"github.com/lateen-mesh/lateen/proxy/internal/watchdog"
)

// newWatches prepares to watch the workers, and the loop that configuration is made on, which is Envoy's main thread.
func (s *Server) newWatches() []*watchdog.Watch {
	log, cfg := s.logger("main"), &s.boot.Watchdogs
	workers := watchdog.New("workers", cfg.Workers, s.stats, log, endProcess)
	for i, l := range s.loops {
		workers.Add(fmt.Sprintf("worker_%d", i), l, s.stats)
	}
	main := watchdog.New("main_thread", cfg.Main, s.stats, log, endProcess)
	main.Add("main_thread", s.control, s.stats)
	return []*watchdog.Watch{workers, main}
}

// endProcess ends the process with the trace of every goroutine: what is stuck cannot be ended in order.
func endProcess(why string) {
	debug.SetTraceback("all")
	panic("watchdog: " + why)
}
