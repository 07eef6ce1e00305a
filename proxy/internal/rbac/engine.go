package rbac

import (
	"net/netip"
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/conn"
	"github.com/lateen-mesh/lateen/proxy/internal/filterstate"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Input is what a decision reads.
type Input struct {
	Headers *header.Map // nil for a connection
	Conn    *conn.Info
	// Stream has the client's address, metadata and filter state; nil for a connection, whose own
	// are taken then.
	Stream *streaminfo.Info

	path    []byte // without query and fragment
	pathSet bool
}

// Decision is an answer.
type Decision struct {
	Allowed bool
	// Policy is the first one that matched, "" for none.
	Policy string
	// Index is its place in the order of names; -1: none matched.
	Index int
}

// Matched reports whether a policy decided.
func (d *Decision) Matched() bool { return d.Index >= 0 }

// Engine is a compiled set of policies; immutable.
type Engine struct {
	action   xdsresource.RBACAction
	policies []policy
	index    index
}

type policy struct {
	name                    string
	permissions, principals oneOf
}

// New compiles authorization rules; nil for none.
func New(cfg *xdsresource.RBAC) *Engine {
	if cfg == nil {
		return nil
	}
	e := &Engine{action: cfg.Action, index: newIndex(cfg)}
	for i := range cfg.Policies {
		p := &cfg.Policies[i]
		e.policies = append(e.policies, policy{p.Name, compileAny(p.Permissions), compileAny(p.Principals)})
	}
	return e
}

// Action is what it means that a policy matches.
func (e *Engine) Action() xdsresource.RBACAction { return e.action }

// StatPrefix is a configured prefix of a statistic's name with the dot that ends it.
func StatPrefix(p string) string {
	if p == "" || strings.HasSuffix(p, ".") {
		return p
	}
	return p + "."
}

// Policies are the names of the policies in the order of evaluation.
func (e *Engine) Policies() []string {
	out := make([]string, len(e.policies))
	for i := range e.policies {
		out[i] = e.policies[i].name
	}
	return out
}

// Decide judges. in may be used again for another engine.
func (e *Engine) Decide(in *Input) Decision {
	if i := e.first(in); i >= 0 {
		return Decision{Allowed: e.action != xdsresource.RBACDeny, Policy: e.policies[i].name, Index: i}
	}
	return Decision{Allowed: e.action != xdsresource.RBACAllow, Index: -1}
}

// Judged is what Explain says of one policy.
type Judged struct {
	Policy  string
	Matches bool
	// Why names what did not match, or what did.
	Why string
}

// Explain decides, and says why: one line for each policy up to the one that decided, and those
// behind it, which were not asked, as well.
func (e *Engine) Explain(in *Input) (Decision, []Judged) {
	var out []Judged
	for i := range e.policies {
		p := &e.policies[i]
		j := Judged{Policy: p.name}
		switch {
		case !p.permissions.match(in):
			j.Why = "no permission matches: " + p.permissions.String()
		case !p.principals.match(in):
			j.Why = "no principal matches: " + p.principals.String()
		default:
			j.Matches = true
			j.Why = p.permissions.which(in).String() + "; " + p.principals.which(in).String()
		}
		out = append(out, j)
	}
	return e.Decide(in), out
}

// Reset makes in new, keeping nothing of a request.
func (in *Input) Reset() { *in = Input{} }

// urlPath is the path without query and fragment, found once.
func (in *Input) urlPath() ([]byte, bool) {
	if !in.pathSet {
		in.pathSet = true
		if in.Headers != nil {
			p, ok := in.Headers.Get(header.Path)
			if ok {
				in.path = p
				for i, c := range p {
					if c == '?' || c == '#' {
						in.path = p[:i]
						break
					}
				}
			}
		}
	}
	return in.path, in.path != nil
}

func (in *Input) remote() netip.Addr {
	if in.Stream != nil {
		return in.Stream.RemoteAddr().Addr()
	}
	return in.Conn.RemoteAddr.Addr()
}

func (in *Input) metadata() map[string]map[string]any {
	if in.Stream != nil {
		return in.Stream.Metadata
	}
	return in.Conn.Metadata
}

func (in *Input) routeMetadata() map[string]map[string]any {
	if in.Stream != nil {
		return in.Stream.RouteMetadata
	}
	return nil
}

func (in *Input) state(key string) filterstate.Object {
	if in.Stream != nil {
		return in.Stream.FilterState(key)
	}
	return in.Conn.State.Get(key)
}
