package proxy

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/proxy/internal/admin"
	"github.com/lateen-mesh/lateen/proxy/internal/hotrestart"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// HotRestart says how a process hands its sockets to the next one, as Envoy's flags of these names
// do.
type HotRestart struct {
	// BaseID tells apart proxies on one machine. Epoch 0 is the first process; one of epoch N takes
	// over from that of epoch N-1.
	BaseID, Epoch uint32
	// SocketPath is what names of the processes' sockets begin with; "" is "@lateen_domain_socket".
	SocketPath string
	// ParentShutdownTime is after how long the process before this one is ended, unless its last
	// connection ends before. Default 15 minutes.
	ParentShutdownTime time.Duration
	// SkipNoParent starts anew when there is no process to take over from; else that is an error.
	SkipNoParent bool
	// SkipParentStats does not add the counters of the process before.
	SkipParentStats bool

	every time.Duration // how often counters are fetched; 0: importEvery
}

// HotRestartVersion is that of the messages between two processes.
const HotRestartVersion = hotrestart.Version

// importEvery is how often the counters of the process before are fetched.
const importEvery = time.Second

// connect reaches the process before this one and opens the socket for the one after.
func (p *Proxy) connect(h *HotRestart) (err error) {
	path := h.SocketPath
	if path == "" {
		path = "@lateen_domain_socket"
	}
	if h.Epoch > 0 {
		if p.child, err = hotrestart.Connect(hotrestart.Name(path, h.BaseID, h.Epoch-1)); err != nil && !h.SkipNoParent {
			return fmt.Errorf("restart epoch %d: %w", h.Epoch, err)
		}
	}
	p.parent, err = hotrestart.Listen(hotrestart.Name(path, h.BaseID, h.Epoch), p.levels.Logger("main"))
	return err
}

// heir does what the process after this one asks for. It is hotrestart.Handler.
type heir struct {
	p     *Proxy
	admin *adminAPI
	leave func()
}

// CloseAdmin implements hotrestart.Handler.
func (h heir) CloseAdmin() { h.admin.close() }

// OpenAdmin implements hotrestart.Handler.
func (h heir) OpenAdmin() {
	if err := h.admin.reopen(); err != nil {
		h.p.levels.Logger("main").Error("the admin API is gone: its address was given to a new process and cannot be had back", "error", err)
	}
}

// Socket implements hotrestart.Handler.
func (h heir) Socket(listener, address string, worker int) int {
	return h.p.server.Descriptor(listener, address, worker)
}

// Drain implements hotrestart.Handler.
func (h heir) Drain() { h.p.server.HandOver() }

// Counters implements hotrestart.Handler. While this process still goes through the life of the one
// before it, those connections count as well: ended before it, it would lose the other's counters.
func (h heir) Counters() (map[string]uint64, int64) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	counters, n := h.p.server.Counters(ctx)
	return counters, n + h.p.before.Load()
}

// Leave implements hotrestart.Handler.
func (h heir) Leave() { h.leave() }

// Terminate implements hotrestart.Handler.
func (h heir) Terminate() { h.p.Quit() }

// takeOver goes through the life of the process before this one, once this one serves, until it
// has ended or ctx ends.
func (p *Proxy) takeOver(ctx context.Context) {
	log := p.levels.Logger("main")
	defer p.child.Close()
	select {
	case <-ctx.Done():
		return
	case <-p.server.Ready():
	}
	p.before.Store(1)
	defer p.before.Store(0)
	if err := p.child.Drain(); err != nil {
		log.Error("cannot ask the process before this one to drain", "error", err)
		return
	}
	imp := p.server.Stats().NewImporter()
	connections := p.server.Stats().Gauge("server.parent_connections")
	fetch := func() (left int64, err error) {
		counters, n, err := p.child.Counters()
		if err != nil {
			return 0, err
		}
		p.server.Stats().Main().GaugeSet(connections, n)
		p.before.Store(max(n, 1))
		if !p.cfg.HotRestart.SkipParentStats {
			imp.Add(counters)
		}
		return n, nil
	}
	defer p.server.Stats().Main().GaugeSet(connections, 0)
	every := p.cfg.HotRestart.every
	if every == 0 {
		every = importEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	end := time.NewTimer(p.cfg.HotRestart.ParentShutdownTime)
	defer end.Stop()
	// A process that serves nobody any more need not wait for its time to be over. What was on its
	// way when it was first seen empty has been accepted when it is seen so again.
	for empty := 0; empty < 2; {
		n, err := fetch()
		if err != nil {
			log.Warn("the process before this one is gone, and what it counted last with it", "error", err)
			return
		}
		if empty++; n != 0 {
			empty = 0
		}
		select {
		case <-tick.C:
			continue
		case <-ctx.Done(): // nobody else would end it
		case <-end.C:
			_, _ = fetch() // if it fails, so does what follows
		}
		break
	}
	if err := p.child.Terminate(); err != nil {
		log.Warn("the process before this one is gone already", "error", err)
	}
}

// adminTries is how often the admin API's address is tried when another process gives it up: it
// closes it behind its answer, or as it ends.
const adminTries = 100

func bindAdmin(a xdsresource.Address, tries int) (lis net.Listener, err error) {
	for i := range tries {
		if i > 0 {
			time.Sleep(20 * time.Millisecond)
		}
		if lis, err = admin.Listen(a); err == nil {
			break
		}
	}
	return lis, err
}

// adminAPI runs the admin API: until the process ends, but while a new one has its address.
type adminAPI struct {
	p   *Proxy
	wg  *sync.WaitGroup
	ctx context.Context
	end func() // the process, when the API fails

	addr xdsresource.Address // where it is bound; a port that the system chose stays
	stop context.CancelFunc
	err  error
}

// run serves from a goroutine of its own. lis is nil when there is no API.
func (a *adminAPI) run(lis net.Listener) {
	if lis == nil {
		return
	}
	a.addr = *a.p.boot.Admin
	if t, ok := lis.Addr().(*net.TCPAddr); ok {
		a.addr.Port = uint16(t.Port)
	}
	ctx, stop := context.WithCancel(a.ctx)
	a.stop = stop
	a.wg.Go(func() {
		if err := a.p.admin.Run(ctx, lis); err != nil {
			a.err = err
			a.end()
		}
	})
}

func (a *adminAPI) close() {
	if a.stop != nil {
		a.stop()
	}
}

func (a *adminAPI) reopen() error {
	if a.stop == nil {
		return nil
	}
	lis, err := bindAdmin(a.addr, adminTries)
	if err == nil {
		a.run(lis)
	}
	return err
}

// listenAdmin binds the admin API's address, which the process before this one may have to give up
// first.
func (p *Proxy) listenAdmin() (net.Listener, error) {
	if p.child != nil {
		if err := p.child.CloseAdmin(); err != nil {
			return nil, err
		}
	}
	tries := 1
	if p.child != nil {
		tries = adminTries
	}
	lis, err := bindAdmin(*p.boot.Admin, tries)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	p.addrMu.Lock()
	p.adminAddr = lis.Addr().String()
	p.addrMu.Unlock()
	if path := p.cfg.AdminAddressPath; path != "" {
		if err := os.WriteFile(path, []byte(lis.Addr().String()), 0o644); err != nil {
			lis.Close()
			return nil, fmt.Errorf("admin address path: %w", err)
		}
	}
	return lis, nil
}

// fade ends this process when its last connection has ended, or after the time that it would have
// given to the one before it.
func (p *Proxy) fade(ctx context.Context) {
	tick := time.NewTicker(importEvery)
	defer tick.Stop()
	end := time.NewTimer(p.cfg.HotRestart.ParentShutdownTime)
	defer end.Stop()
	for {
		if _, n := (heir{p: p}).Counters(); n == 0 {
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			continue
		case <-end.C:
		}
		break
	}
	p.Quit()
}

// handOver waits for the process after this one.
func (p *Proxy) handOver(ctx context.Context, wg *sync.WaitGroup, a *adminAPI) {
	if p.parent != nil {
		wg.Go(func() { p.parent.Run(ctx, heir{p, a, func() { wg.Go(func() { p.fade(ctx) }) }}) })
	}
	if p.child != nil {
		wg.Go(func() { p.takeOver(ctx) })
	}
}
