package xdsserver

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
	"github.com/lateen-mesh/lateen/controlplane/internal/xdscache"
)

// State is how far a proxy is with one type.
type State string

// States, in the words of Istio's proxy-status.
const (
	Synced  State = "SYNCED"   // the proxy has acknowledged the last response, or had nothing to be sent
	NotSent State = "NOT SENT" // the proxy has not asked for the type, or was not answered yet
	Stale   State = "STALE"    // the proxy has not acknowledged the last response, or has refused something
)

// TypeStatus is one proxy's state in one type.
type TypeStatus struct {
	TypeURL string
	State   State
	// Sent and Acked are nonces; equal when the proxy is up to date.
	Sent, Acked string
	// Refusal is the proxy's error text when it has refused something that it was not sent anew since, else "".
	Refusal string
	// RefusedIn is the latest view of which something is refused, Owed the oldest of which something is not answered; 0 when nothing is.
	RefusedIn, Owed uint64
	// SentAt is when the last response went out; zero when none did.
	SentAt time.Time
	// Resources is how many the proxy has.
	Resources int
	// Have is what the proxy was sent and still has.
	Have *xdscache.Set
	// Names are the resources that it asks for by name; All: it asks for all of the type.
	Names *xdscache.Names
	All   bool
}

// ProxyStatus is one connected proxy's state.
type ProxyStatus struct {
	ID      string // of the connection
	Proxy   *model.Proxy
	Caller  string // SPIFFE ID that it proved, "" on the plaintext listener
	Address string
	Since   time.Time
	Delta   bool
	// Served is the version of the last view of which the proxy has, and has answered for, everything.
	Served uint64
	Types  []TypeStatus // in the order of sending
}

// Type returns the state in a type; NotSent when the proxy does not watch it.
func (p *ProxyStatus) Type(typeURL string) TypeStatus {
	for _, t := range p.Types {
		if t.TypeURL == typeURL {
			return t
		}
	}
	return TypeStatus{TypeURL: typeURL, State: NotSent}
}

// Status returns the state of every connected proxy, by node id. Of two connections of one proxy the newer counts: the older is one whose
// end has not been noticed yet. Agents' streams do not count.
func (s *Server) Status() []ProxyStatus {
	s.mu.Lock()
	streams := make([]*stream, 0, len(s.streams))
	for st := range s.streams {
		if st.agent {
			continue
		}
		streams = append(streams, st)
	}
	s.mu.Unlock()
	out := make([]ProxyStatus, 0, len(streams))
	for _, st := range streams {
		out = append(out, st.status())
	}
	slices.SortFunc(out, func(a, b ProxyStatus) int {
		return cmp.Or(cmp.Compare(a.Proxy.ID, b.Proxy.ID), b.Since.Compare(a.Since))
	})
	return slices.CompactFunc(out, func(a, b ProxyStatus) bool { return a.Proxy.ID == b.Proxy.ID })
}

// Without returns the node ids of connected proxies that have not acknowledged a type as of a view, on any of their streams: their own and their agents'.
func (s *Server) Without(typeURL string, version uint64) []string {
	s.mu.Lock()
	streams := slices.Collect(maps.Keys(s.streams))
	s.mu.Unlock()
	has := map[string]bool{}
	for _, st := range streams {
		has[st.proxy.ID] = has[st.proxy.ID] || st.has(typeURL, version)
	}
	var out []string
	for id, ok := range has {
		if !ok {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// Behind returns the node ids of connected proxies that watch one of the types and have not acknowledged it as of a view. Who watches none of them now
// is sent a newer view first.
func (s *Server) Behind(version uint64, typeURLs ...string) []string {
	s.mu.Lock()
	streams := slices.Collect(maps.Keys(s.streams))
	s.mu.Unlock()
	var out []string
	for _, st := range streams {
		for _, typeURL := range typeURLs {
			if st.watches(typeURL) && !st.has(typeURL, version) {
				out = append(out, st.proxy.ID)
				break
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (st *stream) watches(typeURL string) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.session.watch(typeURL) != nil
}

// has reports whether the client has answered, without a refusal, for all of a type as of a view.
func (st *stream) has(typeURL string, version uint64) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	w := st.session.watch(typeURL)
	return w != nil && w.settled >= version && !w.inFlight && w.debt.text == ""
}

func (st *stream) status() ProxyStatus {
	st.mu.Lock()
	defer st.mu.Unlock()
	p := ProxyStatus{
		ID: st.id, Proxy: st.proxy, Caller: st.caller.String(), Address: st.address, Since: st.since,
		Delta: !st.session.sotw, Served: st.session.served,
	}
	for _, w := range st.session.watches {
		p.Types = append(p.Types, w.status())
	}
	return p
}

func (w *watch) status() TypeStatus {
	t := TypeStatus{TypeURL: w.typeURL, Sent: w.nonce, Acked: w.acked, Refusal: w.debt.text, SentAt: w.sentAt, Resources: w.have.Len(), Have: w.have,
		Names: w.names, All: w.all}
	t.RefusedIn, t.Owed = w.debt.refusedIn(), w.debt.since
	switch {
	case w.nonce == "" && w.known:
		// It came with everything; what it has takes the place of nonces.
		t.State, t.Sent, t.Acked = Synced, w.have.Version(), w.have.Version()
	case w.nonce == "":
		t.State = NotSent
	case w.inFlight || w.debt.text != "":
		t.State = Stale
	default:
		t.State = Synced
	}
	return t
}

// Lag says why a proxy does not serve a view.
type Lag struct {
	// TypeURL is the type that is missing; "" when the proxy was not sent everything yet.
	TypeURL string
	// Refusal is the proxy's error text; "" when it has not answered.
	Refusal string
	// SentAt is when the response went out that is not answered.
	SentAt time.Time
}

// Lag returns what keeps a proxy from serving a view, false when it serves it: it was sent all of the view that concerns it, has acknowledged
// all of that, and has refused nothing of it.
func (p *ProxyStatus) Lag(version uint64) (Lag, bool) {
	for _, t := range p.Types {
		if t.RefusedIn >= version {
			return Lag{TypeURL: t.TypeURL, Refusal: t.Refusal}, true
		}
	}
	for _, t := range p.Types {
		if t.Owed != 0 && t.Owed <= version {
			return Lag{TypeURL: t.TypeURL, SentAt: t.SentAt}, true
		}
	}
	return Lag{}, p.Served < version
}
