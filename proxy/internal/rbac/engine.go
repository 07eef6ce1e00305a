package rbac

import (
	"net/netip"
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/cel"
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
	// values are those of the metadata that the engine which judges has numbered, as far as looked, a bit for each, says; there: they exist.
	looked  uint8
	there   [keptValues]bool
	values  [keptValues]any
	scratch [64]byte // for values that are put together
}

// keptValues is how many values of metadata an Input keeps while it is judged: a token's issuer and subject, and a few claims.
const keptValues = 8

// Decision is an answer.
type Decision struct {
	Allowed bool
	// Policy is the first one that matched, "" for none.
	Policy string
	// Index is its place among Policies; -1: none matched.
	Index int
	// Hint is what is said to access logs.
	Hint Hint
}

// Hint is the value of access_log_hint, which rules set that have the action LOG.
type Hint uint8

// Values of Hint.
const (
	NoHint Hint = iota // leave it as it is
	DoNotLog
	DoLog
)

// Details are the response code details, or the connection termination details, of a refusal by a policy, which have no white space. "" is none: nothing
// matched that allows.
func Details(policy string) string {
	if policy == "" {
		policy = "none"
	}
	return "rbac_access_denied_matched_policy[" + strings.Join(strings.Fields(policy), "_") + "]"
}

// Matched reports whether a policy decided.
func (d *Decision) Matched() bool { return d.Index >= 0 }

// Engine is a compiled set of policies; immutable.
type Engine struct {
	action   xdsresource.RBACAction
	policies []policy
	index    index

	tree     *tree // instead of policies; nil for these
	verdicts []xdsresource.RBACVerdict
	logs     bool // some verdict is LOG
}

type policy struct {
	name                    string
	permissions, principals matcher
	condition               *cel.Expression // nil: none
}

// match reports whether a permission and a principal match, and the condition is true.
func (p *policy) match(in *Input) bool {
	return p.permissions.match(in) && p.principals.match(in) && p.holds(in)
}

// holds reports whether the condition is true. One without a value is not.
func (p *policy) holds(in *Input) bool { return p.condition == nil || p.condition.Match(in.stream()) }

// stream is what a condition is about. That of a connection knows the connection, and a request without headers.
func (in *Input) stream() *cel.Stream {
	if in.Stream != nil {
		return &cel.Stream{Request: in.Headers, Info: in.Stream}
	}
	return &cel.Stream{Request: &header.Map{}, Info: &streaminfo.Info{
		Downstream: in.Conn, ConnectionID: in.Conn.ID, Metadata: in.Conn.Metadata,
	}}
}

// New compiles authorization rules; nil for none.
func New(cfg *xdsresource.RBAC) *Engine {
	if cfg == nil {
		return nil
	}
	if cfg.Matcher != nil {
		e := &Engine{}
		e.tree = e.newTree(cfg.Matcher)
		return e
	}
	c := compiler{values: map[string]int{}}
	e := &Engine{action: cfg.Action, index: newIndex(cfg, &c)}
	for i := range cfg.Policies {
		p := &cfg.Policies[i]
		compiled := policy{name: p.Name, permissions: c.compileAny(p.Permissions), principals: c.compileAny(p.Principals)}
		if p.Condition != nil {
			compiled.condition = cel.Of(p.Condition)
		}
		e.policies = append(e.policies, compiled)
	}
	return e
}

// Policies are the names of the policies in the order of evaluation, or those of a matcher's
// verdicts.
func (e *Engine) Policies() []string {
	var out []string
	for i := range e.policies {
		out = append(out, e.policies[i].name)
	}
	for i := range e.verdicts {
		out = append(out, e.verdicts[i].Name)
	}
	return out
}

// Allows reports whether the policy of that place among Policies allows what it matches. Which it is never changes, so whoever counts by policy needs one counter of each.
func (e *Engine) Allows(i int) bool {
	if e.tree != nil {
		return e.verdicts[i].Action != xdsresource.RBACDeny
	}
	return e.action != xdsresource.RBACDeny
}

// Decide judges. in may be used again for another engine.
func (e *Engine) Decide(in *Input) Decision {
	if e.tree != nil {
		return e.follow(in)
	}
	in.forget()
	d := Decision{Allowed: e.action != xdsresource.RBACAllow, Index: -1}
	if i := e.first(in); i >= 0 {
		d = Decision{Allowed: e.Allows(i), Policy: e.policies[i].name, Index: i}
	}
	if e.action == xdsresource.RBACLog {
		d.Hint = hint(d.Matched())
	}
	return d
}

// follow judges by a matcher: what it leads to no verdict for is denied.
func (e *Engine) follow(in *Input) Decision {
	i, ok := e.tree.Find(in)
	if !ok {
		return Decision{Index: -1}
	}
	v := &e.verdicts[i]
	d := Decision{Allowed: e.Allows(i), Policy: v.Name, Index: i}
	if e.logs {
		d.Hint = hint(v.Action == xdsresource.RBACLog)
	}
	return d
}

func hint(log bool) Hint {
	if log {
		return DoLog
	}
	return DoNotLog
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
	in.forget()
	for i := range e.policies {
		p := &e.policies[i]
		j := Judged{Policy: p.name}
		switch {
		case !p.permissions.match(in):
			j.Why = "no permission matches: " + p.permissions.String()
		case !p.principals.match(in):
			j.Why = "no principal matches: " + p.principals.String()
		case !p.holds(in):
			j.Why = "its condition is not true"
		default:
			j.Matches = true
			j.Why = which(p.permissions, in).String() + "; " + which(p.principals, in).String()
		}
		out = append(out, j)
	}
	d := e.Decide(in)
	for i := range e.verdicts {
		j := Judged{Policy: e.verdicts[i].Name, Matches: i == d.Index, Why: "the matcher leads elsewhere"}
		if j.Matches {
			j.Why = "the matcher leads here"
		}
		out = append(out, j)
	}
	return d, out
}

// Reset makes in new, keeping nothing of a request.
func (in *Input) Reset() {
	in.Headers, in.Conn, in.Stream, in.path, in.pathSet = nil, nil, nil, nil, false
	in.forget()
}

// forget drops the values of metadata that were looked up.
func (in *Input) forget() {
	if in.looked != 0 {
		clear(in.values[:])
		in.looked = 0
	}
}

// value looks up metadata, once for each number that an engine gives.
func (in *Input) value(m *xdsresource.MetadataMatcher, slot int) (any, bool) {
	if slot < 0 {
		return m.Find(in.metadata())
	}
	if bit := uint8(1) << slot; in.looked&bit == 0 {
		in.looked |= bit
		in.values[slot], in.there[slot] = m.Find(in.metadata())
	}
	return in.values[slot], in.there[slot]
}

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
