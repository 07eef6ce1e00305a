package proxy

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// reopenOnSignal reopens the access logs at SIGUSR1, which is what rotation scripts for Envoy
// send after they have moved a log away. POST /reopen_logs does the same.
func (p *Proxy) reopenOnSignal(ctx context.Context) {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGUSR1)
	defer signal.Stop(ch)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ch:
			if err := p.server.ReopenLogs(); err != nil {
				p.levels.Logger("main").Error("cannot reopen access logs", "error", err)
			}
			if p.cfg.ReopenLog == nil {
				continue
			}
			if err := p.cfg.ReopenLog(); err != nil {
				p.levels.Logger("main").Error("cannot reopen the log", "error", err)
			}
		}
	}
}
