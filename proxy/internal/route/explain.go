package route

import (
	"strings"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Trace is a decision with its reasons.
type Trace struct {
	Table       string
	Authority   string
	VirtualHost string // empty: no domain matched
	Domains     []string
	Steps       []Step
	// Entry is what Match returns for the same request.
	Entry *Entry
}

// Step is one route that was looked at.
type Step struct {
	Index   int
	Route   string
	Match   string               // what it asks of the path
	Origin  xdsresource.Metadata // where the control plane got it from
	Matched bool
	Why     string // why not; empty when it matched
}

// Explain decides as Match does, and says why. Routes behind the one that matched are looked
// at as well, so that what it hides shows; their steps are marked as matched, too.
func (t *Table) Explain(r *Request) *Trace {
	authority := r.Headers.Value(header.Authority)
	tr := &Trace{Table: t.Config.Name, Authority: string(authority)}
	v := t.hosts.find(authority, t.Config.IgnorePortInHostMatching)
	if v == nil {
		return tr
	}
	tr.VirtualHost, tr.Domains = v.Name, v.Domains
	if v.redirect != nil && v.needsTLS(r) {
		tr.Entry = v.redirect
		tr.Steps = append(tr.Steps, Step{Index: -1, Match: "require_tls", Matched: true, Origin: v.Metadata})
		return tr
	}
	var p parts
	p.init(r)
	tried := v.candidates(r)
	if v.tree != nil && tried == nil {
		tr.Steps = append(tr.Steps, Step{Index: -1, Match: "matcher", Origin: v.Metadata, Why: "the matcher leads nowhere"})
	}
	for i, e := range tried {
		x := e.match.check(r, &p)
		s := Step{Index: i, Route: e.Name, Match: e.match.describePath(), Origin: e.Metadata, Matched: x.cause == matched, Why: e.match.explain(x, &p)}
		if s.Matched && tr.Entry == nil {
			tr.Entry = e
		}
		tr.Steps = append(tr.Steps, s)
	}
	p.release()
	return tr
}

// String is the trace as lines of text.
func (tr *Trace) String() string {
	var b strings.Builder
	b.WriteString("route table " + tr.Table + ", authority " + tr.Authority + ": ")
	if tr.VirtualHost == "" {
		b.WriteString("no virtual host\n")
		return b.String()
	}
	b.WriteString("virtual host " + tr.VirtualHost + "\n")
	chosen := false
	for _, s := range tr.Steps {
		name := s.Route
		if name == "" {
			name = "(unnamed)"
		}
		switch {
		case s.Matched && !chosen:
			chosen = true
			b.WriteString("  -> " + name + ": " + s.Match + "\n")
		case s.Matched:
			b.WriteString("     " + name + ": would match, but a route before it does\n")
		default:
			b.WriteString("     " + name + ": " + s.Why + "\n")
		}
	}
	return b.String()
}
