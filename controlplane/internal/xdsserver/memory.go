package xdsserver

import (
	"container/list"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdscache"
)

// Bounds of what is remembered of workloads' use. A name that none of a workload's proxies has asked for in rememberFor is forgotten: long
// enough for a job that runs once a week.
const (
	maxRemembered          = 128 // names of one workload
	maxRememberedWorkloads = 4096
	rememberFor            = 8 * 24 * time.Hour
)

// memory knows which virtual hosts workloads' proxies have asked for, so that the next proxy of a workload, the same again or another
// replica, begins with them and its first requests wait for nothing. It belongs to the workload and not to the instance, whose folder
// is gone with it, and it is a hint alone: after a restart the proxies that come back say again what they use, and what nobody
// said is asked for when a request names it. So it is kept nowhere else.
type memory struct {
	mu        sync.Mutex
	workloads map[workload]*list.Element // of *remembered
	order     list.List                  // the longest unheard of first
}

// workload is whose memory it is: a namespace's service account and Deployment.
type workload struct{ namespace, serviceAccount, name string }

type remembered struct {
	workload workload
	names    map[string]time.Time // and when it was last said to be used
}

func workloadOf(p *model.Proxy) workload {
	name := p.WorkloadName
	if name == "" {
		name = p.Name
	}
	return workload{p.Namespace, p.ServiceAccount, name}
}

// note says that a proxy uses virtual hosts now.
func (m *memory) note(p *model.Proxy, names []string, now time.Time) {
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == wildcard })
	if len(names) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	w := workloadOf(p)
	e := m.workloads[w]
	if e == nil {
		if m.workloads == nil {
			m.workloads = map[workload]*list.Element{}
		}
		if m.order.Len() >= maxRememberedWorkloads {
			oldest := m.order.Front()
			delete(m.workloads, oldest.Value.(*remembered).workload)
			m.order.Remove(oldest)
		}
		e = m.order.PushBack(&remembered{w, map[string]time.Time{}})
		m.workloads[w] = e
	}
	m.order.MoveToBack(e)
	r := e.Value.(*remembered)
	for _, name := range names {
		if _, ok := r.names[name]; !ok {
			if len(r.names) >= maxRemembered {
				r.forgetOldest()
			}
			name = strings.Clone(name) // it may be part of a whole request
		}
		r.names[name] = now
	}
}

func (r *remembered) forgetOldest() {
	oldest, at := "", time.Time{}
	for name, t := range r.names {
		if oldest == "" || t.Before(at) || t.Equal(at) && name < oldest {
			oldest, at = name, t
		}
	}
	delete(r.names, oldest)
}

// of returns what a proxy's workload has used.
func (m *memory) of(p *model.Proxy, now time.Time) *xdscache.Names {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.workloads[workloadOf(p)]
	if e == nil {
		return nil
	}
	var names []string
	for name, at := range e.Value.(*remembered).names {
		if now.Sub(at) > rememberFor {
			delete(e.Value.(*remembered).names, name)
			continue
		}
		names = append(names, name)
	}
	return xdscache.NewNames(names)
}
